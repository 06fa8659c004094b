"""Faults of the store: stopped, killed and restarted, gone back, out of memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.chaos import bounds, clock
from tests.chaos.faults.base import Outcome
from tests.chaos.faults.coordinators import clients_served
from tests.chaos.history import Cut
from tests.chaos.lab import STORE, Lab
from tests.chaos.schedule import Fault

TIGHT_BYTES = 1_000_000


async def store_stop(lab: Lab, fault: Fault) -> Outcome:
    """SIGSTOP, then SIGCONT."""
    async with lab.away(STORE):
        lab.store.pause()
        await asyncio.sleep(fault.seconds)
        lab.store.resume()
    return Outcome(await clients_served(lab, clock.now(), STORE, bounds.RESUMED))


store_stop_long = store_stop


async def store_kill(lab: Lab, fault: Fault) -> Outcome:
    """SIGKILL, then a start with what is written down."""
    async with lab.away(STORE):
        lab.kill_store()
        await asyncio.sleep(fault.seconds)
        loading = clock.now()
        await asyncio.to_thread(lab.start_store)
    loaded = clock.now()
    return Outcome(await clients_served(lab, loaded, STORE, bounds.LOADED), note=f"loaded in {loaded - loading:.2f} s")


async def store_cut(lab: Lab, fault: Fault) -> Outcome:
    """SIGKILL, and the end of the append-only file is gone: the store goes back to what it held `fault.seconds` ago."""
    async with lab.store_lock:
        return await _cut(lab, fault)


async def _cut(lab: Lab, fault: Fault) -> Outcome:
    await lab.tell_store("CONFIG", "SET", "auto-aof-rewrite-percentage", 0)  # a restart undoes it
    await lab.store_writes_no_new_file()
    lab.store.pause()
    log, back_to = _tail(lab.store_folder), clock.now()
    size = log.stat().st_size
    lab.store.resume()
    await asyncio.sleep(fault.seconds)
    async with lab.away(STORE, *(c.name for c in lab.coordinators)):
        lab.kill_store()
        at = clock.now()
        assert log == _tail(lab.store_folder), "the append-only file was rewritten meanwhile"
        gone = log.stat().st_size - size
        with log.open("r+b") as file:
            file.truncate(size)
        for link in lab.store_link:
            link.hold(up=True, down=True)
            link.cut()
        await asyncio.to_thread(lab.start_store)
        lab.cuts.append(Cut(back_to, at))
        await lab.went_back(back_to)
        for link in lab.store_link:
            link.heal()
    return Outcome(await clients_served(lab, clock.now(), STORE, bounds.LOADED), note=f"{gone} bytes were cut")


async def store_full(lab: Lab, fault: Fault) -> Outcome:
    """Its memory is used up: it refuses writes, and nothing is acknowledged."""
    async with lab.away(STORE):
        await lab.tell_store("CONFIG", "SET", "maxmemory", TIGHT_BYTES)
        await asyncio.sleep(fault.seconds)
        await lab.tell_store("CONFIG", "SET", "maxmemory", 0)
    return Outcome(await clients_served(lab, clock.now(), STORE, bounds.RESUMED))


def _tail(folder: Path) -> Path:
    """The file that the store appends to now."""
    files = sorted(folder.glob("appendonlydir/*.incr.aof"), key=lambda f: f.stat().st_mtime)
    return files[-1] if files else folder / "appendonly.aof"
