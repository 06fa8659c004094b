"""Whether the demo went as it has to. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from examples.demo.board import is_expected
from examples.demo.plan import SUBMISSIONS, cells, expected_attempts, expected_outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.demo.board import Board
    from qgjob import Job

LIMIT_SECONDS = 60.0


def judge(board: Board, wall_seconds: float, left_running: Sequence[str]) -> list[str]:
    """Everything that is not as expected, a sentence each. `left_running`: processes that outlived the stack."""
    problems = _jobs(board) + _installs(board)
    if wall_seconds >= LIMIT_SECONDS:
        problems.append(f"it took {wall_seconds:.0f} s, and is to take less than {LIMIT_SECONDS:.0f} s")
    problems += [f"left running: {process}" for process in left_running]
    return problems


def _jobs(board: Board) -> list[str]:
    problems = []
    planned = sum(1 for _ in cells())
    if len(board.jobs) != planned:
        problems.append(f"{planned} jobs were planned, {len(board.jobs)} are known")
    for job in board.jobs.values():
        name = board.name(job)
        if not job.final:
            problems.append(f"{name}: no verdict, it is {job.status}")
        elif not is_expected(job):
            expected = expected_outcome(job.test_path, job.app_version_id)
            why = "" if job.error is None else f" ({job.error.message})"
            problems.append(f"{name}: {job.outcome}, expected {expected}{why}")
        elif not _attempts_are_right(job):
            outcomes = ", ".join(str(attempt.outcome) for attempt in job.attempts)
            problems.append(f"{name}: {job.outcome} after the attempts {outcomes}")
        elif any(attempt.device_id not in _devices_of(board, job) for attempt in job.attempts):
            problems.append(f"{name}: ran on a device that is no {job.target}")
    return problems


def _attempts_are_right(job: Job) -> bool:
    """As many attempts as the outcome needs; failures of the infrastructure don't count."""
    tried = [attempt.outcome for attempt in job.attempts if attempt.outcome in {"passed", "test_failed"}]
    expected = expected_attempts(str(job.outcome))
    return len(tried) == expected and all(outcome == "test_failed" for outcome in tried[:-1])


def _devices_of(board: Board, job: Job) -> set[str]:
    return {device.device_id for device in board.devices if device.target == job.target}


def _installs(board: Board) -> list[str]:
    versions = {submission.app_version_id for submission in SUBMISSIONS}
    most = len(board.devices) * len(versions)
    if not 0 < board.installs <= most:
        return [f"{board.installs} installs, expected 1 to {most}: devices times app versions"]
    return []
