"""What each device of the fleet is to a job: why it does or does not serve it now."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from qgjob_coordinator.model.enums import DeviceState, HoldKind, PendingCode, Status, Target
from qgjob_coordinator.model.fleet import Device
from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.policy.feasible import mismatches, suspicion, view
from qgjob_coordinator.policy.reasons.verdict import Verdict
from qgjob_coordinator.policy.snapshot import NO_BUILDS

Judge = Callable[[str], Verdict | None]
"""What the plan says of an idle device and the job in question; None where it says nothing."""


def unjudged(device_id: str) -> None:
    """Where no plan is at hand."""
    del device_id


@dataclass(frozen=True, slots=True)
class Considered:
    """One device, and why it does or does not serve the job now.

    `unmet` names what the job asks for and the device is not, and `build` where its app version has none for it;
    one without any is feasible. Of such a one `state` says in a word or two what it does, `code` is None when it is
    free, and `free_at` (ms) is when what keeps it ends.
    `verdict` is what the plan says of one that is free, `suspected` that an attempt of the job failed on it or with its
    host. `target` is the device's own, where that is what is unmet; `offline` is told of those that are not feasible.
    """

    device_id: str
    message: str
    unmet: tuple[str, ...] = ()
    state: str = ""
    code: PendingCode | None = None
    free_at: int | None = None
    verdict: Verdict | None = None
    target: Target | None = None
    offline: bool = False
    suspected: bool = False

    @property
    def feasible(self) -> bool:
        """Whether the device may serve the job, now or later."""
        return not self.unmet


SOONEST = (
    None,
    PendingCode.ALL_BUSY,
    PendingCode.DRAINING,
    PendingCode.RESERVED,
    PendingCode.QUARANTINED,
    PendingCode.NO_DEVICE_ONLINE,
)
"""Of causes whose end is not known, the one that is likely to pass soonest comes first; None is a free device."""
BUSY_MS = 60_000
"""So long a busy device is taken to be busy of which nothing is known: what it runs ends by itself, a hold may not."""


def soonest(c: Considered, now: int) -> tuple[float, int]:
    """Sorts feasible devices by when they will be free; `now` in ms."""
    if c.code is None:
        return -math.inf, 0
    known = now + BUSY_MS if c.free_at is None and c.code is PendingCode.ALL_BUSY else c.free_at
    return math.inf if known is None else max(known, now), SOONEST.index(c.code)


def consider(
    job: Job, devices: Iterable[Device], judge: Judge = unjudged, pushed: frozenset[str] = NO_BUILDS
) -> list[Considered]:
    """Every device of the fleet with its verdict on the job, by id. `pushed`: the slots for which its app version has a
    pushed build."""
    return [_consider(job, d, judge, pushed) for d in sorted(devices, key=lambda d: d.device_id)]


def _consider(job: Job, d: Device, judge: Judge, pushed: frozenset[str]) -> Considered:
    lacks = list(mismatches(job.requirements, view(d), pushed))
    other = d.target if d.target is not job.target else None
    if other is not None:
        lacks.insert(0, ("target", f"target is {other.value}, not {job.target.value}"))
    if lacks:
        message, unmet = "; ".join(words for _, words in lacks), tuple(name for name, _ in lacks)
        return Considered(d.device_id, message, unmet=unmet, target=other, offline=d.state is DeviceState.OFFLINE)
    state, code, note, until = _state(d)
    known = suspicion(job.avoid_devices, view(d)) if job.avoid_devices else 0
    suspected = known > 0
    if code is None and (verdict := judge(d.device_id)) is not None:
        state = f"free ({verdict.short})"
        return Considered(d.device_id, _freely(verdict), state=state, verdict=verdict, suspected=suspected)
    if code is PendingCode.ALL_BUSY:
        until = d.free_at
    if suspected:
        why = "failed on it" if known > 1 else "failed with its host"
        note += f", and is avoided while another can serve the job: an attempt {why}"
    words = f"is {state}{note}"
    if job.device_id == d.device_id and not job.status.final:
        words = _having(job, d, words)
    return Considered(d.device_id, words, state=state, code=code, free_at=until, suspected=suspected)


def _having(job: Job, d: Device, words: str) -> str:
    """What a device says to the job that it has."""
    if d.state is not DeviceState.BUSY or d.current_job_id != job.job_id:
        return f"{words}, and has this job"
    return "runs this job" if job.status is Status.RUNNING else "is about to start this job"


def _freely(verdict: Verdict) -> str:
    return f"is free, but {verdict.why}" if verdict.why else f"is free, and {verdict.short}"


_HELD = {
    HoldKind.MAINTENANCE: ("in maintenance", PendingCode.QUARANTINED),
    HoldKind.BAD: ("in bad health", PendingCode.QUARANTINED),
    HoldKind.RESERVED: ("reserved", PendingCode.RESERVED),
    HoldKind.DRAINING: ("draining", PendingCode.DRAINING),
}


def _state(d: Device) -> tuple[str, PendingCode | None, str, int | None]:
    """What a feasible device does: a word or two, the code, what is to be added, and when it ends (ms)."""
    if d.state is DeviceState.OFFLINE:
        return "offline", PendingCode.NO_DEVICE_ONLINE, "", None
    if d.held is not None:
        words, code = _HELD[d.held]
        unsaid = "" if d.held is HoldKind.DRAINING else ": no reason given"
        return words, code, f": {d.reason}" if d.reason else unsaid, d.until
    if d.state is DeviceState.BUSY:
        return "busy", PendingCode.ALL_BUSY, f" with {d.current_job_id or 'another job'}", None
    return "free", None, "", None


def could_be_served(considered: Iterable[Considered]) -> bool:
    """Whether anything known to the fleet, online or not, could ever serve the job."""
    return any(c.feasible for c in considered)


def pinned(job: Job, considered: Iterable[Considered]) -> Considered | None:
    """The device that the job asks for by its id, if it is known."""
    wanted = job.requirements.device_id
    return next((c for c in considered if c.device_id == wanted), None) if wanted is not None else None


def free_ones(considered: Iterable[Considered]) -> list[Considered]:
    """Those that may serve the job and are free."""
    return [c for c in considered if c.feasible and c.code is None]
