"""The clock of leases: monotonic, and it goes on while the host sleeps.

The coordinator's time goes on when a laptop is suspended, so the agent's must too. Linux has CLOCK_BOOTTIME for that;
elsewhere CLOCK_MONOTONIC is the best there is.
"""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def monotonic_seconds() -> float:
    """Seconds since some point before the start of this host; the same in every process."""
    return time.clock_gettime(_CLOCK)


def wall_ms() -> int:
    """Milliseconds since the Unix epoch, for people and reports; never compared."""
    return time.time_ns() // 1_000_000
