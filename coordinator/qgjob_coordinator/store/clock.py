"""The clock that all coordinators share: the store's TIME, carried on by a monotonic clock (docs/adr/022)."""

from __future__ import annotations

import time
from collections.abc import Callable

STEP_MS = 5_000
"""A change of the store's clock by more than this between two looks is a step; less is drift."""
_TICKS = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the host sleeps, as the store does


def ticks_ms() -> float:
    """Ms of a clock that nobody sets."""
    return time.clock_gettime_ns(_TICKS) / 1e6


def _unheard(step_ms: int) -> None:
    del step_ms


class StoreClock:
    """The store's time. Until it was heard once, this machine's wall clock stands in for it.

    `on_step` is told of each step of the store's clock, in ms.
    """

    def __init__(self, ticks: Callable[[], float] = ticks_ms) -> None:
        self._ticks = ticks
        self._ahead: float | None = None  # of the ticks
        self.held_ms = 0
        """How far the store's clock was put forward since this process knows it: nothing ends by what was skipped."""
        self.on_step: Callable[[int], None] = _unheard

    def ticks(self) -> float:
        """Asked before and after the store is."""
        return self._ticks()

    def heard(self, before: float, told_ms: float, after: float) -> None:
        """The store said `told_ms` at some moment between two ticks. What is known is bent no more than it must be."""
        least, most = told_ms - after, told_ms - before
        if self._ahead is None:
            self._ahead = (least + most) / 2
            return
        known, self._ahead = self._ahead, min(max(self._ahead, least), most)
        step = round(self._ahead - known)
        if abs(step) > STEP_MS:
            self.held_ms = max(0, self.held_ms + step)
            self.on_step(step)

    def now_ms(self) -> int:
        """Now, in ms since the Unix epoch."""
        if self._ahead is None:
            return time.time_ns() // 1_000_000
        return int(self._ticks() + self._ahead)
