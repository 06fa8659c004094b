"""What is told of a job that has a second target: whether it went there, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import Enum, auto

from qgjob_coordinator.model.enums import PendingCode, Target
from qgjob_coordinator.model.fleet import Device
from qgjob_coordinator.model.jobs import Job, Overflow
from qgjob_coordinator.policy.reasons.considered import consider
from qgjob_coordinator.policy.snapshot import NO_BUILDS


class Second(Enum):
    """What the devices of a job's second target are to it."""

    NOTHING = auto()
    """None that is known could ever serve it."""
    IDLING = auto()
    """None of those that could takes work now."""
    WORKING = auto()
    """One takes work."""


_TAKES_WORK = (None, PendingCode.ALL_BUSY)
_THERE = {
    Second.NOTHING: "; no device known to the fleet could serve it there",
    Second.IDLING: "; no device that could serve it there takes work now",
    Second.WORKING: "",
}


def overflow_words(overflow: Overflow) -> str:
    """`moved from emulator to browserstack: expected wait 340 s > 120 s`, or what would make it go."""
    if overflow.moved_from is None:
        return overflow.waits or _when(overflow)
    return f"moved {moved_words(overflow.moved_from, overflow)}"


def waits_since(job: Job, overflow: Overflow) -> int:
    """From when the wait counts of a job that may go; in ms."""
    return overflow.since or max(job.created_at, job.not_before or 0)


def second_devices(
    job: Job, overflow: Overflow, devices: Iterable[Device], pushed: frozenset[str] = NO_BUILDS
) -> Second:
    """Whether the job could be served where it may go. `pushed`: the slots for which its app version has a build."""
    there = consider(replace(job, target=overflow.target), devices, pushed=pushed)
    codes = [c.code for c in there if c.feasible]
    if not codes:
        return Second.NOTHING
    return Second.WORKING if any(code in _TAKES_WORK for code in codes) else Second.IDLING


def waiting_words(job: Job, overflow: Overflow, second: Second, now: int) -> str:
    """Of a queued job that has not gone: which condition is not met, as far as that is known at `now` (ms)."""
    if job.attempts:
        return f"stays on {job.target.value}, since it had an attempt there"
    if now - waits_since(job, overflow) <= overflow.after_ms:
        return f"{_when(overflow)}{_THERE[second]}"
    to, bound = overflow.target.value, _seconds(overflow.after_ms)
    late = f"has waited for longer than {bound}, and goes to {to} when it is expected to start sooner there"
    return f"{late}{_THERE[second]}"


def _when(overflow: Overflow) -> str:
    bound = f"its expected wait is longer than {_seconds(overflow.after_ms)}"
    return f"goes to {overflow.target.value} when {bound} and it is expected to start sooner there"


def moved_words(moved_from: Target, overflow: Overflow) -> str:
    """From where to where a job went, and why."""
    bound, to = _seconds(overflow.after_ms), overflow.target.value
    if overflow.expected_wait_ms is None:
        why = f"it had waited for more than {bound}, and no start was to be expected"
    else:
        why = f"expected wait {_seconds(overflow.expected_wait_ms)} > {bound}"
    return f"from {moved_from.value} to {to}: {why}"


def _seconds(ms: int) -> str:
    """Whole ones, but for times that are shorter than ten."""
    return f"{ms / 1000:.0f} s" if ms >= 10_000 else f"{ms / 1000:.3g} s"
