"""What became of a job whose test failed on a device."""

from __future__ import annotations

from qgjob_coordinator.model.enums import Outcome, Status
from qgjob_coordinator.model.jobs import Job


def passed_elsewhere(job: Job | None, device_id: str) -> bool | None:
    """Whether the job passed on another device than this one, on which it failed; None while that may still happen."""
    if job is None or job.status in (Status.FAILED, Status.CANCELLED):
        return False
    if job.status is not Status.COMPLETED:
        return None
    passed = [a.device_id for a in job.attempts if a.outcome is Outcome.PASSED and a.round == job.round]
    return bool(passed) and passed[-1] != device_id
