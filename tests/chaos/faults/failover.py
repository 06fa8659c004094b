"""Faults of a store with Sentinels: its master dies, hangs and wakes up as one, or is told to hand over."""

from __future__ import annotations

import asyncio
import contextlib

from tests.chaos import bounds, clock, stores
from tests.chaos.faults.base import Outcome
from tests.chaos.faults.coordinators import clients_served
from tests.chaos.lab import STORE, Lab
from tests.chaos.schedule import Fault
from tests.fakes.store_process import StoreProcess
from tests.fakes.store_sentinel import SentinelStore
from tests.fakes.waiting import until

ELECTION_SECONDS = 30.0
_NO_REPLICA = "the old master is not made a replica"


async def store_failover(lab: Lab, fault: Fault) -> Outcome:
    """SIGKILL to the master; the Sentinels take another one. The dead one comes back and is made a replica."""
    store = _store(lab)
    async with lab.meant(STORE):
        old = await asyncio.to_thread(lambda: store.master)
        async with lab.away(STORE):
            old.kill()
            await _taken_over(lab, store, old)
        served = await clients_served(lab, clock.now(), STORE, bounds.LOADED)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(old.start)
        await _follows(old)
    return Outcome(served)


async def store_wakes_up(lab: Lab, fault: Fault) -> Outcome:
    """SIGSTOP to the master until another one has taken its place, and then SIGCONT: it still takes itself for one."""
    store = _store(lab)
    old = await asyncio.to_thread(lambda: store.master)
    async with lab.away(STORE):
        old.pause()
        try:
            await _taken_over(lab, store, old)
        except BaseException:
            old.resume()
            raise
    served = await clients_served(lab, clock.now(), STORE, bounds.LOADED)
    await asyncio.sleep(fault.seconds)
    async with lab.two_masters():
        old.resume()
        await _follows(old)
    return Outcome(served)


async def store_switch(lab: Lab, fault: Fault) -> Outcome:
    """The Sentinels are told to take another master while this one serves: it writes on until it is told."""
    del fault
    store = _store(lab)
    old = await asyncio.to_thread(lambda: store.master)
    async with lab.away(STORE), lab.two_masters(told=True):
        await handed_over(store, old)
        await _taken_over(lab, store, old)
    return Outcome(await clients_served(lab, clock.now(), STORE, bounds.LOADED))


async def _taken_over(lab: Lab, store: SentinelStore, old: StoreProcess) -> None:
    """Returns when another server serves as the master, and the lab has seen it. Raises AssertionError."""

    async def look() -> bool:
        with contextlib.suppress(*stores.AWAY):
            master = await asyncio.to_thread(lambda: store.master)
            return master is not old and await asyncio.to_thread(_role, master) == "master"
        return False

    await until(look, "no other master", seconds=ELECTION_SECONDS)
    await until(lab.look_for_switch, "the lab does not reach the new master", seconds=ELECTION_SECONDS)


async def handed_over(store: SentinelStore, old: StoreProcess) -> None:
    """Tells the Sentinels to take another master until this one is a replica in step. Raises AssertionError."""

    async def look() -> bool:
        await asyncio.to_thread(store.hand_over, old)
        return await _is_replica(old)

    await until(look, _NO_REPLICA, seconds=ELECTION_SECONDS)


async def _follows(server: StoreProcess) -> None:
    """Returns when the server is a replica in step. Raises AssertionError."""
    await until(lambda: _is_replica(server), _NO_REPLICA, seconds=ELECTION_SECONDS)


async def _is_replica(server: StoreProcess) -> bool:
    with contextlib.suppress(*stores.AWAY):
        return await asyncio.to_thread(_role, server) == "slave"
    return False


def _role(server: StoreProcess) -> str:
    with server.client() as client:
        role = client.execute_command("ROLE")
    connected = role[0] != "slave" or role[3] == "connected"
    return str(role[0]) if connected else "waits for its master"


def _store(lab: Lab) -> SentinelStore:
    assert isinstance(lab.store, SentinelStore), "only a store with Sentinels has this kind"
    return lab.store
