"""A device breaks: no test can be started on it. What becomes of it is judged by rules_health.py."""

from __future__ import annotations

import asyncio

from tests.chaos import clock, quarantines
from tests.chaos.faults.base import GIVE_UP_SECONDS, LOOK_EVERY_SECONDS, Outcome
from tests.chaos.lab import Lab
from tests.chaos.schedule import Fault


async def device_breaks(lab: Lab, fault: Fault) -> Outcome:
    """Every test on the device ends as a device error for a while, and probes find nothing: only tests meet it."""
    lab.truth.break_device(fault.target)
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        lab.truth.mend(fault.target)
    await _in_service(lab, fault.target)
    return Outcome()


async def _in_service(lab: Lab, device_id: str) -> None:
    """Returns when the device is not quarantined, or should long not have been."""
    give_up = clock.now() + GIVE_UP_SECONDS
    while clock.now() < give_up:
        out = await quarantines.read(lab.redis)
        if out is not None and device_id not in out:
            return
        if out is not None:
            give_up = max(give_up, clock.of_wall(out[device_id][1] / 1000) + GIVE_UP_SECONDS)
        await asyncio.sleep(LOOK_EVERY_SECONDS)
