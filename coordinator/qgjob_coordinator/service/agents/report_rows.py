"""An agent's reports as the store takes them: by kind, with what their ends are charged to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from qgjob_coordinator.model.enums import Charge, DeathCause, Outcome
from qgjob_coordinator.model.failures import charge_of, error_class_of
from qgjob_coordinator.model.jobs import JobError
from qgjob_coordinator.service.agents.messages import (
    DeadReport,
    FinishedReport,
    ProgressReport,
    Report,
    StartedReport,
)
from qgjob_coordinator.store.types.endings import Ending, Release, ReleaseCharge

# A started attempt that ended without an outcome: whose budget it uses up.
_CAUSE_CHARGE = {
    DeathCause.REVOKED: ReleaseCharge.NOBODY,
    DeathCause.LEASE_LOST: ReleaseCharge.OUTAGE,  # of ours, or of the way to us
    DeathCause.SHUTDOWN: ReleaseCharge.NOBODY,
    DeathCause.DEVICE_LOST: ReleaseCharge.INFRASTRUCTURE,
    DeathCause.DISK_FULL: ReleaseCharge.NOBODY,
    DeathCause.AGENT_LOST: ReleaseCharge.LOST,
}
_CAUSE_TEXT = {
    DeathCause.REVOKED: "the lease was revoked",
    DeathCause.LEASE_LOST: "no heartbeat was confirmed in time, so the agent ended the attempt",
    DeathCause.SHUTDOWN: "the agent was shut down, or took no more work",
    DeathCause.DEVICE_LOST: "the device went away",
    DeathCause.DISK_FULL: "the agent's disk is full, refuses writes, or lost the agent's state_dir",
    DeathCause.AGENT_LOST: "its agent was restarted without it, or stood still until its lease was over",
}


def by_job(reports: Iterable[Report]) -> list[list[Report]]:
    """One org's reports, those of each job together, in their order."""
    jobs: dict[str, list[Report]] = {}
    for report in reports:
        jobs.setdefault(report.ulid, []).append(report)
    return list(jobs.values())


@dataclass(slots=True)
class ByKind:
    """One round's reports of one org, by kind."""

    started: list[StartedReport] = field(default_factory=list)
    finished: list[FinishedReport] = field(default_factory=list)
    dead: list[DeadReport] = field(default_factory=list)
    progress: list[ProgressReport] = field(default_factory=list)

    def ends(self) -> list[str]:
        """Tokens of the attempts that end."""
        return [x.token for x in self.finished] + [x.token for x in self.dead]


def by_kind(batch: Iterable[Report]) -> ByKind:
    """A round's reports by kind."""
    found = ByKind()
    for report in batch:
        if isinstance(report, FinishedReport):
            found.finished.append(report)
        elif isinstance(report, StartedReport):
            found.started.append(report)
        elif isinstance(report, DeadReport):
            found.dead.append(report)
        else:
            found.progress.append(report)
    return found


def ending(x: FinishedReport, now: int, share: float, *, has_log: bool) -> Ending:
    """The end of an attempt by its outcome. `share` (0..1, random) is that of the backoff, if it is retried."""
    charge: Charge | None = None
    error: JobError | None = None
    if x.outcome is not Outcome.PASSED:
        charge = charge_of(x.outcome, unresolvable=x.unresolvable)
        error = JobError(error_class_of(charge), x.error or f"the attempt ended as {x.outcome.value}")
    ended_at = min(x.ended_at, now)
    return Ending(
        ulid=x.ulid,
        token=x.token,
        outcome=x.outcome,
        charge=charge,
        started_at=min(x.started_at, ended_at),
        ended_at=ended_at,
        duration_ms=x.duration_ms,
        share=share if charge else 0.0,
        install_ms=x.install_ms,
        result=x.result,
        error=error,
        has_log=has_log,
        with_start=x.begun,
        host_unfit=x.host_unfit,
    )


def release(x: DeadReport, agent_id: str, now: int, share: float) -> Release:
    """The end of an attempt without an outcome; `share` as in `ending`."""
    text = f"{_CAUSE_TEXT[x.cause]} (agent {agent_id})"
    return Release(x.ulid, x.token, min(x.ended_at, now), _CAUSE_CHARGE[x.cause], text, share)
