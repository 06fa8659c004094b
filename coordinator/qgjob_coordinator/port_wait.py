"""A port that is taken may be free in a moment: a connection began there, or who had it is just ending."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from qgjob_coordinator.errors import PortTakenError

WAIT_SECONDS = 5.0
AGAIN_SECONDS = 0.2

log = structlog.get_logger(__name__)


async def when_free(start: Callable[[], Awaitable[None]], stop: asyncio.Event) -> bool:
    """Starts what wants a port, again and again for WAIT_SECONDS while it is taken. False when told to stop meanwhile.

    Raises what `start` does, PortTakenError when the port was taken all the time.
    """
    until = time.monotonic() + WAIT_SECONDS
    said = False
    while not stop.is_set():
        try:
            await start()
        except PortTakenError as e:
            if time.monotonic() >= until:
                raise
            if not said:
                said = True
                log.warning("port_taken", setting=e.field, error=e.message, gives_up_in_seconds=WAIT_SECONDS)
        else:
            return True
        await _pause(stop)
    return False


async def _pause(stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), AGAIN_SECONDS)
    except TimeoutError:
        return
