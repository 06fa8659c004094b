"""One clock for all that is written down: seconds since boot, as in `/proc/uptime`; no step of the time changes it."""

from __future__ import annotations

import time

_BOOT = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
"""What the wall clock showed at boot, by the wall clock as it was when the run began."""


def now() -> float:
    """Seconds since boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def of_wall(seconds: float) -> float:
    """A time of the wall clock (s since 1970) as seconds since boot."""
    return seconds - _BOOT


def wall(at: float) -> float:
    """The reverse."""
    return at + _BOOT
