"""The work that waits: what nothing could ever serve, and how long the oldest has waited."""

from __future__ import annotations

from qgjob_coordinator.model.enums import DeviceHealth, DeviceState
from qgjob_coordinator.model.findings import Finding
from qgjob_coordinator.policy.diagnosis.facts import FleetFacts, QueueFacts
from qgjob_coordinator.policy.diagnosis.words import count, fine, note, told, warning
from qgjob_coordinator.policy.reasons.words import span

LONG_SECONDS = 3600.0
_ABLE = (DeviceState.IDLE, DeviceState.BUSY)
_FIT = (DeviceHealth.GOOD, DeviceHealth.UNKNOWN)


def judge(queue: QueueFacts, fleet: FleetFacts) -> list[Finding]:
    """All about what waits."""
    return [*_unserved(queue), _age(queue, fleet)]


def _unserved(queue: QueueFacts) -> list[Finding]:
    check = "queue.unserved"
    found = [
        warning(
            check,
            f"{count(u.jobs, 'job')} of {u.app_version_id} on {u.target} can be served by no device that is known"
            + (f"; asked for: {u.asks}" if u.asks else ""),
            f"`qgjob explain JOB` of one of `qgjob list --org-id={u.org_id} --status=queued` says what is missing; "
            "register such a device, give one the label, push the build, or cancel the jobs",
            u.org_id,
        )
        for u in queue.unserved
    ]
    return told(found) or [fine(check, "some device could serve each job that waits")]


def _age(queue: QueueFacts, fleet: FleetFacts) -> Finding:
    check = "queue.age"
    if queue.queued == 0:
        return fine(check, "no job waits")
    oldest = span(queue.oldest_age_seconds)
    found = f"{count(queue.queued, 'job')} {'waits' if queue.queued == 1 else 'wait'}, the oldest for {oldest}"
    if queue.not_yet:
        found += f"; {queue.not_yet} of them until their own time"
    able = [d for d in fleet.devices if d.state in _ABLE and d.health in _FIT]
    if queue.queued > queue.not_yet and not able:
        return warning(check, f"{found}, and no device takes work", "see the findings of agents and devices")
    if queue.oldest_age_seconds > LONG_SECONDS:
        return note(check, found, "`qgjob explain JOB` says why a job waits")
    return fine(check, found)
