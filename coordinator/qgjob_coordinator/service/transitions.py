"""What becomes of jobs when no outcome of an attempt counts: counted and logged in one way, whoever did it."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from qgjob_coordinator.model.enums import DeathCause, Outcome
from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.policy.reasons.overflow import overflow_words
from qgjob_coordinator.store.types.endings import LeaseEnd, Settled
from qgjob_coordinator.store.types.waiting import Promoted
from qgjob_coordinator.telemetry import Telemetry

log = structlog.get_logger(__name__)

_ATTEMPT_OUTCOME = {LeaseEnd.LOST: Outcome.AGENT_LOST.value, LeaseEnd.REVOKED: Outcome.CANCELLED.value}
"""What the attempt became; with any other end of its lease it is none, since it never began."""

GIVEN_BACK = "given_back"
"""What an attempt that its agent ended to take no more work is counted as: that is maintenance, and no loss."""

_GIVEN_BACK = frozenset({DeathCause.REVOKED.value, DeathCause.SHUTDOWN.value, DeathCause.DISK_FULL.value})
_HEARD = _GIVEN_BACK | {DeathCause.DEVICE_LOST.value}
"""Why an attempt that had begun ended although its agent was heard all the time. Any other reason is a lost lease."""


def tell_settled(telemetry: Telemetry, org_id: str, rows: Iterable[tuple[Settled, str]]) -> None:
    """Counts and logs (what was done, why) pairs. A reason is the word of a DeathCause where an agent told of the end.

    A revoked attempt counts as cancelled when its lease ends; its job had its verdict, and was counted, before.
    """
    for row, reason in rows:
        attempt_outcome = _ATTEMPT_OUTCOME.get(row.lease)
        given_back = False
        if row.lease is LeaseEnd.LOST:
            telemetry.leases_lost += reason not in _HEARD
            given_back = reason in _GIVEN_BACK
        if attempt_outcome is not None:
            telemetry.attempts[GIVEN_BACK if given_back else attempt_outcome] += 1
        if row.lease is not LeaseEnd.REVOKED and row.outcome is not None:
            telemetry.finished[row.outcome.value, row.target.value] += 1
        log.info(
            "attempt_released" if row.lease is LeaseEnd.REVOKED else f"job_{row.status.value}",
            job_id=f"{org_id}~{row.ulid}",
            attempt=row.attempt,
            agent_id=row.agent_id,
            device_id=row.device_id,
            attempt_outcome=attempt_outcome,
            outcome=row.outcome.value if row.outcome else None,
            retry_at=row.not_before,
            reason=reason,
        )


def tell_promoted(org_id: str, rows: Iterable[Promoted]) -> None:
    """Logs jobs whose time has come: of a retry, or of a submission that was to begin later."""
    for row in rows:
        reason = "retry_due" if row.attempts else "not_before"
        log.info("job_queued", job_id=f"{org_id}~{row.ulid}", attempt=row.attempts, reason=reason)


def tell_moved(jobs: Iterable[Job]) -> None:
    """Logs jobs that went to their second targets."""
    for job in jobs:
        reason = "" if job.overflow is None else overflow_words(job.overflow)
        log.info("job_moved", job_id=job.job_id, target=job.target.value, reason=reason)
