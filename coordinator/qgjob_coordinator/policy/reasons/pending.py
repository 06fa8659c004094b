"""Why a job waits: the one reason that a waiting job is told, of what all devices are to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from qgjob_coordinator.model.enums import PendingCode
from qgjob_coordinator.model.jobs import Job, PendingReason
from qgjob_coordinator.policy.feasible import BUILD
from qgjob_coordinator.policy.reasons.considered import Considered, could_be_served, free_ones, pinned, soonest
from qgjob_coordinator.policy.reasons.unbuilt import second_target
from qgjob_coordinator.policy.reasons.verdict import Verdict
from qgjob_coordinator.policy.reasons.words import counted

_TEXT = {
    PendingCode.ALL_BUSY: "all devices that can serve it are busy",
    PendingCode.DRAINING: "the devices that can serve it are draining; resume one, or its agent, to go on",
    PendingCode.RESERVED: "the devices that can serve it are reserved by a person",
    PendingCode.QUARANTINED: "the devices that can serve it are not in good health",
    PendingCode.NO_DEVICE_ONLINE: "no device that can serve it is online; start its agent",
}

_SEE_EACH = "; see `qgjob explain` for each device"
_OR_FAILS = ", or the job fails in a moment"

_PREDICTABLE = frozenset({PendingCode.ALL_BUSY, PendingCode.QUOTA, PendingCode.RETRY_WAIT})
"""What passes without anybody's doing: only then is there a time to expect a start at."""

_PLACELESS = frozenset({PendingCode.RETRY_WAIT, PendingCode.NO_RESOURCE})
"""What waits on no line that any device comes to."""


@dataclass(frozen=True, slots=True)
class StartEstimate:
    """When a waiting job is expected to start, and the band around it that most such jobs start in; in ms."""

    at: int
    earliest_at: int
    latest_at: int


def pending_reason(
    job: Job,
    considered: Sequence[Considered],
    *,
    now: int,
    position: int | None,
    over_quota: bool,
    estimate: StartEstimate | None = None,
    explained: bool = False,
    ended: bool = False,
) -> PendingReason:
    """Why a queued job waits; with several causes, that of the device that will be free soonest.

    `explained`: each device is told beside it, so that it does not say where to see them. `ended`: it is what the job
    waited for until it ended, so that it does not say how else it would end.
    """
    code, message = _cause(job, considered, now, over_quota=over_quota)
    if explained:
        message = message.removesuffix(_SEE_EACH)
    if ended:
        message = message.removesuffix(_OR_FAILS)
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
    code = min(feasible, key=lambda c: soonest(c, now)).code
    if code is None:
        return PendingCode.ALL_BUSY, free_words([c.verdict for c in free_ones(considered)])
    if any(c.code is not code for c in feasible):
        return code, f"no device that can serve it takes it now: {_in_states(feasible, now)}"
    return code, _TEXT[code]


def _in_states(feasible: Sequence[Considered], now: int) -> str:
    """`1 is in bad health, 2 are draining`: what devices are that could serve a job, the soonest free first."""
    states = Counter(c.state for c in sorted(feasible, key=lambda c: soonest(c, now)))
    return ", ".join(counted(number, state) for state, number in states.items())


def _nothing_serves(job: Job, considered: Sequence[Considered]) -> str:
    """What to do where a device is there that the job asks for, by its id or otherwise, and of another target."""
    asked = pinned(job, considered)
    if asked is not None and asked.target is not None:
        of = asked.target.value
        return f"{asked.device_id} is of target {of}, not {job.target.value}; submit the job with --target={of}"
    without = [c for c in considered if c.unmet == (BUILD,)]
    if without:
        words = " or ".join(sorted({c.message for c in without}))
        if second_target(job) is None:
            words += _OR_FAILS
        return f"app version {job.app_version_id} has builds, but none for the devices that could serve it: {words}"
    nothing = f"no device known to the fleet has target {job.target.value} and meets the job's requirements"
    other = next((c for c in considered if c.target is not None and len(c.unmet) == 1), None)
    if other is None or other.target is None:
        return f"{nothing}{_SEE_EACH}"
    of = other.target.value
    if job.overflow is not None and job.overflow.target is other.target:  # it goes there by itself
        return f"{nothing}; {other.device_id}, of its second target {of}, meets these"
    return f"{nothing}; {other.device_id}, of target {of}, meets these: submit with --target={of} for it"


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
