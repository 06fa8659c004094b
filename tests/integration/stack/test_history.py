"""The history checker itself: each kind of broken promise is found, and a sound history is not blamed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from qgjob import Attempt, Job, JobStatus, Outcome, Priority, Target
from tests.fakes.history import Transition, faults
from tests.fakes.program import end_leftovers

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
JOB = "acme~01"


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def attempt(number: int, outcome: Outcome | None, begin: float, end: float | None, **fields: Any) -> Attempt:
    values: dict[str, Any] = {"round": 1, "agent_id": "a", "device_id": "d"} | fields
    ended_at = None if end is None else at(end)
    return Attempt(attempt=number, outcome=outcome, started_at=at(begin), ended_at=ended_at, **values)


def job(*attempts: Attempt, job_id: str = JOB, **fields: Any) -> Job:
    values: dict[str, Any] = {
        "job_id": job_id,
        "org_id": "acme",
        "app_version_id": "v1",
        "test_path": "a.js",
        "priority": Priority.MEDIUM,
        "target": Target.EMULATOR,
        "status": JobStatus.COMPLETED,
        "outcome": Outcome.PASSED,
        "round": 1,
        "created_at": NOON,
        "updated_at": NOON,
        "max_retries": 3,
        "attempts": attempts,
    }
    return Job(**(values | fields))


def events(*steps: str, job_id: str = JOB) -> list[Transition]:
    """`q`, `r`, `c:passed`, … with growing versions."""
    return [
        Transition(job_id, version, letter, outcome or None)
        for version, (letter, _, outcome) in enumerate((step.partition(":") for step in steps), 1)
    ]


PASSED = attempt(1, Outcome.PASSED, 0, 1)
SOUND = events("q", "s", "r", "c:passed")


def test_a_sound_history_is_not_blamed() -> None:
    retried = job(
        attempt(1, Outcome.CANCELLED, 0, 3),
        attempt(2, Outcome.AGENT_LOST, 3, 4, round=2),
        attempt(3, Outcome.PASSED, 5, 6, round=2),
        round=2,
    )
    steps = events("q", "s", "r", "x:cancelled", "q", "x", "s", "r", "q", "s", "r", "c:passed")
    assert faults({JOB: retried}, steps, [JOB]) == []


@pytest.mark.parametrize(
    ("broken", "steps", "promise"),
    [
        (job(status=JobStatus.RUNNING, outcome=None), events("q", "r"), "P1: acme~01 has no verdict"),
        (job(attempt(1, None, 0, None)), SOUND, "P1: attempt 1 of acme~01 has not ended"),
        (job(PASSED), events("q", "r", "c:passed", "f:test_failed"), "P2: acme~01 has 2 verdicts in 1 rounds"),
        (job(PASSED), events("q", "r"), "P2: acme~01 has 0 verdicts in 1 rounds"),
        (job(PASSED), events("q", "r", "f:test_failed"), "its verdict was"),
        (job(PASSED, outcome=Outcome.EXPIRED), events("q", "c:expired"), "is completed with outcome expired"),
        (job(PASSED, attempt(2, Outcome.PASSED, 2, 3)), SOUND, "P2: acme~01 is completed by attempts"),
        (job(PASSED, attempt(2, Outcome.AGENT_LOST, 2, 3)), SOUND, "P2: acme~01 is completed by attempts"),
        (
            job(PASSED, status=JobStatus.FAILED, outcome=Outcome.TEST_FAILED),
            events("q", "f:test_failed"),
            "and an attempt of this round passed",
        ),
        (job(attempt(2, Outcome.PASSED, 0, 1)), SOUND, "P3: attempts of acme~01 are [2]"),
        (job(PASSED), [*SOUND, replace(SOUND[1], letter="c")], "P3: versions of acme~01 are not growing"),
        (job(attempt(1, Outcome.PASSED, 1, 0)), SOUND, "P4: attempt 1 of acme~01 ended before it started"),
    ],
)
def test_each_broken_promise_is_found(broken: Job, steps: list[Transition], promise: str) -> None:
    assert any(promise in fault for fault in faults({JOB: broken}, steps))


def test_an_acknowledged_job_that_is_gone_is_found() -> None:
    assert faults({}, [], [JOB]) == ["P1: acme~01 was acknowledged and is lost"]


def test_two_attempts_at_once_on_a_device_are_found() -> None:
    other = "acme~02"
    jobs = {JOB: job(PASSED), other: job(attempt(1, Outcome.PASSED, 0.999, 2), job_id=other)}
    (fault,) = faults(jobs, [*SOUND, *events("q", "c:passed", job_id=other)])
    assert fault.startswith("P4: on d acme~02#1")
    jobs[other] = job(attempt(1, Outcome.PASSED, 1, 2), job_id=other)
    assert faults(jobs, [*SOUND, *events("q", "c:passed", job_id=other)]) == []


async def test_a_process_that_a_stack_left_is_named_and_ended(tmp_path: Path) -> None:
    code = "import time; print('up', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as left:
        assert left.stdout is not None
        assert left.stdout.readline() == b"up\n"
        found = await end_leftovers(tmp_path, patience_seconds=0)
        assert list(found) == [left.pid]
        assert left.wait(10) < 0
