"""The clock of every time that is stored or compared: the store's, so that all coordinators have the same.

The clock of this machine may be wrong by any amount: nothing goes by it. Expiry of sessions and leases uses neither.
"""

from __future__ import annotations

import structlog

from qgjob_coordinator.store.clock import StoreClock

log = structlog.get_logger(__name__)


def _stepped(step_ms: int) -> None:
    log.warning("store_clock_stepped", step_ms=step_ms, held_ms=STORE_CLOCK.held_ms)


STORE_CLOCK = StoreClock()
"""Of this process. Each look at the store sets it."""
STORE_CLOCK.on_step = _stepped


def wall_ms() -> int:
    """Now, in ms since the Unix epoch, by the store."""
    return STORE_CLOCK.now_ms()


def held_ms() -> int:
    """What to take off `wall_ms` before something is ended or removed because its time has come."""
    return STORE_CLOCK.held_ms
