"""A command that waits outlives coordinators that are all away; where it gives up, it says how to go on."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from qgjob import UnavailableError
from qgjob._failover import Failover
from qgjob_proto.v1 import jobs_pb2
from tests.fakes.coordinator_fleet import RefusalError
from tests.fakes.coordinator_services import FakeCoordinator
from tests.unit.cli.conftest import COMMON, Command, autoplay
from tests.unit.cli.test_commands import submit_one

# Far more connections than a test lasts.
FOR_EVER = 100_000
SHORT_SECONDS = 0.15


@pytest.fixture
def away(fake: FakeCoordinator) -> FakeCoordinator:
    """A fake whose watches show what is there once, and then nothing any more."""
    fake.cut_watch_after = [2] + [0] * FOR_EVER
    return fake


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound of a command without --timeout, as short as a test can wait."""
    monkeypatch.setattr("qgjob.cli.runner.OUTAGE_SECONDS", SHORT_SECONDS)


@pytest.mark.parametrize("output", ["table", "json"])
@pytest.mark.usefixtures("impatient")
def test_a_run_that_gives_up_says_what_it_knows_and_how_to_go_on(
    away: FakeCoordinator, qgjob: Command, output: str
) -> None:
    result = qgjob("run", *COMMON, "--test=a.js", "-o", output)
    (job_id,) = away.jobs
    assert result.code == 1
    trouble, resume, error = result.err.splitlines()[-3:]
    assert trouble.startswith("cut")
    assert resume == f"the wait is given up; the jobs go on. To resume: qgjob wait {job_id}"
    assert error == "error: cut"
    if output == "json":
        assert [(job["job_id"], job["status"]) for job in result.json["jobs"]] == [(job_id, "queued")]
    else:
        assert result.out == ""


def test_how_long_it_waits_for_a_coordinator_is_told_once(
    away: FakeCoordinator, qgjob: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qgjob.cli.runner.OUTAGE_SECONDS", 1.2)
    err = qgjob("run", *COMMON, "--test=a.js").err
    assert [line for line in err.splitlines() if "trying again" in line] == ["cut; trying again for up to 1 s"]
    assert len(away.cut_watch_after) < FOR_EVER


@pytest.mark.parametrize("command", ["run", "wait", "watch"])
@pytest.mark.usefixtures("impatient")
def test_a_timeout_is_waited_for_to_its_end(away: FakeCoordinator, qgjob: Command, command: str) -> None:
    of = [*COMMON, "--test=a.js"] if command == "run" else [submit_one(qgjob)]
    began = time.monotonic()
    result = qgjob(command, *of, "--timeout=0.9")
    assert (result.code, time.monotonic() - began > 0.9) == (124, True)
    (job_id,) = away.jobs
    verb = "watch" if command == "watch" else "wait"
    assert result.err.splitlines()[-1 if command == "watch" else -2].endswith(f"To resume: qgjob {verb} {job_id}")
    assert "error" not in result.err


@pytest.mark.usefixtures("impatient")
def test_a_watch_that_gives_up_says_how_to_go_on(away: FakeCoordinator, qgjob: Command) -> None:
    job_id = submit_one(qgjob)
    result = qgjob("watch", job_id)
    assert result.code == 1
    assert result.err.splitlines()[-2:] == [f"the watch is given up. To resume: qgjob watch {job_id}", "error: cut"]


@pytest.mark.usefixtures("impatient")
def test_a_bound_run_that_gives_up_says_that_it_is_cancelled(away: FakeCoordinator, qgjob: Command) -> None:
    result = qgjob("run", *COMMON, "--test=a.js", "--run-id=r1", "--cancel-on-disconnect", "--disconnect-after=90s")
    assert result.code == 1
    assert result.err.splitlines()[-2] == (
        "the wait is given up; run r1 stays bound to this command: what it has unfinished is cancelled 90 s after a "
        "coordinator is back. To see what becomes of it: qgjob wait --org-id=acme --run-id=r1"
    )


def test_a_wait_that_never_reached_one_says_how_to_go_on(qgjob: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QGJOB_TIMEOUT_SECONDS", "0.3")
    of = ("--coordinator=127.0.0.1:1", "acme~01J00000000000000000000000")
    result = qgjob("wait", *of, "-o", "json")
    assert (result.code, result.json) == (1, {"count": 0, "jobs": []})
    assert result.err.splitlines()[-2] == (
        f"the wait is given up; nothing is known of the jobs. To resume: qgjob wait {' '.join(of)}"
    )


def test_a_submission_that_is_lost_names_the_jobs_that_may_be_there(
    fake: FakeCoordinator, qgjob: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QGJOB_TIMEOUT_SECONDS", "0.3")
    take = fake.submit_jobs

    async def submit_jobs(request: jobs_pb2.SubmitJobsRequest) -> jobs_pb2.SubmitJobsResponse:
        if not fake.jobs:
            await take(request)
        raise RefusalError("UNAVAILABLE", "the reply is lost")

    fake.submit_jobs = submit_jobs  # type: ignore[method-assign]
    result = qgjob("run", *COMMON, "--test=a.js", "-o", "json")
    (job_id,) = fake.jobs
    assert (result.code, result.json) == (1, {"count": 0, "jobs": []})
    assert result.err.splitlines()[-3].endswith(
        f"; 0 of 1 jobs are submitted, and 1 more may be; they go on. To resume: qgjob wait {job_id}"
    )


@pytest.mark.parametrize("command", ["submit", "run"])
def test_of_a_submission_that_is_refused_in_part_the_rest_is_named(
    fake: FakeCoordinator, qgjob: Command, command: str
) -> None:
    take = fake.submit_jobs
    taken: list[jobs_pb2.SubmitJobsRequest] = []

    async def submit_jobs(request: jobs_pb2.SubmitJobsRequest) -> jobs_pb2.SubmitJobsResponse:
        if taken:
            raise RefusalError("RESOURCE_EXHAUSTED", "the queue of acme is full")
        taken.append(request)
        return await take(request)

    fake.submit_jobs = submit_jobs  # type: ignore[method-assign]
    result = qgjob(command, *COMMON, "--test=a.js", "--repeat=1200", "--run-id=r1", "-o", "json")
    assert result.code == 1
    submitted = len(fake.jobs)
    assert 0 < submitted < 1200
    assert [job["job_id"] for job in result.json["jobs"]] == list(fake.jobs)
    said, error = result.err.splitlines()
    assert said == (
        f"not all could be submitted; {submitted} of 1200 jobs are submitted; they go on. "
        "To resume: qgjob wait --org-id=acme --run-id=r1"
    )
    assert error.endswith("the queue of acme is full")


def test_a_submission_that_reached_nobody_names_no_jobs(qgjob: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QGJOB_TIMEOUT_SECONDS", "0.3")
    result = qgjob("run", *COMMON, "--test=a.js", "--coordinator=127.0.0.1:1", "-o", "json")
    assert (result.code, result.out) == (1, "")
    assert "To resume" not in result.err


def test_fail_fast_ends_the_others_when_a_coordinator_is_back(
    fake: FakeCoordinator, qgjob: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a part of the wait: to give it up would let them go on, and hide the verdict that it is for."""
    cancel, call, given_up = fake.cancel_jobs, Failover.call, threading.Event()

    async def cancel_jobs(request: jobs_pb2.CancelJobsRequest) -> jobs_pb2.CancelJobsResponse:
        if not given_up.is_set():
            raise RefusalError("UNAVAILABLE", "away")
        return await cancel(request)

    async def call_once(self: Failover, method: str, request: Any, **options: Any) -> Any:
        """The first cancel is asked for in vain for as long as a call is."""
        if method != "CancelJobs" or given_up.is_set():
            return await call(self, method, request, **options)
        try:
            return await call(self, method, request, within_seconds=0.1)
        except UnavailableError:
            given_up.set()
            raise

    monkeypatch.setattr(Failover, "call", call_once)
    fake.cancel_jobs = cancel_jobs  # type: ignore[method-assign]
    fake.in_loop(lambda: autoplay(fake, {"bad": ("failed", "test_failed"), "slow": ("", "")}))
    result = qgjob("run", *COMMON, "--run-id=r1", "--test=bad", "--test=slow", "--fail-fast", "-o", "json")
    assert result.code == 10
    assert [job["status"] for job in result.json["jobs"]] == ["failed", "cancelled"]
    assert given_up.is_set()
