"""`--timeout` is the time of the whole command: of the submission, and of the search for a coordinator too."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from qgjob._ids import is_job_id
from qgjob_coordinator.service.validation import split_job_id
from qgjob_proto.v1 import jobs_pb2
from tests.fakes.coordinator_services import FakeCoordinator
from tests.unit.cli.conftest import COMMON, Command
from tests.unit.cli.test_commands import submit_one

NOBODY = "--coordinator=127.0.0.1:1"
JOB_ID = "acme~01J00000000000000000000000"
NOT_FOUND = "what did not get there is not found then; the command that was given submits it"
# Sooner than a patient command gives up a coordinator that is away.
SOON_SECONDS = 20


@pytest.mark.parametrize("bound", [(), ("--run-id=r1", "--cancel-on-disconnect")])
def test_a_run_that_reaches_nobody_ends_in_its_time_and_names_its_job(qgjob: Command, bound: tuple[str, ...]) -> None:
    began = time.monotonic()
    result = qgjob("run", *COMMON, "--test=a", "--timeout=3s", NOBODY, *bound)
    assert time.monotonic() - began < SOON_SECONDS
    assert (result.code, result.out) == (124, "")
    trouble, known, hint, *rest = result.err.splitlines()
    assert re.search(r"; trying again for up to [123] s$", trouble)
    said, resume = known.split(" To resume: ")
    assert said == "3 s are over; 0 of 1 jobs are submitted, and 1 more may be; they go on."
    assert hint == NOT_FOUND
    if bound:
        assert resume == f"qgjob wait {NOBODY} --org-id=acme --run-id=r1"
        assert rest == ["run r1 stays bound to this command: what it has unfinished is cancelled in 60 s"]
    else:
        command, job_id = resume.rsplit(" ", 1)
        assert command == f"qgjob wait {NOBODY}"
        assert split_job_id(job_id)[0] == "acme"
        assert rest == []


@pytest.mark.parametrize(("output", "out"), [("json", {"count": 0, "jobs": []}), ("jsonl", None)])
def test_a_submission_that_is_not_answered_in_time_says_which_jobs_may_be_there(
    fake: FakeCoordinator, qgjob: Command, output: str, out: object
) -> None:
    take = fake.submit_jobs

    async def submit_jobs(request: jobs_pb2.SubmitJobsRequest) -> jobs_pb2.SubmitJobsResponse:
        await take(request)
        await asyncio.Event().wait()
        raise AssertionError

    fake.submit_jobs = submit_jobs  # type: ignore[method-assign]
    result = qgjob("run", *COMMON, "--test=a", "--test=b", "--timeout=1.5", "-o", output)
    assert result.code == 124
    assert (result.json if out else result.out) == (out or "")
    (known,) = [line for line in result.err.splitlines() if "To resume" in line]
    assert known.endswith(f"To resume: qgjob wait {' '.join(fake.jobs)}")


@pytest.mark.parametrize("of", [[JOB_ID], ["--org-id=acme", "--run-id=nope"]])
def test_a_wait_that_reaches_nobody_says_that_nothing_is_known(qgjob: Command, of: list[str]) -> None:
    result = qgjob("wait", *of, "--timeout=0.5s", NOBODY)
    assert (result.code, result.out) == (124, "")
    assert result.err.splitlines()[1:] == [
        f"no coordinator answered within 0.5 s; nothing is known of them. To resume: qgjob wait {NOBODY} {' '.join(of)}"
    ]
    assert qgjob("wait", *of, "--timeout=0.5s", NOBODY, "-o", "json").json == {"count": 0, "jobs": []}


@pytest.mark.parametrize("command", ["wait", "watch", "status", "explain", "logs", "cancel", "retry"])
def test_what_is_no_job_id_is_refused_without_a_coordinator(qgjob: Command, command: str) -> None:
    result = qgjob(command, "nope", NOBODY)
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: JOB: 'nope' is not a job id; it looks like <org_id>~<ULID>\n"


def test_a_job_id_is_what_a_coordinator_takes_for_one() -> None:
    assert split_job_id(JOB_ID) == ("acme", JOB_ID.partition("~")[2])
    assert is_job_id(JOB_ID)


@pytest.mark.parametrize(
    ("finished", "run_id", "told"),
    [
        (True, "r1", "all jobs of run r1 have their verdicts; watching on, Ctrl-C ends it"),
        (False, "r1", "watching on, Ctrl-C ends it"),
        (True, "nope", "run nope has no job yet; watching on, Ctrl-C ends it"),
        (True, None, "all jobs of org acme have their verdicts; watching on, Ctrl-C ends it"),
    ],
)
@pytest.mark.parametrize("output", ["table", "json"])
def test_a_watch_without_end_says_so_and_ends_in_its_time(
    fake: FakeCoordinator, qgjob: Command, finished: bool, run_id: str | None, told: str, output: str
) -> None:
    job_id = submit_one(qgjob, "a.js", "--run-id=r1")
    if finished:
        fake.in_loop(lambda: fake.move(job_id, "completed", "passed"))
    of = ["--org-id=acme", *([f"--run-id={run_id}"] if run_id else [])]
    result = qgjob("watch", *of, "--timeout=1.5", "-o", output)
    assert result.code == 124
    assert ("a.js" in result.out) is (run_id != "nope")
    assert result.err.splitlines() == [told, f"1.5 s are over. To resume: qgjob watch {' '.join(of)}"]


def test_a_watch_of_jobs_says_only_that_its_time_is_over(fake: FakeCoordinator, qgjob: Command) -> None:
    job_id = submit_one(qgjob)
    result = qgjob("watch", job_id, "--timeout=1.5")
    assert (result.code, result.err) == (124, f"1.5 s are over. To resume: qgjob watch {job_id}\n")
