"""Full disks: the one of an agent's state, and the one of the store."""

from __future__ import annotations

import asyncio

from tests.chaos import bounds, clock, small_disks
from tests.chaos.faults.base import Outcome, recovery
from tests.chaos.faults.coordinators import clients_served
from tests.chaos.lab import STORE, Lab
from tests.chaos.schedule import Fault


async def spool_full(lab: Lab, fault: Fault) -> Outcome:
    """What the agent has it keeps, and it refuses new work until there is room again."""
    with small_disks.filled(lab.folder / fault.target / "state"):
        await asyncio.sleep(fault.seconds)
        before = await lab.mark(fault.target)

    async def look() -> bool:
        return before.renewed((await lab.sessions() or {}).get(fault.target))

    return Outcome(await recovery(bounds.ROOM, lab, clock.now(), lab.others, look))


async def store_disk(lab: Lab, fault: Fault) -> Outcome:
    """The store can't write down what it is told: nothing is acknowledged.

    A store that syncs each write ends itself then, and is started again when there is room.
    """
    note = ""
    async with lab.meant(STORE), lab.away(STORE):
        filling = small_disks.filled(lab.store_folder)
        await asyncio.to_thread(filling.__enter__)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            filling.__exit__(None, None, None)
        if lab.store.ended:
            note = "the store ended itself, and was started again"
            await asyncio.to_thread(lab.start_store)
    return Outcome(await clients_served(lab, clock.now(), STORE, bounds.LOADED), note=note)
