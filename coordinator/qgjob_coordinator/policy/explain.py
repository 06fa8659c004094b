"""Why a job waits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qgjob_coordinator.model.enums import DeviceHealth, DeviceState, PendingCode
from qgjob_coordinator.model.fleet import Device
from qgjob_coordinator.model.jobs import Job, PendingReason
from qgjob_coordinator.policy.feasible import mismatch
from qgjob_coordinator.policy.snapshot import DeviceView


@dataclass(frozen=True, slots=True)
class Considered:
    """One device, and why it does or does not serve the job now. `code` is None when it is free to serve it."""

    device_id: str
    feasible: bool
    code: PendingCode | None
    message: str


# The cause that will pass soonest is what a waiting job is told.
_SOONEST = (
    None,
    PendingCode.ALL_BUSY,
    PendingCode.DRAINING,
    PendingCode.RESERVED,
    PendingCode.QUARANTINED,
    PendingCode.NO_DEVICE_ONLINE,
)

_TEXT = {
    PendingCode.ALL_BUSY: "all devices that can serve it are busy",
    PendingCode.DRAINING: "the devices that can serve it are draining; resume one to go on",
    PendingCode.RESERVED: "the devices that can serve it are reserved by a person",
    PendingCode.QUARANTINED: "the devices that can serve it are not in good health",
    PendingCode.NO_DEVICE_ONLINE: "no device that can serve it is online; start its agent",
}


def view(device: Device) -> DeviceView:
    """A device as feasibility sees it."""
    return DeviceView(
        device.device_id,
        device.agent_id,
        device.target,
        device.platform,
        device.os_version,
        device.model,
        device.labels,
    )


def consider(job: Job, devices: Iterable[Device]) -> list[Considered]:
    """Every device of the fleet with its verdict on the job, by id."""
    return [_consider(job, d) for d in sorted(devices, key=lambda d: d.device_id)]


def _consider(job: Job, d: Device) -> Considered:
    if d.target is not job.target:
        return Considered(d.device_id, False, None, f"target is {d.target.value}, not {job.target.value}")
    why = mismatch(job.requirements, view(d))
    if why is not None:
        return Considered(d.device_id, False, None, why)
    if d.state is DeviceState.OFFLINE:
        return Considered(d.device_id, True, PendingCode.NO_DEVICE_ONLINE, "is offline")
    if d.health in (DeviceHealth.BAD, DeviceHealth.MAINTENANCE):
        word = "in maintenance" if d.health is DeviceHealth.MAINTENANCE else "in bad health"
        return Considered(d.device_id, True, PendingCode.QUARANTINED, f"is {word}: {d.reason or 'no reason given'}")
    if d.state is DeviceState.RESERVED:
        return Considered(d.device_id, True, PendingCode.RESERVED, f"is reserved: {d.reason or 'no reason given'}")
    if d.state is DeviceState.DRAINING:
        return Considered(d.device_id, True, PendingCode.DRAINING, "is draining")
    if d.state is DeviceState.BUSY:
        return Considered(d.device_id, True, PendingCode.ALL_BUSY, f"is busy with {d.current_job_id or 'another job'}")
    return Considered(d.device_id, True, None, "is free")


def pending_reason(
    job: Job,
    considered: Sequence[Considered],
    *,
    now: int,
    position: int | None,
    over_quota: bool,
) -> PendingReason:
    """Why a queued job waits; with several causes, that of the device that will be free soonest."""
    if job.not_before is not None and job.not_before > now:
        return PendingReason(
            PendingCode.RETRY_WAIT, "it is not to start before its time", position=None, retry_at=job.not_before
        )
    feasible = [c for c in considered if c.feasible]
    if not feasible:
        asked = f"no device known to the fleet has target {job.target.value} and meets the job's requirements"
        return PendingReason(PendingCode.NO_RESOURCE, f"{asked}; see `qgjob explain` for each device", position)
    if over_quota:
        return PendingReason(PendingCode.QUOTA, f"org {job.org_id} runs as many attempts as it may", position)
    code = min((c.code for c in feasible), key=_SOONEST.index)
    if code is None:
        return PendingReason(PendingCode.ALL_BUSY, "a device is free and will take it in a moment", position)
    return PendingReason(code, _TEXT[code], position)
