"""What a run of jobs came to, and what it has to come to. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qgjob import Attempt, Job

BUSY_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Expected:
    """A figure, and what it has to be."""

    what: str
    found: object
    wanted: str
    holds: bool


def equal(what: str, found: object, wanted: object) -> Expected:
    """A figure that has to be exactly so."""
    return Expected(what, found, str(wanted), found == wanted)


def at_most(what: str, found: float, wanted: float) -> Expected:
    """A figure that must not be larger."""
    return Expected(what, _rounded(found), f"<= {_rounded(wanted)}", found <= wanted)


def more_than(what: str, found: float, wanted: float) -> Expected:
    """A figure that has to be larger."""
    return Expected(what, _rounded(found), f"> {_rounded(wanted)}", found > wanted)


def _rounded(value: float) -> float:
    return value if isinstance(value, int) else round(value, 3)


def outcomes(jobs: Iterable[Job]) -> set[str]:
    """How the jobs ended."""
    return {str(job.outcome) for job in jobs}


def attempts_by_device(jobs: Iterable[Job]) -> dict[str, list[Attempt]]:
    """The attempts that began and ended, by device."""
    found: dict[str, list[Attempt]] = {}
    for job in jobs:
        for attempt in job.attempts:
            if attempt.started_at is not None and attempt.ended_at is not None:
                found.setdefault(attempt.device_id, []).append(attempt)
    return dict(sorted(found.items()))


def wall_seconds(jobs: Sequence[Job]) -> float:
    """From the submission of the first job to the verdict of the last."""
    created = [job.created_at for job in jobs if job.created_at is not None]
    completed = [job.completed_at for job in jobs if job.completed_at is not None]
    return (max(completed) - min(created)).total_seconds()


def busy_shares(jobs: Sequence[Job]) -> dict[str, float]:
    """Of each device: for which share of the whole run it installed a build or ran a test file."""
    whole = wall_seconds(jobs)
    return {device: sum(map(_busy_seconds, attempts)) / whole for device, attempts in attempts_by_device(jobs).items()}


def _busy_seconds(attempt: Attempt) -> float:
    assert attempt.started_at is not None
    assert attempt.ended_at is not None
    return (attempt.ended_at - attempt.started_at).total_seconds() + (attempt.install_ms or 0) / 1000


def passed_tests(jobs: Iterable[Job]) -> int:
    """How many tests passed in the jobs' last attempts."""
    results = [job.attempts[-1].result for job in jobs if job.attempts]
    return sum(result.passed for result in results if result is not None)
