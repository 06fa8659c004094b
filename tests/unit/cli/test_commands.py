"""Every command against a coordinator in memory: its output, its exit code, and that stdout carries data only."""

from __future__ import annotations

import asyncio
import http.server
import json
import re
import threading

import grpc
import pytest
from tenacity import stop_after_attempt

from qgjob import _failover
from qgjob.cli import main, runner
from qgjob_coordinator.store import connection
from qgjob_proto.v1 import jobs_pb2, types_pb2
from tests.fakes.coordinator_services import FakeCoordinator, Fault
from tests.unit.cli.conftest import COMMON, Command, autoplay


def submit_one(qgjob: Command, path: str = "a.js", *more: str) -> str:
    result = qgjob("submit", *COMMON, f"--test={path}", "-o", "json", *more)
    assert result.code == 0, result.err
    return str(result.json["jobs"][0]["job_id"])


def test_submit_prints_count_and_jobs_always(fake: FakeCoordinator, qgjob: Command) -> None:
    one = qgjob("submit", *COMMON, "--test=a.js", "--priority=high", "--target=DEVICE", "-o", "json")
    assert (one.code, one.err) == (0, "")
    assert list(one.json) == ["count", "jobs"]
    assert one.json["count"] == 1
    job = one.json["jobs"][0]
    assert (job["test_path"], job["priority"], job["target"]) == ("a.js", "high", "device")
    assert job["deduplicated"] is False
    again = qgjob("submit", *COMMON, "--test=a.js", "--test=b.js", "--target=device", "-o", "json").json
    assert [each["deduplicated"] for each in again["jobs"]] == [True, False]
    assert again["jobs"][0]["job_id"] == job["job_id"]
    assert len(fake.jobs) == 2


def test_submit_in_the_other_formats(fake: FakeCoordinator, qgjob: Command) -> None:
    lines = qgjob("submit", *COMMON, "--test=a.js", "--test=b.js", "-o", "jsonl").lines
    assert [line["test_path"] for line in lines] == ["a.js", "b.js"]
    table = qgjob("submit", *COMMON, "--test=a.js")
    assert table.code == 0
    assert next(iter(fake.jobs)) in table.out


def test_every_option_of_a_submission_arrives(fake: FakeCoordinator, qgjob: Command) -> None:
    result = qgjob(
        "submit", *COMMON, "--test=a.js", "--run-id=r1", "--require=platform=ios", "--require=floor=3",
        "--device-id=d1", "--label=team=pay", "--env=A=b=c", "--max-retries=0", "--idempotency-key=k1",
        "--queue-timeout=5m", "--attempt-timeout=90", "--repeat=2", "--overflow-target=browserstack",
        "--overflow-after=2m",
    )  # fmt: skip
    assert result.code == 0, result.err
    first, second = fake.requests[0][1].jobs
    assert (first.run_id, first.labels, first.env) == ("r1", {"team": "pay"}, {"A": "b=c"})
    assert (first.requirements.platform, first.requirements.device_id) == ("ios", "d1")
    assert first.requirements.labels == {"floor": "3"}
    assert first.HasField("max_retries")
    assert first.max_retries == 0
    assert re.fullmatch(r"k1\.[0-9a-f]{12}", first.idempotency_key)
    assert second.idempotency_key == f"{first.idempotency_key}.2"
    assert (first.queue_timeout_seconds, first.timeout_seconds) == (300, 90)
    assert (first.overflow_target, first.overflow_after_seconds) == (types_pb2.TARGET_BROWSERSTACK, 120)
    assert first.no_dedup
    assert first.job_id != second.job_id


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["submit"], "--test"),
        (["submit", "--test=a"], "--org-id"),
        (["submit", "--test=a", "--org-id=acme"], "--app-version-id"),
        (["submit", *COMMON, "--test=a", "--label=x"], "--label"),
        (["submit", *COMMON, "--test=a", "--env==1"], "--env"),
        (["submit", *COMMON, "--test=a", "--require=x"], "--require"),
        (["submit", *COMMON, "--test=a", "--priority=urgent"], "--priority"),
        (["submit", *COMMON, "--test=a", "--repeat=0"], "--repeat"),
        (["submit", *COMMON, "--test=a", "--max-retries=x"], "--max-retries"),
        (["submit", *COMMON, "--test=a", "--max-retries=99999999999"], "--max-retries: 99999999999"),
        (["submit", *COMMON, "--test=a", "--queue-timeout=soon"], "--queue-timeout"),
        (["submit", *COMMON, "--test=../a"], "--test:"),
        (["submit", *COMMON, f"--test={'ü' * 257}"], "' has 514 bytes, and a test's path may have 512; "),
        (["run", *COMMON, "--test=a", "--timeout=soon"], "--timeout"),
        (["status"], "--job-id"),
        (["status", "a~1", "--job-id=a~2"], "--job-id"),
        (["list"], "--org-id"),
        (["list", "--org-id=acme", "--status=done"], "--status"),
        (["list", "--org-id=acme", "--page-size=1001"], "--page-size"),
        (["list", "--org-id=acme", "-o", "xml"], "--output"),
        (["wait"], "--run-id"),
        (["wait", "a~1", "--run-id=r"], "--run-id"),
        (["cancel"], "--job-id"),
        (["cancel", "a~1", "--run-id=r"], "--run-id"),
        (["cancel", "--run-id=r"], "--org-id"),
        (["cancel", "--org-id=acme", "--status=queued", "--status=completed"], "--status: jobs that are completed"),
        (["submit", *COMMON, "--test=a", "--queue-timeout=abc"], "write 90 (seconds), 90s, 30m, 2h or 1d"),
        (["run", *COMMON, "--test=a.js", "--disconnect-after=5s"], "--disconnect-after"),
        (["retry", "a~1", "--failed-only"], "--failed-only"),
        (["devices", "reserve", "d1"], "--for"),
        (["devices", "reserve", "d1", "--reason=x", "--for=2w"], "--for"),
        (["devices", "label", "d1"], "KEY=VALUE"),
        (["devices", "label", "d1", "x"], "KEY=VALUE"),
        (["list", "--org-id=\udcff"], "UTF-8"),
        (["list", "--coordinator=host:x", "--org-id=a"], "coordinator"),
        (["frobnicate"], "frobnicate"),
        (["submit", "--frobnicate"], "--frobnicate"),
    ],
)
def test_wrong_use_exits_2_names_what_is_wrong_and_changes_nothing(
    fake: FakeCoordinator, qgjob: Command, arguments: list[str], named: str
) -> None:
    result = qgjob(*arguments)
    assert (result.code, result.out) == (2, "")
    assert named in result.err
    assert fake.jobs == {}


@pytest.mark.parametrize("output", ["table", "json", "jsonl"])
@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ({}, 0),
        ({"a": ("completed", "flaky")}, 0),
        ({"a": ("failed", "test_failed"), "b": ("failed", "device_error")}, 10),
        ({"a": ("failed", "agent_lost"), "b": ("failed", "expired!no_resource")}, 20),
        ({"a": ("failed", "expired!no_resource"), "b": ("cancelled", "cancelled")}, 18),
        ({"a": ("failed", "expired")}, 20),
        ({"a": ("cancelled", "cancelled")}, 19),
    ],
)
def test_run_tells_the_verdicts_by_its_exit_code_in_every_format(
    fake: FakeCoordinator, qgjob: Command, verdicts: dict[str, tuple[str, str]], code: int, output: str
) -> None:
    fake.in_loop(lambda: autoplay(fake, verdicts))
    result = qgjob("run", *COMMON, "--test=a", "--test=b", "--test=c", "-o", output)
    assert result.code == code, result.err
    if output == "json":
        assert list(result.json) == ["count", "jobs"]
        assert [job["test_path"] for job in result.json["jobs"]] == ["a", "b", "c"]
        assert {job["deduplicated"] for job in result.json["jobs"]} == {False}
    if output == "jsonl":
        assert sorted(job["test_path"] for job in result.lines) == ["a", "b", "c"]


def test_submit_with_wait_is_run(fake: FakeCoordinator, qgjob: Command) -> None:
    fake.in_loop(lambda: autoplay(fake, {"a": ("failed", "timed_out")}))
    assert qgjob("submit", *COMMON, "--test=a", "--wait").code == 10


def test_progress_is_one_plain_line_a_transition_on_stderr(fake: FakeCoordinator, qgjob: Command) -> None:
    fake.in_loop(lambda: autoplay(fake, {}))
    result = qgjob("run", *COMMON, "--test=a.js", "-o", "json")
    lines = [line for line in result.err.splitlines() if "a.js" in line]
    assert [line.split("a.js ")[1] for line in lines] == [
        "queued",
        "scheduled on emulator-1",
        "running on emulator-1",
        "completed (passed)",
    ]
    assert "1 job: 1 passed; 0 installs" in result.err
    assert "\x1b" not in result.err


def test_a_flaky_job_fails_only_on_demand(fake: FakeCoordinator, qgjob: Command) -> None:
    fake.in_loop(lambda: autoplay(fake, {"a": ("completed", "flaky")}))
    assert qgjob("run", *COMMON, "--test=a", "--fail-on-flaky").code == 10


def test_a_timeout_leaves_the_job_going_and_says_how_to_resume(fake: FakeCoordinator, qgjob: Command) -> None:
    fake.in_loop(lambda: autoplay(fake, {"a": ("", "")}))
    result = qgjob("run", *COMMON, "--test=a", "--timeout=1.5", "-o", "json")
    assert result.code == 124
    job = result.json["jobs"][0]
    assert job["outcome"] is None
    assert f"qgjob wait {job['job_id']}" in result.err
    assert fake.calls["CancelJob"] == 0

    waited = qgjob("wait", job["job_id"], "--timeout=1s")
    assert waited.code == 124


def test_the_command_to_resume_a_run_names_the_run(fake: FakeCoordinator, qgjob: Command) -> None:
    fake.in_loop(lambda: autoplay(fake, {"a": ("", "")}))
    submit_one(qgjob, "a", "--run-id=r1")
    result = qgjob("wait", "--org-id=acme", "--run-id=r1", "--timeout=1.5")
    assert result.code == 124
    assert "qgjob wait --org-id=acme --run-id=r1" in result.err


def test_the_command_to_resume_goes_to_the_same_coordinator_and_the_same_run(
    fake: FakeCoordinator, qgjob: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QGJOB_COORDINATOR")
    fake.in_loop(lambda: autoplay(fake, {"a": ("", "")}))
    flag = f"--coordinator={fake.address}"
    started = qgjob("run", *COMMON, "--test=a", "--run-id=r1", "--timeout=1.5", flag)
    assert started.code == 124
    assert f"To resume: qgjob wait {flag} --org-id=acme --run-id=r1\n" in started.err
    resumed = started.err.splitlines()[-2].partition("To resume: qgjob ")[2].split()
    waited = qgjob(*resumed, "--timeout=1")
    assert waited.code == 124
    assert waited.err.splitlines()[-2].endswith(f"To resume: qgjob {' '.join(resumed)}")


def test_fail_fast_cancels_what_is_its_own(fake: FakeCoordinator, qgjob: Command) -> None:
    shared = submit_one(qgjob, "shared")
    fake.in_loop(lambda: autoplay(fake, {"bad": ("failed", "test_failed"), "slow": ("", "")}))
    result = qgjob("run", *COMMON, "--test=bad", "--test=slow", "--test=shared", "--fail-fast", "-o", "json")
    assert result.code == 10
    assert [job["status"] for job in result.json["jobs"]] == ["failed", "cancelled", "queued"]
    assert fake.jobs[shared].status == types_pb2.JOB_STATUS_QUEUED


def test_fail_fast_of_a_run_cancels_the_run(fake: FakeCoordinator, qgjob: Command) -> None:
    fake.in_loop(lambda: autoplay(fake, {"bad": ("failed", "test_failed"), "slow": ("", "")}))
    result = qgjob("run", *COMMON, "--run-id=r1", "--test=bad", "--test=slow", "--fail-fast", "-o", "json")
    assert result.code == 10
    assert [job["status"] for job in result.json["jobs"]] == ["failed", "cancelled"]
    assert (fake.calls["CancelJobs"], fake.calls["CancelJob"]) == (1, 0)


def test_wait_for_jobs_and_for_a_run(fake: FakeCoordinator, qgjob: Command) -> None:
    first, second = submit_one(qgjob, "a", "--run-id=r1"), submit_one(qgjob, "b", "--run-id=r1")
    fake.in_loop(lambda: fake.move(first, "completed", "passed"))
    fake.in_loop(lambda: fake.move(second, "failed", "app_crashed"))
    assert qgjob("wait", first).code == 0
    assert qgjob("wait", first, second, "-o", "json").code == 10
    run = qgjob("wait", "--org-id=acme", "--run-id=r1", "-o", "json")
    assert (run.code, run.json["count"]) == (10, 2)
    assert qgjob("wait", "--org-id=acme", "--run-id=nope").code == 5
    assert qgjob("wait", "acme~01J00000000000000000000000").code == 5


def test_a_run_that_a_cancel_left_no_job_in_has_passed_nothing(fake: FakeCoordinator, qgjob: Command) -> None:
    fake.left_runs.add("r1")
    waited = qgjob("wait", "--org-id=acme", "--run-id=r1", "-o", "json")
    assert (waited.code, waited.json) == (19, {"count": 0, "jobs": []})
    assert "the run was cancelled" in waited.err


def test_status_shows_the_job_itself_and_exits_0_whatever_the_verdict(fake: FakeCoordinator, qgjob: Command) -> None:
    job_id = submit_one(qgjob)
    fake.in_loop(lambda: fake.move(job_id, "failed", "test_failed"))
    for form in ([job_id], [f"--job-id={job_id}"]):
        result = qgjob("status", *form, "-o", "json")
        assert (result.code, result.json["job_id"], result.json["outcome"]) == (0, job_id, "test_failed")
        assert "deduplicated" not in result.json
    assert len(qgjob("status", job_id, "-o", "jsonl").out.splitlines()) == 1
    assert "test_failed" in qgjob("status", job_id).out
    missing = qgjob("status", "acme~01J00000000000000000000000")
    assert (missing.code, missing.out) == (5, "")
    assert "acme~01J00000000000000000000000" in missing.err


@pytest.mark.parametrize("count", [1, 2])
def test_that_jobs_were_there_already_is_told_beside_the_table(
    fake: FakeCoordinator, qgjob: Command, count: int
) -> None:
    tests = [f"--test={number}" for number in range(count)]
    assert qgjob("submit", *COMMON, *tests).err == ""
    again = qgjob("submit", *COMMON, *tests, "--test=new")
    assert (
        again.err
        == f"{count} of {count + 1} {'was' if count == 1 else 'were'} there already: an equal job is unfinished\n"
    )
    assert qgjob("submit", *COMMON, *tests, "-o", "json").err == ""


def test_status_tells_what_becomes_of_a_job_whose_agent_is_gone(
    fake: FakeCoordinator, qgjob: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit_one(qgjob)
    summary = "its agent agent-1 was last heard 22 s ago; it is given up any moment"

    async def explain_job(request: jobs_pb2.ExplainJobRequest) -> jobs_pb2.ExplainJobResponse:
        return jobs_pb2.ExplainJobResponse(job=fake.jobs[request.job_id], summary=summary)

    monkeypatch.setattr(fake, "explain_job", explain_job)
    assert "last heard" not in qgjob("status", job_id).out
    fake.in_loop(lambda: fake.move(job_id, "running", device_id="d1"))
    shape = qgjob("status", job_id, "-o", "json")
    assert fake.calls["ExplainJob"] == 0
    assert f" {summary}\n" in qgjob("status", job_id).out
    assert summary not in shape.out
    summary = "it runs on d1"
    assert summary not in qgjob("status", job_id).out
    fake.faults.append(Fault("ExplainJob", grpc.StatusCode.UNIMPLEMENTED))
    assert qgjob("status", job_id).code == 0


def test_list_prints_a_page(fake: FakeCoordinator, qgjob: Command) -> None:
    qgjob("submit", *COMMON, "--test=a", "--test=b", "--test=c", "--run-id=r1")
    page = qgjob("list", "--org-id=acme", "--page-size=2", "-o", "json").json
    assert list(page) == ["count", "jobs", "next_page_token", "org_id", "status_filter"]
    assert (page["count"], page["org_id"], page["status_filter"]) == (2, "acme", "all")
    rest = qgjob(
        "list",
        "--org-id=acme",
        "--status=queued",
        f"--page-token={page['next_page_token']}",
        "--run-id=r1",
        "-o",
        "json",
    ).json
    assert [job["test_path"] for job in rest["jobs"]] == ["a"]
    assert (rest["next_page_token"], rest["status_filter"]) == (None, "queued")
    assert "--page-token=2" in qgjob("list", "--org-id=acme", "--page-size=2").err
    assert fake.calls["ListJobs"] == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["list", "--org-id=acme"], "no jobs of org acme\n"),
        (
            ["list", "--org-id=acme", "--status=failed", "--run-id=r1"],
            "no jobs of org acme with status failed in run r1\n",
        ),
        (["groups", "--org-id=acme"], "no groups: there are no unfinished jobs of org acme\n"),
        (["groups"], "no groups: there are no unfinished jobs\n"),
        (["devices", "ls", "--target=device"], "no devices of target device\n"),
        (["agents", "ls"], "no agents: none has connected to this coordinator yet\n"),
    ],
)
def test_that_there_is_nothing_is_told_beside_the_empty_table(
    fake: FakeCoordinator, qgjob: Command, arguments: list[str], told: str
) -> None:
    table, lines, shape = (qgjob(*arguments, "-o", output) for output in ("table", "jsonl", "json"))
    assert (table.code, table.err) == (lines.code, lines.err) == (0, told)
    assert len(table.out.splitlines()) == 1
    assert lines.out == ""
    assert (shape.code, shape.err, shape.json["count"]) == (0, "", 0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["wait"], "error: JOB: is missing; name the jobs to wait for, or their run with --run-id\n"),
        (["wait", "a~1", "--run-id=r"], "error: --run-id: give jobs, or a run with --run-id, not both\n"),
        (["status"], "error: JOB: is missing; name the job, as JOB or with --job-id\n"),
        (
            ["cancel", "--org-id=acme"],
            "error: JOB: is missing; name the job, as JOB or with --job-id, or jobs with --run-id or --status\n",
        ),
        (["retry"], "error: JOB: is missing; name the job, as JOB or with --job-id, or jobs with --run-id\n"),
        (
            ["submit", *COMMON, "tests/a.js"],
            "error: --test: 'tests/a.js' has no option before it; write --test=tests/a.js, once for each test\n",
        ),
        (
            ["run", *COMMON, "--test=b.js", "a.js", "c.js"],
            "error: --test: 'a.js' has no option before it; write --test=a.js, once for each test\n",
        ),
        (
            ["status", "a~1", "--job-id=a~2"],
            "error: --job-id: the job is given twice, as JOB and with --job-id; give one\n",
        ),
    ],
)
def test_what_is_missing_is_told_from_what_is_too_much(
    fake: FakeCoordinator, qgjob: Command, arguments: list[str], told: str
) -> None:
    assert qgjob(*arguments).err == told


def test_a_wrong_word_is_told_without_the_words_of_a_library(fake: FakeCoordinator, qgjob: Command) -> None:
    said = qgjob("submit", *COMMON, "--test=a", "--priority=urgent").err
    assert said == "error: --priority: 'urgent' is unknown; use one of low, medium, high\n"


def test_a_watch_repeats_no_line_that_says_the_same(fake: FakeCoordinator, qgjob: Command) -> None:
    job_id = submit_one(qgjob)

    async def play() -> None:
        await fake.reached("WatchJobs")
        for progress in (0, 30, 60):
            fake.move(job_id, "running", device_id="device-1", progress=progress)
        fake.move(job_id, "completed", "passed")

    tasks: list[asyncio.Task[None]] = []
    fake.in_loop(lambda: tasks.append(asyncio.ensure_future(play())))
    result = qgjob("watch", job_id)
    assert [line.split("a.js ")[1] for line in result.out.splitlines()] == [
        "queued",
        "running on device-1",
        "completed (passed)",
    ]


def test_what_an_answer_leaves_out_is_counted(fake: FakeCoordinator, qgjob: Command) -> None:
    for path in "abc":
        submit_one(qgjob, path, "--run-id=r1")
    fake.most_shown = 2
    cancelled = qgjob("cancel", "--org-id=acme", "--run-id=r1", "-o", "json")
    assert (cancelled.json["count"], len(cancelled.json["jobs"])) == (3, 2)
    assert "3 jobs in all; the first 2 are shown" in cancelled.err
    assert "3 jobs in all" in qgjob("retry", "--org-id=acme", "--run-id=r1").err


def test_cancel_and_retry(fake: FakeCoordinator, qgjob: Command) -> None:
    job_id = submit_one(qgjob, "a", "--run-id=r1")
    submit_one(qgjob, "b", "--run-id=r1")
    cancelled = qgjob("cancel", job_id, "--reason=typo", "-o", "json")
    assert (cancelled.code, cancelled.json["status"]) == (0, "cancelled")
    retried = qgjob("retry", f"--job-id={job_id}", "-o", "json")
    assert (retried.code, retried.json["status"], retried.json["round"]) == (0, "queued", 2)
    both = qgjob("cancel", "--org-id=acme", "--run-id=r1", "--status=queued", "-o", "json").json
    assert (both["count"], both["detached"]) == (2, 0)
    assert qgjob("retry", "--org-id=acme", "--run-id=r1", "--failed-only", "-o", "json").json == {
        "count": 0,
        "jobs": [],
    }
    left = qgjob("retry", "--org-id=acme", "--run-id=r1", "--failed-only")
    assert "2 jobs are left as they are: cancelled, and only failed ones were asked for" in left.err
    assert qgjob("retry", "--org-id=acme", "--run-id=r1", "-o", "json").json["count"] == 2
    fake.in_loop(lambda: fake.move(job_id, "completed", "passed"))
    for command in ("cancel", "retry"):
        refused = qgjob(command, job_id)
        assert (refused.code, refused.out) == (1, "")
        assert "completed" in refused.err


def test_explain_shows_the_job_with_its_devices(fake: FakeCoordinator, qgjob: Command) -> None:
    fake.in_loop(lambda: fake.add_device("d1", "a1"))
    job_id = submit_one(qgjob)
    shape = qgjob("explain", job_id, "-o", "json").json
    assert (shape["job_id"], shape["pending_reason"]["code"]) == (job_id, "all_busy")
    (device,) = shape["devices"]
    assert (device["device_id"], device["feasible"], device["code"]) == ("d1", True, "all_busy")
    assert (shape["summary"], shape["expires_at"]) == ("1 of 1 device could serve it: 1 is busy", None)
    text = qgjob("explain", job_id).out
    assert "all_busy: all busy" in text
    assert "1 of 1 device could serve it: 1 is busy" in text


def test_logs_are_the_bytes_themselves(fake: FakeCoordinator, qgjob: Command) -> None:
    job_id = submit_one(qgjob)
    fake.in_loop(lambda: fake.move(job_id, "running"))
    fake.logs[job_id, 1] = b"first\n"
    fake.logs[job_id, 2] = b"second attempt \xe2\x9c\x93 \x1b[31mred\x1b[0m\n"
    assert qgjob("logs", job_id).out == "second attempt ✓ \x1b[31mred\x1b[0m\n"
    assert qgjob("logs", job_id, "--attempt=1").out == "first\n"
    pieces = qgjob("logs", job_id, "-f", "-o", "jsonl").lines
    assert [(piece["attempt"], piece["offset"]) for piece in pieces][:2] == [(2, 0), (2, 8)]
    assert qgjob("logs", "acme~01J00000000000000000000000").code == 5


@pytest.mark.parametrize("more", [(), ("--follow",), ("-o", "json")])
def test_an_empty_log_is_told(fake: FakeCoordinator, qgjob: Command, more: tuple[str, ...]) -> None:
    job_id = submit_one(qgjob)
    fake.in_loop(lambda: fake.move(job_id, "completed", "passed"))
    result = qgjob("logs", job_id, *more)
    assert (result.code, result.out) == (0, "")
    assert result.err.startswith("--- no output is kept")
    assert f"qgjob status {job_id}" in result.err


def test_that_a_job_did_not_run_yet_is_told_in_place_of_its_log(fake: FakeCoordinator, qgjob: Command) -> None:
    job_id = submit_one(qgjob)
    told = f"--- the job is queued and did not run yet; `qgjob explain {job_id}` tells why\n"
    result = qgjob("logs", job_id)
    assert (result.code, result.out, result.err) == (0, "", told)
    fake.logs[job_id, 1] = b"output\n"  # it is there by the time that it is asked for
    followed = qgjob("logs", job_id, "--follow")
    assert (followed.out, followed.err) == ("output\n", told)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["cancel"], "nothing to cancel: no job of org acme in run r1 is unfinished\n"),
        (
            ["cancel", "--status=queued", "--status=running"],
            "nothing to cancel: no job of org acme in run r1 is queued or running\n",
        ),
        (["retry"], "nothing to retry: no job of org acme in run r1 is failed or cancelled\n"),
        (["retry", "--failed-only"], "nothing to retry: no job of org acme in run r1 is failed\n"),
    ],
)
def test_that_there_is_nothing_to_do_is_told(
    fake: FakeCoordinator, qgjob: Command, arguments: list[str], told: str
) -> None:
    job_id = submit_one(qgjob, "a", "--run-id=r1")
    fake.in_loop(lambda: fake.move(job_id, "completed", "passed"))
    table, shape = (qgjob(*arguments, "--org-id=acme", "--run-id=r1", "-o", output) for output in ("table", "json"))
    assert (table.code, table.err) == (0, told)
    assert (shape.code, shape.err, shape.json["count"]) == (0, "", 0)


def test_watch_ends_with_the_verdicts_of_the_jobs_that_are_named(fake: FakeCoordinator, qgjob: Command) -> None:
    job_id = submit_one(qgjob)
    fake.in_loop(lambda: fake.move(job_id, "failed", "test_failed"))
    result = qgjob("watch", job_id, "-o", "jsonl")
    assert result.code == 0
    assert [(line["event"], line["job"]["status"]) for line in result.lines] == [("snapshot", "failed")]
    assert "failed (test_failed)" in qgjob("watch", job_id).out


@pytest.mark.parametrize("name", ["its id", "acme~01J11111111111111111111111"])
def test_watch_from_a_cursor_after_the_verdict_shows_it_and_ends(
    fake: FakeCoordinator, qgjob: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("qgjob.cli.named.SILENCE_SECONDS", 0.5)
    before, after = submit_one(qgjob, "a.js"), submit_one(qgjob, "b.js")
    fake.aliases["acme~01J11111111111111111111111"] = before
    fake.in_loop(lambda: fake.move(before, "failed", "test_failed"))
    cursor = f"--cursor={len(fake.events)}"
    fake.in_loop(lambda: fake.move(after, "completed", "passed"))
    result = qgjob("watch", before if name == "its id" else name, after, cursor, "-o", "jsonl")
    assert result.code == 0
    assert [(line["event"], line["job"]["job_id"], line["job"]["outcome"]) for line in result.lines] == [
        ("transition", after, "passed"),
        ("snapshot", before, "test_failed"),
    ]


def test_watch_by_an_alias_ends_with_the_verdict_of_the_job_behind_it(fake: FakeCoordinator, qgjob: Command) -> None:
    job_id = submit_one(qgjob)
    fake.aliases["acme~01J11111111111111111111111"] = job_id
    fake.in_loop(lambda: fake.move(job_id, "failed", "test_failed"))
    result = qgjob("watch", "acme~01J11111111111111111111111", "-o", "jsonl")
    assert result.code == 0
    assert [line["event"] for line in result.lines] == ["snapshot", "ready"]


@pytest.mark.parametrize("command", ["watch", "wait", "status"])
def test_a_job_that_is_not_there_is_named(fake: FakeCoordinator, qgjob: Command, command: str) -> None:
    result = qgjob(command, "acme~01J00000000000000000000000")
    assert (result.code, result.out) == (5, "")
    assert result.err == "error: no job acme~01J00000000000000000000000\n"


def test_groups_stats_and_health(fake: FakeCoordinator, qgjob: Command) -> None:
    submit_one(qgjob)
    groups = qgjob("groups", "-o", "json").json
    assert (groups["count"], groups["groups"][0]["queued"], groups["next_page_token"]) == (1, 1, None)
    assert qgjob("stats", "-o", "json").json["queue"]["queued"] == 1
    health = qgjob("health", "-o", "json")
    assert (health.code, health.json["status"], health.json["stats"]["queue"]["queued"]) == (0, "serving", 1)
    fake.serving = False
    ill = qgjob("health", "-o", "json")
    assert (ill.code, ill.json["status"], ill.json["stats"]) == (1, "not_serving", None)
    fake.diagnosis.level = types_pb2.FINDING_LEVEL_PROBLEM
    fake.diagnosis.findings.add(check="store.usable", level=types_pb2.FINDING_LEVEL_PROBLEM, found="it evicts")
    assert qgjob("health", "-o", "json").json["reason"] == "it evicts"
    assert "it evicts" in qgjob("health").out
    fake.faults.append(Fault("Diagnose"))
    assert "/health/ready" in qgjob("health", "-o", "json").json["reason"]


def test_devices_and_agents(fake: FakeCoordinator, qgjob: Command) -> None:
    fake.in_loop(lambda: fake.add_device("d1", "a1"))
    fake.in_loop(lambda: fake.add_device("d2", "a1"))
    listed = qgjob("devices", "ls", "-o", "json").json
    assert (listed["count"], listed["next_page_token"]) == (2, None)

    def device(*arguments: str) -> tuple[str, str, str | None]:
        result = qgjob("devices", *arguments, "-o", "json")
        assert result.code == 0, result.err
        return result.json["state"], result.json["health"], result.json["reason"]

    assert device("show", "d1") == ("idle", "good", None)
    assert device("drain", "d1", "--reason=move", "--for=2h") == ("draining", "good", "move")
    assert device("resume", "d1")[0] == "idle"
    assert device("maintenance", "d1", "--reason=battery") == ("idle", "maintenance", "battery")
    assert device("quarantine", "d1", "--reason=hangs") == ("idle", "bad", "hangs")
    assert (device("quarantine", "d1")[1], device("maintenance", "d1")[1]) == ("bad", "maintenance")
    assert device("reserve", "d2", "--reason=me", "--until=2100-01-01T00:00Z") == ("reserved", "good", "me")
    assert qgjob("devices", "show", "d2", "-o", "json").json["until"] == "2100-01-01T00:00:00.000Z"
    assert qgjob("devices", "reserve", "d2", "--reason=me", "--for=1h").code == 1
    assert device("reserve", "d2", "--extend", "--until=2100-01-02T00:00Z") == ("reserved", "good", "me")
    assert device("release", "d2")[0] == "idle"
    assert device("reserve", "d2", "--for=1h")[0] == "reserved"
    assert device("release", "d2")[0] == "idle"
    assert qgjob("devices", "label", "d2", "floor=3", "-o", "json").json["labels"] == {"floor": "3"}
    assert qgjob("devices", "label", "d2", "--clear", "-o", "json").json["labels"] == {}
    assert qgjob("devices", "show", "d9").code == 5
    assert qgjob("devices", "drain", "d9").code == 5

    assert [agent["devices"] for agent in qgjob("agents", "ls", "-o", "json").json["agents"]] == [2]
    drained = qgjob("agents", "drain", "a1", "--reason=update", "-o", "json").json
    assert [each["state"] for each in drained["devices"]] == ["draining", "draining"]
    resumed = qgjob("agents", "resume", "a1", "-o", "json").json
    assert [each["state"] for each in resumed["devices"]] == ["idle", "idle"]

    refused = qgjob("agents", "forget", "a1")
    assert (refused.code, refused.err) == (1, "error: agent a1 is online\n")
    fake.agents["a1"].state = types_pb2.AGENT_STATE_OFFLINE
    forgotten = qgjob("agents", "forget", "a1", "-o", "json").json
    assert [each["device_id"] for each in forgotten["devices"]] == ["d1", "d2"]
    assert qgjob("agents", "ls", "-o", "json").json["agents"] == []
    assert qgjob("agents", "forget", "a1").code == 5


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, 4),
        (grpc.StatusCode.PERMISSION_DENIED, 4),
        (grpc.StatusCode.NOT_FOUND, 5),
        (grpc.StatusCode.INVALID_ARGUMENT, 2),
        (grpc.StatusCode.FAILED_PRECONDITION, 1),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 1),
        (grpc.StatusCode.INTERNAL, 1),
    ],
)
@pytest.mark.parametrize("output", ["table", "json"])
def test_remote_errors_have_their_codes_in_every_format(
    fake: FakeCoordinator, qgjob: Command, code: grpc.StatusCode, exit_code: int, output: str
) -> None:
    fake.faults.append(Fault("GetStats", code))
    result = qgjob("stats", "-o", output)
    assert (result.code, result.out) == (exit_code, "")
    assert result.err.startswith("error: ")


def test_an_outage_is_told_once_and_outlived(fake: FakeCoordinator, qgjob: Command) -> None:
    fake.faults += [Fault("GetStats"), Fault("GetStats")]
    result = qgjob("stats", "-o", "json")
    assert result.code == 0
    assert result.err == "a fault that the test asked for; trying again for up to 6 s\n"
    json.loads(result.out)


def test_no_coordinator(qgjob: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_failover, "stop_before_delay", lambda _: stop_after_attempt(2))
    result = qgjob("stats", "--coordinator=127.0.0.1:1")
    assert (result.code, result.out) == (1, "")
    assert "error: no coordinator answers at 127.0.0.1:1" in result.err


@pytest.mark.parametrize("command", [["stats"], ["submit", *COMMON, "--test=a.js"]], ids=["stats", "submit"])
def test_a_port_of_something_else_is_told_once_and_at_once(
    qgjob: Command, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("QGJOB_TIMEOUT_SECONDS", "3600")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        result = qgjob(*command, f"--coordinator=127.0.0.1:{server.server_port}")
        server.shutdown()
    assert (result.code, "To resume" in result.err) == (1, False), result.err
    assert [("does not speak gRPC" in line) for line in result.err.splitlines() if "error: " in line] == [True]
    assert "trying again" not in result.err


def test_an_interrupt_before_the_command_began_is_told(
    qgjob: Command, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    told = "interrupted before the command began; nothing was done\n"
    with monkeypatch.context() as patched:
        patched.setattr("qgjob.cli.submission.Submission.of", interrupted)  # options are read
        result = qgjob("submit", *COMMON, "--test=a")
    assert (result.code, result.out, result.err) == (130, "", told)
    monkeypatch.setattr("qgjob.cli.app.run", interrupted)  # as while the command is loaded
    assert main() == 130
    assert capfd.readouterr() == ("", told)


def test_how_long_it_will_try_is_told_at_the_first_failure(qgjob: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QGJOB_TIMEOUT_SECONDS", "1.4")
    result = qgjob("submit", *COMMON, "--test=a", "--coordinator=127.0.0.1:1")
    assert result.code == 1
    first, last = result.err.splitlines()
    assert first.startswith("no coordinator answers at 127.0.0.1:1: ")
    assert first.endswith("; trying again for up to 1 s")
    assert last.startswith("error: ")
    for way in ("`qgjob up`", "QGJOB_COORDINATOR", "`qgjob doctor`"):
        assert way in last


def test_of_a_moment_that_is_left_nothing_is_told(qgjob: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QGJOB_TIMEOUT_SECONDS", "0.5")
    result = qgjob("submit", *COMMON, "--test=a", "--coordinator=127.0.0.1:1")
    assert result.code == 1
    assert "trying again" not in result.err
    assert result.err.startswith("no coordinator answers at 127.0.0.1:1: ")


def test_what_is_not_answered_in_time_is_told_once(
    fake: FakeCoordinator, qgjob: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_request: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setenv("QGJOB_TIMEOUT_SECONDS", "0.3")
    monkeypatch.setattr(fake, "get_stats", never)
    result = qgjob("stats")
    assert result.code == 1
    assert result.err == f"error: GetStats at {fake.address} was not answered in time\n"


def test_a_command_that_only_looks_waits_for_longer_than_a_coordinator_does_for_its_store() -> None:
    assert runner.IMPATIENT_SECONDS >= connection.REPLY_TIMEOUT_SECONDS + 1


def test_tables_obey_nothing_that_comes_from_afar(fake: FakeCoordinator, qgjob: Command) -> None:
    job_id = submit_one(qgjob, "[red]x[/red]\x1b]0;owned\x07\x1b[2J\u202ey")
    fake.in_loop(
        lambda: fake.move(job_id, "failed", "test_failed", error=types_pb2.JobError(error_class=1, message="\x1b[5mhi"))
    )
    for command in (["list", "--org-id=acme"], ["status", job_id], ["wait", job_id], ["watch", job_id]):
        result = qgjob(*command)
        assert "[red]x[/red]y" in result.out
        assert not {"\x1b", "\x07", "\u202e"} & set(result.out + result.err)
    as_json = qgjob("list", "--org-id=acme", "-o", "json")
    assert as_json.out.isascii()
    assert as_json.json["jobs"][0]["error"]["message"] == "\x1b[5mhi"


def test_ids_are_never_cut_in_a_pipe(fake: FakeCoordinator, qgjob: Command) -> None:
    path = "tests/" + "long/" * 60 + "a.js"
    job_id = submit_one(qgjob, path)
    row = qgjob("list", "--org-id=acme").out.splitlines()[1]
    assert job_id in row
    assert path in row


def test_help_and_version(qgjob: Command) -> None:
    for arguments in (["--help"], ["run", "--help"], ["devices", "reserve", "-h"], ["--version"]):
        assert qgjob(*arguments).code == 0
    assert qgjob("--version").out.startswith("qgjob ")


@pytest.mark.parametrize(
    ("command", "usage"),
    [("wait", "[OPTIONS] [JOB]..."), ("watch", "[OPTIONS] [JOB]..."), ("devices label", "{DEVICE} [KEY=VALUE]...")],
)
def test_usage_names_several_once(qgjob: Command, command: str, usage: str) -> None:
    first = next(line for line in qgjob(*command.split(), "--help").out.splitlines() if "Usage" in line)
    assert first.strip().endswith(usage)


@pytest.mark.parametrize("arguments", [(), ("devices",), ("config",)])
def test_usage_that_nobody_asked_for_is_no_data(qgjob: Command, arguments: tuple[str, ...]) -> None:
    result = qgjob(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "Usage: qgjob" in result.err
    assert "Usage: qgjob" in qgjob(*arguments, "--help").out


def test_a_filter_is_no_default(qgjob: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    helps = [qgjob(*command, "--help").out for command in (["devices", "ls"], ["submit"])]
    assert ["Only devices of this class." in each for each in helps] == [True, False]
    assert ["Class of device. Default: the coordinator's." in each for each in helps] == [False, True]


def test_health_has_its_shape_where_nothing_listens(qgjob: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QGJOB_COORDINATOR", "127.0.0.1:1")
    monkeypatch.setenv("QGJOB_TIMEOUT_SECONDS", "0.5")
    result = qgjob("health", "-o", "json")
    assert result.code == 1
    assert (result.json["status"], result.json["address"], result.json["stats"]) == (
        "unreachable",
        "127.0.0.1:1",
        None,
    )
    assert "127.0.0.1:1" in result.json["reason"]


def test_of_a_device_that_is_offline_it_is_told_whether_its_agent_is_too(fake: FakeCoordinator, qgjob: Command) -> None:
    for device_id, agent_id in (("d1", "here"), ("d2", "away"), ("d3", "here"), ("d4", "here")):
        fake.add_device(device_id, agent_id)
    for device_id in ("d1", "d2", "d3"):
        fake.devices[device_id].state = types_pb2.DEVICE_STATE_OFFLINE
    fake.devices["d3"].reason = "lent to QA"
    fake.agents["away"].state = types_pb2.AGENT_STATE_OFFLINE
    table = qgjob("devices", "ls")
    assert table.code == 0
    reasons = {line.split()[0]: line for line in table.out.splitlines()}
    assert reasons["d1"].endswith(" its agent does not see it; that agent's log says why")
    assert reasons["d2"].endswith(" its agent is offline")
    assert reasons["d3"].endswith(" lent to QA")
    assert "agent does" not in reasons["d4"]
    assert [each["reason"] for each in qgjob("devices", "ls", "-o", "json").json["devices"]] == [
        None,
        None,
        "lent to QA",
        None,
    ]


def test_devices_are_listed_although_their_agents_can_not_be(fake: FakeCoordinator, qgjob: Command) -> None:
    fake.add_device("d1", "here")
    fake.devices["d1"].state = types_pb2.DEVICE_STATE_OFFLINE
    fake.faults.append(Fault("ListAgents", grpc.StatusCode.PERMISSION_DENIED))
    result = qgjob("devices", "ls")
    assert (result.code, result.err) == (0, "")
    assert "offline" in result.out
