"""What is told of a job that has a second target: whether it went there, and why."""

from __future__ import annotations

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.jobs import Overflow


def overflow_words(overflow: Overflow) -> str:
    """`moved from emulator to browserstack: expected wait 340 s > 120 s`, or what would make it go."""
    if overflow.moved_from is None:
        return f"goes to {overflow.target.value} when its expected wait is longer than {_seconds(overflow.after_ms)}"
    return f"moved {moved_words(overflow.moved_from, overflow)}"


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
