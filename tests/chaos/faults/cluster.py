"""Faults of a Cluster: slots move while they are used, and nodes are killed and stopped."""

from __future__ import annotations

import asyncio
import random

from qgjob_coordinator.store import keys
from tests.chaos import bounds, clock
from tests.chaos.faults.base import Outcome
from tests.chaos.faults.coordinators import PROBES, clients_served
from tests.chaos.lab import STORE, Lab
from tests.chaos.schedule import Fault
from tests.chaos.workload import ORGS
from tests.fakes.store_cluster import ClusterNode, ClusterStore


async def store_slots(lab: Lab, fault: Fault) -> Outcome:
    """The fleet's slot, or that of an org, moves to another node. Nothing counts as away: nobody may be refused for it,
    and no session ends.
    """
    store = _store(lab)
    key = _dice(fault).choice([keys.FLEET, *(keys.org(org_id) for org_id in (*ORGS, PROBES))])
    owner = await asyncio.to_thread(store.owner, key)
    target = _dice(fault).choice([node for node in store.nodes if node is not owner])
    moved = await asyncio.to_thread(lambda: list(store.move(key, target))[-1])
    return Outcome(await clients_served(lab, clock.now(), STORE, bounds.RESUMED), note=f"{moved} keys of {key} moved")


async def store_node_kill(lab: Lab, fault: Fault) -> Outcome:
    """SIGKILL to one of the masters, then a start with what it wrote down. Nothing is lost."""
    store, node = _store(lab), _node(lab, fault)
    async with lab.meant(STORE), lab.away(STORE):
        node.kill()
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(node.start)
        await asyncio.to_thread(store.until_served)
    return Outcome(await clients_served(lab, clock.now(), STORE, bounds.LOADED))


async def store_node_stop(lab: Lab, fault: Fault) -> Outcome:
    """SIGSTOP to one of the masters, then SIGCONT."""
    store, node = _store(lab), _node(lab, fault)
    async with lab.away(STORE):
        node.pause()
        await asyncio.sleep(fault.seconds)
        node.resume()
        await asyncio.to_thread(store.until_served)
    return Outcome(await clients_served(lab, clock.now(), STORE, bounds.RESUMED))


def _dice(fault: Fault) -> random.Random:
    return random.Random(f"{fault}")  # noqa: S311 - one seed is one schedule


def _node(lab: Lab, fault: Fault) -> ClusterNode:
    return _dice(fault).choice(_store(lab).nodes)


def _store(lab: Lab) -> ClusterStore:
    assert isinstance(lab.store, ClusterStore), "only a Cluster has this kind"
    return lab.store
