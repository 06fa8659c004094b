"""What ended a job that waited too long: whether it was ever tried, and why it was not tried in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qgjob_coordinator.model.enums import ErrorClass
from qgjob_coordinator.model.jobs import Job, JobError
from qgjob_coordinator.policy.reasons.considered import Considered, could_be_served
from qgjob_coordinator.policy.reasons.pending import pending_reason

_MS = 1000
_NEXT = "the next one was to come later than that"


def expired(job: Job, considered: Sequence[Considered], now: int) -> JobError:
    """The error of a job that expires at `now` (ms): nothing could ever serve it, or none of what could did in time."""
    kind = ErrorClass.QUEUE_TIMEOUT if could_be_served(considered) else ErrorClass.NO_RESOURCE
    backs_off = kind is ErrorClass.QUEUE_TIMEOUT and job.not_before is not None and job.not_before > now
    ready = replace(job, not_before=None)
    why = pending_reason(ready, considered, now=now, position=None, over_quota=False, ended=True).message
    waited = f"within {(job.queue_timeout_ms or 0) / _MS:g} s"
    tried = [each for each in job.attempts if each.round == job.round and each.outcome is not None]
    if not tried:
        return JobError(kind, f"not started {waited}: {why}")
    attempts = "1 attempt" if len(tried) == 1 else f"{len(tried)} attempts, the last"
    last = tried[-1]
    ended = last.error.message if last.error is not None else str(last.outcome and last.outcome.value)
    return JobError(
        kind,
        f"not started again {waited} of {_since(job)}; {attempts}: {ended}; {_NEXT if backs_off else f'now {why}'}",
    )


def _since(job: Job) -> str:
    """From when its time in the queue counts: an attempt that fails does not begin it anew."""
    if job.round > 1:
        return "its retry by hand"
    at = (job.queue_deadline or 0) - (job.queue_timeout_ms or 0)
    return "its not_before" if at > job.created_at else "its submission"
