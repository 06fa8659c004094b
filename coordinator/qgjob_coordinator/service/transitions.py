"""What becomes of jobs when no outcome of an attempt counts: counted and logged in one way, whoever did it."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from qgjob_coordinator.model.enums import Outcome
from qgjob_coordinator.store.types import LeaseEnd, Promoted, Settled
from qgjob_coordinator.telemetry import Telemetry

log = structlog.get_logger(__name__)

_ATTEMPT_OUTCOME = {LeaseEnd.LOST: Outcome.AGENT_LOST.value, LeaseEnd.REVOKED: Outcome.CANCELLED.value}
"""What the attempt became; with any other end of its lease it is none, since it never began."""


def tell_settled(telemetry: Telemetry, org_id: str, rows: Iterable[tuple[Settled, str]]) -> None:
    """Counts and logs (what was done, why) pairs.

    A revoked attempt counts as cancelled when its lease ends; its job had its verdict, and was counted, before.
    """
    for row, reason in rows:
        if row.lease is LeaseEnd.LOST:
            telemetry.leases_lost += 1
        attempt_outcome = _ATTEMPT_OUTCOME.get(row.lease)
        if attempt_outcome is not None:
            telemetry.attempts[attempt_outcome] += 1
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
