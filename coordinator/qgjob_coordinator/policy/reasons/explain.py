"""Why a job waits: each device's verdict on it, and the one reason that a waiting job is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from qgjob_coordinator.model.enums import DeviceHealth, DeviceState, PendingCode, Target
from qgjob_coordinator.model.fleet import Device
from qgjob_coordinator.model.jobs import Job, PendingReason
from qgjob_coordinator.policy.feasible import mismatches
from qgjob_coordinator.policy.reasons.verdict import Verdict
from qgjob_coordinator.policy.snapshot import DeviceView

NO_TIMES: Mapping[str, int] = {}
Judge = Callable[[str], Verdict | None]
"""What the plan says of an idle device and the job in question; None where it says nothing."""


def unjudged(device_id: str) -> None:
    """Where no plan is at hand."""
    del device_id


@dataclass(frozen=True, slots=True)
class StartEstimate:
    """When a waiting job is expected to start, and the band around it that most such jobs start in; in ms."""

    at: int
    earliest_at: int
    latest_at: int


@dataclass(frozen=True, slots=True)
class Considered:
    """One device, and why it does or does not serve the job now.

    `unmet` names what the job asks for and the device is not; a device without any is feasible. Of such a one `state`
    says in a word or two what it does, `code` is None when it is free, and `free_at` (ms) is when what keeps it ends.
    `verdict` is what the plan says of one that is free. `target` is the device's own, where that is what is unmet.
    """

    device_id: str
    message: str
    unmet: tuple[str, ...] = ()
    state: str = ""
    code: PendingCode | None = None
    free_at: int | None = None
    verdict: Verdict | None = None
    target: Target | None = None

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
"""The cause that will pass soonest is what a waiting job is told; None is a free device."""

_TEXT = {
    PendingCode.ALL_BUSY: "all devices that can serve it are busy",
    PendingCode.DRAINING: "the devices that can serve it are draining; resume one to go on",
    PendingCode.RESERVED: "the devices that can serve it are reserved by a person",
    PendingCode.QUARANTINED: "the devices that can serve it are not in good health",
    PendingCode.NO_DEVICE_ONLINE: "no device that can serve it is online; start its agent",
}

_SEE_EACH = "; see `qgjob explain` for each device"

_PREDICTABLE = frozenset({PendingCode.ALL_BUSY, PendingCode.QUOTA, PendingCode.RETRY_WAIT})
"""What passes without anybody's doing: only then is there a time to expect a start at."""

_PLACELESS = frozenset({PendingCode.RETRY_WAIT, PendingCode.NO_RESOURCE})
"""What waits on no line that any device comes to."""


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


def consider(
    job: Job, devices: Iterable[Device], free_at: Mapping[str, int] = NO_TIMES, judge: Judge = unjudged
) -> list[Considered]:
    """Every device of the fleet with its verdict on the job, by id.

    `free_at` is when busy devices are expected to have done what they hold, in ms, as far as that is known.
    """
    return [_consider(job, d, free_at.get(d.device_id), judge) for d in sorted(devices, key=lambda d: d.device_id)]


def _consider(job: Job, d: Device, expected: int | None, judge: Judge) -> Considered:
    lacks = list(mismatches(job.requirements, view(d)))
    other = d.target if d.target is not job.target else None
    if other is not None:
        lacks.insert(0, ("target", f"target is {other.value}, not {job.target.value}"))
    if lacks:
        message, unmet = "; ".join(words for _, words in lacks), tuple(name for name, _ in lacks)
        return Considered(d.device_id, message, unmet=unmet, target=other)
    state, code, note, until = _state(d)
    if code is None and (verdict := judge(d.device_id)) is not None:
        return Considered(d.device_id, _freely(verdict), state=f"free ({verdict.short})", verdict=verdict)
    if code is PendingCode.ALL_BUSY:
        until = expected
    if job.avoid_devices and d.device_id in job.avoid_devices:
        note += ", and is avoided while another can serve the job: an attempt failed on it"
    return Considered(d.device_id, f"is {state}{note}", state=state, code=code, free_at=until)


def _freely(verdict: Verdict) -> str:
    return f"is free, but {verdict.why}" if verdict.why else f"is free, and {verdict.short}"


def _state(d: Device) -> tuple[str, PendingCode | None, str, int | None]:
    """What a feasible device does: a word or two, the code, what is to be added, and when it ends (ms)."""
    why = f": {d.reason or 'no reason given'}"
    if d.state is DeviceState.OFFLINE:
        return "offline", PendingCode.NO_DEVICE_ONLINE, "", None
    if d.health is DeviceHealth.MAINTENANCE:
        return "in maintenance", PendingCode.QUARANTINED, why, d.until
    if d.health is DeviceHealth.BAD:
        return "in bad health", PendingCode.QUARANTINED, why, d.until
    if d.state is DeviceState.RESERVED:
        return "reserved", PendingCode.RESERVED, why, d.until
    if d.state is DeviceState.DRAINING:
        return "draining", PendingCode.DRAINING, f": {d.reason}" if d.reason else "", d.until
    if d.state is DeviceState.BUSY:
        return "busy", PendingCode.ALL_BUSY, f" with {d.current_job_id or 'another job'}", None
    return "free", None, "", None


def could_be_served(considered: Iterable[Considered]) -> bool:
    """Whether anything known to the fleet, online or not, could ever serve the job."""
    return any(c.feasible for c in considered)


def pending_reason(
    job: Job,
    considered: Sequence[Considered],
    *,
    now: int,
    position: int | None,
    over_quota: bool,
    estimate: StartEstimate | None = None,
    explained: bool = False,
) -> PendingReason:
    """Why a queued job waits; with several causes, that of the device that will be free soonest.

    `explained`: each device is told beside it, so that it does not say where to see them.
    """
    code, message = _cause(job, considered, now, over_quota=over_quota)
    if explained:
        message = message.removesuffix(_SEE_EACH)
    retry_at = job.not_before if code is PendingCode.RETRY_WAIT else None
    return placed(PendingReason(code, message, retry_at=retry_at), position, estimate)


def placed(reason: PendingReason, position: int | None, estimate: StartEstimate | None) -> PendingReason:
    """A reason that many jobs share, with one job's position and expected start, where it has them."""
    if reason.code in _PLACELESS:
        position = None
    at = estimate.at if estimate is not None and reason.code in _PREDICTABLE else None
    if position is None and at is None:
        return reason
    return PendingReason(reason.code, reason.message, position, at, reason.retry_at)


def _cause(job: Job, considered: Sequence[Considered], now: int, *, over_quota: bool) -> tuple[PendingCode, str]:
    if job.not_before is not None and job.not_before > now:
        later = "" if could_be_served(considered) else "; nothing known to the fleet could serve it then, as it is now"
        return PendingCode.RETRY_WAIT, f"it is not to start before its time{later}"
    feasible = [c for c in considered if c.feasible]
    if not feasible:
        return PendingCode.NO_RESOURCE, _nothing_serves(job, considered)
    if over_quota:
        return PendingCode.QUOTA, f"org {job.org_id} runs as many attempts as it may"
    code = min((c.code for c in feasible), key=SOONEST.index)
    if code is None:
        return PendingCode.ALL_BUSY, free_words([c.verdict for c in free_ones(considered)])
    return code, _TEXT[code]


def _nothing_serves(job: Job, considered: Sequence[Considered]) -> str:
    """What to do where the device that the job asks for by its id is there, and of another target."""
    asked = pinned(job, considered)
    if asked is not None and asked.target is not None:
        of = asked.target.value
        return f"{asked.device_id} is of target {of}, not {job.target.value}; submit the job with --target={of}"
    return f"no device known to the fleet has target {job.target.value} and meets the job's requirements{_SEE_EACH}"


def pinned(job: Job, considered: Iterable[Considered]) -> Considered | None:
    """The device that the job asks for by its id, if it is known."""
    wanted = job.requirements.device_id
    return next((c for c in considered if c.device_id == wanted), None) if wanted is not None else None


def free_ones(considered: Iterable[Considered]) -> list[Considered]:
    """Those that may serve the job and are free."""
    return [c for c in considered if c.feasible and c.code is None]


def free_words(verdicts: Sequence[Verdict | None], count: int | None = None) -> str:
    """What a job is told that waits while devices are free for it: the best that the plan says of one of them.

    `verdicts` are those of the free devices, or of some of `count`.
    """
    if any(v is not None and v.job_taken for v in verdicts):
        return "a device is free and will take it in a moment"
    if any(v is not None and not v.why for v in verdicts):
        return "a device is free and takes jobs of its group that come first"
    refused = Counter(v for v in verdicts if v is not None)
    if refused.total() < len(verdicts):
        return "a device that can serve it is free; whether it takes it is decided in a moment"
    count = len(verdicts) if count is None else count
    free = "a device is free" if count == 1 else f"{count} devices are free"
    (verdict, _), *others = refused.most_common()
    return f"{free}, but {verdict.why}" + (_SEE_EACH if others else "")
