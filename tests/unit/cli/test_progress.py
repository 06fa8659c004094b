"""What a waiting command shows, drawn without a terminal."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from qgjob import (
    Attempt,
    ErrorClass,
    Job,
    JobError,
    JobStatus,
    Outcome,
    Overflow,
    PendingCode,
    PendingReason,
    Priority,
    Requirements,
    Target,
)
from qgjob.cli.job_tables import job_facts
from qgjob.cli.job_words import note_words, state_words
from qgjob.cli.moments import clock
from qgjob.cli.progress import LiveProgress, PlainProgress
from tests.unit.cli.conftest import Capture

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAILED_ATTEMPT = Attempt(1, 1, "a", "d", Outcome.TEST_FAILED, error=JobError(ErrorClass.TEST, "exit code 3"))


def job(number: int, status: JobStatus = JobStatus.QUEUED, **values: object) -> Job:
    made = Job(
        job_id=f"acme~{number}", org_id="acme", app_version_id="v1", test_path=f"t{number}.js", priority=Priority.LOW,
        target=Target.DEVICE, status=status, round=1, created_at=NOW, updated_at=NOW, max_retries=3, device_id="d1",
    )  # fmt: skip
    return replace(made, **values)  # type: ignore[arg-type]


def drawn(progress: LiveProgress) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(progress._view())
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_live_view_shows_what_runs_first_and_counts_all() -> None:
    progress = LiveProgress(total=30)
    for number in range(25):
        progress.update(job(number))
    progress.update(job(7, JobStatus.RUNNING, progress=40))
    progress.update(job(8, JobStatus.COMPLETED, outcome=Outcome.PASSED))
    lines = drawn(progress).splitlines()
    assert "t7.js" in lines[1]
    assert lines[0].split() == ["TEST", "TARGET", "STATUS", "DEVICE", "NOTE"]
    assert lines[1].split() == ["t7.js", "device", "running", "d1", "40", "%"]
    assert "… and 5 more" in lines[-2]
    assert lines[-1].strip() == "1 of 30 done · 23 queued, 1 running, 1 passed"


def test_plain_lines_tell_transitions_and_not_progress_within_one(stderr: Capture) -> None:
    progress = PlainProgress()
    running = job(1, JobStatus.RUNNING)
    first = Attempt(attempt=1, round=1, agent_id="a", device_id="d1")
    more = replace(running, attempts=(first,), progress=50)
    for state in (job(1), job(1), running, replace(running, progress=50), more, job(1, JobStatus.QUEUED, round=2)):
        progress.update(state)
    assert [line.split("t1.js ")[1] for line in stderr().splitlines()] == ["queued", "running on d1", "queued"]


def test_whoever_waits_for_what_nothing_can_serve_is_told_at_once(stderr: Capture) -> None:
    progress, live = PlainProgress(), LiveProgress(total=2)
    never = job(1, pending_reason=PendingReason(PendingCode.NO_RESOURCE, "no such device"))
    for each in (never, job(2, pending_reason=PendingReason(PendingCode.ALL_BUSY, "all are busy"))):
        progress.update(each)
        live.update(each)
    assert [line.split(".js ")[1] for line in stderr().splitlines()] == [
        "queued, no_resource: no such device",
        "queued",
    ]
    assert "no_resource: no such device" in drawn(live)


@pytest.mark.parametrize(
    ("values", "note"),
    [
        (
            {"pending_reason": PendingReason(PendingCode.ALL_BUSY, "all", 3, NOW + timedelta(minutes=2))},
            "all_busy, place 3, starts in 2 min",
        ),
        (
            {"pending_reason": PendingReason(PendingCode.ALL_BUSY, "all", 3, NOW - timedelta(minutes=2))},
            "all_busy, place 3, starts any moment",
        ),
        (
            {"pending_reason": PendingReason(PendingCode.RETRY_WAIT, "x", retry_at=NOW), "attempts": (FAILED_ATTEMPT,)},
            f"attempt 1: test_failed: exit code 3; retry_wait, not before {clock(NOW, NOW)}",
        ),
        ({"pending_reason": PendingReason(PendingCode.NO_RESOURCE, "no such device")}, "no_resource: no such device"),
        ({"status": JobStatus.SCHEDULED}, ""),
        ({"status": JobStatus.RUNNING, "progress": 40, "started_at": NOW}, "40 %"),
        ({"status": JobStatus.RUNNING, "started_at": NOW - timedelta(seconds=90)}, "1.5 min so far"),
        ({"status": JobStatus.RUNNING}, ""),
        ({"status": JobStatus.FAILED, "error": JobError(ErrorClass.TEST, "exit code 3")}, "exit code 3"),
        ({"status": JobStatus.COMPLETED, "outcome": Outcome.PASSED}, ""),
    ],
)
def test_a_note_says_what_status_and_device_do_not(values: dict[str, object], note: str) -> None:
    assert note_words(job(1, **values), NOW) == note  # type: ignore[arg-type]


def test_that_a_job_moved_to_its_second_target_is_told_once(stderr: Capture) -> None:
    """Whichever of its states is told next: a watch may miss the one in which it waits."""
    waits = Overflow(Target.BROWSERSTACK, 120.0, message="goes to browserstack when its expected wait is too long")
    moved = replace(
        waits, moved_from=Target.DEVICE, moved_at=NOW, message="moved device → browserstack: expected wait 5 min"
    )
    there = {"target": Target.BROWSERSTACK, "device_id": "cloud.b2", "overflow": moved}
    progress = PlainProgress()
    for state in (
        job(1, overflow=waits),
        job(1, **there),
        job(1, JobStatus.SCHEDULED, **there),
        job(2, overflow=waits),
        job(2, JobStatus.RUNNING, **there),
        job(2, JobStatus.COMPLETED, outcome=Outcome.PASSED, **there),
    ):
        progress.update(state)
    assert [line.split(".js ")[1] for line in stderr().splitlines()] == [
        "queued",
        "queued, moved device → browserstack: expected wait 5 min",
        "scheduled on cloud.b2",
        "queued",
        "running on cloud.b2, moved device → browserstack: expected wait 5 min",
        "completed (passed)",
    ]


def test_of_a_job_that_is_over_nobody_is_told_where_it_went(stderr: Capture) -> None:
    moved = Overflow(Target.BROWSERSTACK, 120.0, moved_from=Target.DEVICE, moved_at=NOW, message="moved")
    PlainProgress().update(job(1, JobStatus.COMPLETED, outcome=Outcome.PASSED, overflow=moved))
    assert stderr().splitlines()[0].endswith("t1.js completed (passed)")


def test_the_live_view_says_nothing_twice() -> None:
    live = LiveProgress(total=2)
    live.update(job(1, pending_reason=PendingReason(PendingCode.NO_RESOURCE, "no such device"), device_id=None))
    live.update(job(2, JobStatus.COMPLETED, outcome=Outcome.PASSED))
    assert [line.split() for line in drawn(live).splitlines()[1:3]] == [
        ["t1.js", "device", "queued", "-", "no_resource:", "no", "such", "device"],
        ["t2.js", "device", "passed", "d1"],
    ]


def test_of_a_job_that_told_no_progress_its_time_is_shown() -> None:
    running = job(1, JobStatus.RUNNING, started_at=NOW)
    console = Console(file=io.StringIO(), width=100)
    console.print(job_facts(running, NOW + timedelta(minutes=12)))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"progress +12 min so far\n", shown)


def test_the_same_test_on_several_devices_is_told_apart(stderr: Capture) -> None:
    progress, live = PlainProgress(), LiveProgress(total=2)
    for number, version in enumerate(("13", "14")):
        each = replace(job(number, test_path="a.js"), requirements=Requirements(os_version=version))
        progress.update(each)
        live.update(each)
    assert [line[line.index("a.js") :] for line in stderr().splitlines()] == [
        "a.js [os_version=13] queued", "a.js [os_version=14] queued",
    ]  # fmt: skip
    assert "a.js [os_version=14]" in drawn(live)


def test_the_words_for_a_state() -> None:
    attempt = Attempt(attempt=1, round=1, agent_id="a", device_id="d", outcome=Outcome.TEST_FAILED)
    assert state_words(job(1)) == "queued"
    assert state_words(job(1, attempts=(attempt,))) == "queued again (attempt 1: test_failed)"
    assert state_words(job(1, attempts=(replace(attempt, outcome=None),))) == "queued again (attempt 1: released)"
    broken = replace(attempt, outcome=Outcome.DEVICE_ERROR, error=JobError(ErrorClass.INFRASTRUCTURE, "no\nprogram"))
    assert state_words(job(1, attempts=(broken,))) == "queued again (attempt 1: device_error: no program)"
    told = state_words(job(1, attempts=(replace(broken, error=JobError(ErrorClass.TEST, "long " * 100)),)))
    assert len(told) < 180
    assert told.endswith("…)")
    failed = job(1, JobStatus.FAILED, outcome=Outcome.TIMED_OUT, error=JobError(ErrorClass.TEST, "took 30 s"))
    assert state_words(failed) == "failed (timed_out): took 30 s"
