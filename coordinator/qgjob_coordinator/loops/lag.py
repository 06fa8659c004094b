"""Measures how late the event loop is: the usual cause of sessions that time out for no other reason."""

from __future__ import annotations

import asyncio

from qgjob_coordinator.telemetry import Telemetry

PERIOD_SECONDS = 0.25


async def measure_lag(telemetry: Telemetry) -> None:
    """Keeps the lag of the last period, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + PERIOD_SECONDS
        await asyncio.sleep(PERIOD_SECONDS)
        telemetry.observe_lag(max(0.0, loop.time() - due))
