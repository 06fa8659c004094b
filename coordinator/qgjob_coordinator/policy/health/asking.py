"""What became of a job that failed on a device: whether another device could do it."""

from __future__ import annotations

from qgjob_coordinator.model.enums import Charge, Outcome, Status
from qgjob_coordinator.model.failures import CHARGES
from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.policy.health.record import Kind

_OVER = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


def did_elsewhere(kind: Kind, job: Job | None, device_id: str) -> bool | None:
    """Whether what failed here (a DEVICE or TEST) went well on another device; None while that may still happen."""
    return ran_elsewhere(job, device_id) if kind is Kind.DEVICE else passed_elsewhere(job, device_id)


def passed_elsewhere(job: Job | None, device_id: str) -> bool | None:
    """Whether the job passed on another device than this one, on which it failed; None while that may still happen."""
    if job is None or job.status in (Status.FAILED, Status.CANCELLED):
        return False
    if job.status is not Status.COMPLETED:
        return None
    passed = [a.device_id for a in job.attempts if a.outcome is Outcome.PASSED and a.round == job.round]
    return bool(passed) and passed[-1] != device_id


def ran_elsewhere(job: Job | None, device_id: str) -> bool | None:
    """Whether the job passed, or failed by its own test, on another device than this one, which broke under it.

    None while that may still happen. A job that ended by infrastructure wherever it was tried says nothing of a device.
    """
    if job is None:
        return False
    if any(a.device_id != device_id and a.round == job.round and _proper(a.outcome) for a in job.attempts):
        return True
    return False if job.status in _OVER else None


def _proper(outcome: Outcome | None) -> bool:
    return outcome is Outcome.PASSED or (outcome is not None and CHARGES.get(outcome) is Charge.TEST)
