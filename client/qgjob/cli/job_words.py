"""A job in words: what it asks for, where it stands, and whether that is news."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from qgjob._enums import JobStatus, Outcome, PendingCode
from qgjob._models import Job, TestResult
from qgjob.cli.clean import clean
from qgjob.cli.moments import clock, distance, span
from qgjob.cli.tables import cut

_MOST_OF_AN_ERROR = 120
_OF_THE_INFRASTRUCTURE = (Outcome.DEVICE_ERROR, Outcome.AGENT_LOST, Outcome.PROVIDER_ERROR)


def requirement_words(job: Job) -> str:
    """`platform=ios, rack=2`; empty when any device of the target will do."""
    return pairs(job.requirements.to_dict())


def test_words(job: Job) -> str:
    """The test, with what it requires: `login.spec.js [platform=ios]`. One test of a matrix is told from the others."""
    required = requirement_words(job)
    return f"{job.test_path} [{required}]" if required else job.test_path


def state_words(job: Job) -> str:
    """`running on emulator-1`, `queued again (attempt 1: test_failed: exit code 3)`, `failed (timed_out): …`."""
    if job.status in (JobStatus.SCHEDULED, JobStatus.RUNNING):
        return f"{job.status} on {job.device_id}"
    if job.status is JobStatus.QUEUED:
        last = _last_attempt(job)
        return f"queued again ({last})" if last else "queued"
    reason = f": {job.error.message}" if job.error else ""
    return f"{job.status} ({job.outcome}){reason}" if job.outcome else f"{job.status}{reason}"


def progress_words(job: Job) -> str:
    """As `state_words`; and whoever waits for a job that nothing could ever serve is told at once, not at a timeout."""
    reason = job.pending_reason
    if reason is None or reason.code is not PendingCode.NO_RESOURCE:
        return state_words(job)
    return f"{state_words(job)}, {reason.code}: {reason.message}"


def note_words(job: Job, now: datetime) -> str:
    """What there is to say beside status, outcome and device, for the column NOTE.

    `all_busy, place 2, starts in 3 min`, `attempt 1: test_failed; all_busy`, `40 %`, `exit code 3`.
    """
    if job.status is JobStatus.QUEUED:
        return "; ".join(filter(None, [_last_attempt(job), _waiting(job, now)]))
    if job.status is JobStatus.RUNNING:
        return advance_words(job, now) or ""
    return job.error.message if job.error else ""


def advance_words(job: Job, now: datetime) -> str | None:
    """How far a running job is: `40 %`, or `1.5 min so far` where its runner tells no progress; None if not known."""
    if job.progress or job.started_at is None:
        return f"{job.progress} %" if job.progress else None
    return f"{span(now - job.started_at)} so far"


def result_words(result: TestResult, outcome: str | None) -> str:
    """`4 passed, 1 failed, 2 skipped: the total is 0`; empty when it says no more than the outcome."""
    counts = {"passed": result.passed, "failed": result.failed, "skipped": result.skipped}
    told = ", ".join(f"{count} {name}" for name, count in counts.items()) if sum(counts.values()) != 1 else None
    summary = clean(result.summary) if result.summary and result.summary != outcome else None
    return ": ".join(filter(None, [told, summary]))


def retry_words(job: Job) -> str:
    """`1 of 3`; with `0 of 0 (tests), 4 (infrastructure)` those are told too that have a budget of their own.

    They follow attempts of this round that failed by a device or an agent; nothing follows the last one of a verdict.
    """
    ended = [each for each in job.attempts if each.round == job.round]
    followed = ended[:-1] if job.final else ended
    others = sum(each.outcome in _OF_THE_INFRASTRUCTURE for each in followed)
    tests = f"{job.retry_count} of {job.max_retries}"
    return f"{tests} (tests), {others} (infrastructure)" if others else tests


def _last_attempt(job: Job) -> str | None:
    """`attempt 1: test_failed: exit code 3`; None before the first."""
    if not job.attempts:
        return None
    last = job.attempts[-1]
    why = f": {cut(clean(last.error.message), _MOST_OF_AN_ERROR)}" if last.error and last.error.message else ""
    return f"attempt {last.attempt}: {last.outcome or 'released'}{why}"


def _waiting(job: Job, now: datetime) -> str | None:
    reason = job.pending_reason
    if reason is None:
        return None
    if reason.code is PendingCode.NO_RESOURCE:
        return f"{reason.code}: {reason.message}"
    start, retry = reason.estimated_start_at, reason.retry_at
    parts = [
        str(reason.code),
        f"place {reason.position}" if reason.position is not None else None,
        f"not before {clock(retry, now)}" if retry is not None else None,
        f"starts {distance(start, now) if start > now else 'any moment'}" if start is not None else None,
    ]
    return ", ".join(filter(None, parts))


class News:
    """What of jobs was not told yet: progress within an attempt, for one, says nothing new."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}
        self._moved: set[str] = set()

    def of(self, job: Job) -> str | None:
        """Words for the job's state, and once that it went to its second target; None where they were told last."""
        words = progress_words(job)
        known = self._told.get(job.job_id)
        self._told[job.job_id] = words
        overflow = job.overflow
        if overflow is None or overflow.moved_at is None or job.final or job.job_id in self._moved:
            return words if known != words else None
        self._moved.add(job.job_id)
        return f"{words}, {overflow.message}"


def pairs(values: dict[str, Any]) -> str:
    """`{"platform": "ios", "labels": {"rack": "2"}}` as `platform=ios, rack=2`; what is None is left out."""
    labels = values.pop("labels", {})
    return ", ".join(f"{key}={value}" for key, value in {**values, **labels}.items() if value is not None)
