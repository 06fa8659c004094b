"""The wall clock, for times that people read. Expiry of sessions and leases never uses it."""

from __future__ import annotations

import time


def wall_ms() -> int:
    """Now, in ms since the Unix epoch."""
    return time.time_ns() // 1_000_000
