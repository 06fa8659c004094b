"""A Cluster of three masters: scripts find their keys, slots move under load, and a master that died is a new life."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from redis.crc import key_slot

from qgjob_coordinator.errors import ConfigError, StoreUnavailableError
from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.store import connection, keys
from qgjob_coordinator.store import store as store_module
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.topology import cluster as topology
from tests.fakes import scenes
from tests.fakes.jobs import NOW, ending, spec, without_build
from tests.fakes.store_audit import audit
from tests.fakes.store_cluster import ClusterNode, ClusterStore
from tests.fakes.waiting import until

SLOT_TIME_SECONDS = 0.01
LOOK_SECONDS = 2.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterStore]:
    store = ClusterStore(tmp_path_factory.mktemp("cluster"))
    store.start()
    yield store
    store.stop()


@pytest.fixture
def servers(shared: ClusterStore) -> ClusterStore:
    for node in shared.nodes:
        node.ask("FLUSHALL")
        node.ask("SCRIPT", "FLUSH")
    return shared


@pytest.fixture
async def store(servers: ClusterStore) -> AsyncIterator[Store]:
    opened = Store(servers.url, pool_size=4)
    yield opened
    await opened.close()


def org_on(servers: ClusterStore, node: ClusterNode) -> str:
    """An org whose keys lie on the node."""
    return next(org for org in map("org{}".format, count()) if servers.owner(keys.org(org)) is node)


def orgs_everywhere(servers: ClusterStore) -> list[str]:
    return [org_on(servers, node) for node in servers.nodes]


async def one_life(store: Store, org: str, n: int) -> None:
    """A job from its submission to its verdict, with every hot script."""
    job = spec(n, org)
    assert [s.word for s in await scenes.submit(store, job)] == ["NEW"]
    await store.jobs.submit_and_look(org, [spec(n, org, no_dedup=True, ulid=f"01K{n:023d}")], [True], NOW, 8)
    assert (await scenes.claim(store, job, (job.ulid, f"t{n}"))).grants
    words, ends = await store.leases.report(org, [(job.ulid, f"t{n}", NOW)], [ending(job.ulid, f"t{n}")], NOW)
    assert (words, [e.word for e in ends]) == (["APPLIED"], ["APPLIED"])
    without = spec(n + 100, org)
    await scenes.submit(store, without)
    (ended,) = await store.jobs.reject(org, [without_build(without)], NOW)
    assert ended is not None
    await store.jobs.cancel(org, [(f"01K{n:023d}", 1)], NOW, reason="")


async def test_each_org_lives_on_the_node_of_its_slot_and_the_fleet_on_its_own(
    store: Store, servers: ClusterStore
) -> None:
    orgs = orgs_everywhere(servers)
    await store.check()
    await scenes.open_session(store, orgs=orgs)
    for n, org in enumerate(orgs, 1):
        await one_life(store, org, n)
        job = (await store.reads.get(org, [spec(n, org).ulid]))[0]
        assert job is not None
        assert job.status is Status.COMPLETED
        assert (await store.events.after(org, "0-0"))[-1][1][0].status is Status.CANCELLED
        await store.logs.append(org, [(spec(n, org).ulid, f"t{n}", 0, b"\xff late")])
        assert await store.logs.read(org, spec(n, org).ulid, 1) == []
    assert await store.all_orgs() == set(orgs)
    with servers.client() as raw:
        assert audit(raw) == []


async def test_what_a_batch_puts_on_two_nodes_is_done_in_its_order(store: Store, servers: ClusterStore) -> None:
    """The org is active before its job is there: when the org's node fails, it is known where work may be."""
    org = next(o for o in orgs_everywhere(servers) if servers.owner(keys.org(o)) is not servers.owner(keys.FLEET))
    node = servers.owner(keys.org(org))
    await store.check()
    node.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailableError, match="maxmemory"):
            await scenes.submit(store, spec(1, org))
        assert await store.active_orgs() == {org}
        with pytest.raises(StoreUnavailableError, match="maxmemory"):
            await store.check()
    finally:
        node.ask("CONFIG", "SET", "maxmemory", "0")
    await store.check()


async def test_every_node_is_looked_at(store: Store, servers: ClusterStore) -> None:
    await store.check()
    for node in servers.nodes:
        node.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        with pytest.raises(ConfigError, match="noeviction"):
            await store.check()
        node.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert await store.weaker_than("everysec") == "none"


@pytest.mark.parametrize("which", ["an org's", "the fleet's"])
async def test_a_slot_that_moves_under_load_costs_nobody_an_error(
    store: Store, servers: ClusterStore, which: str
) -> None:
    """Between two nodes, there and back; meanwhile jobs live and die, and other coordinators check the store."""
    org = org_on(servers, servers.nodes[0])
    key = keys.org(org) if which == "an org's" else keys.FLEET
    await store.check()
    epoch = store.epoch
    await scenes.open_session(store, orgs=[org])
    done, moving = [0], True

    async def load() -> None:
        for n in count(1):
            if not moving:
                return
            await one_life(store, org, n)
            await store.reads.page(org, None, None, 10, None)
            assert await store.reads.has_run(org, "run") is False
            await store.sessions.renew("agent-1", 1, NOW)
            done[0] = n

    async def look() -> None:
        while moving:
            await store.check()
            await asyncio.sleep(0.05)

    loads = [asyncio.create_task(load()), asyncio.create_task(look())]
    await until(lambda: done[0] >= 5, "no load")
    try:
        for _ in range(2):
            target = next(node for node in servers.nodes if node is not servers.owner(key))
            seen = []
            for moved in servers.move(key, target):
                seen.append(moved)
                await asyncio.sleep(SLOT_TIME_SECONDS)
            assert seen[-1] > 5, "the slot had nothing to move"
            before = done[0]
            await until(lambda was=before: done[0] > was + 3, "the load does not go on")
    finally:
        moving = False
        await asyncio.gather(*loads)
    assert store.epoch == epoch, "a slot that moved is no new life"
    with servers.client() as raw:
        assert audit(raw) == []
        assert raw.hget(f"{keys.org(org)}ct", "ce") == str(done[0])


async def test_a_script_is_not_run_while_its_slot_moves(
    store: Store, servers: ClusterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of its keys are on either node: it would find no job, or write one where it is overwritten."""
    monkeypatch.setattr(topology, "PATIENCE_SECONDS", 0.2)
    org = org_on(servers, servers.nodes[0])
    await scenes.submit(store, *(spec(n, org) for n in range(1, 30)))
    move = servers.move(keys.org(org), servers.nodes[1])
    for _ in range(3):
        next(move)
        with pytest.raises(StoreUnavailableError, match="moves between nodes"):
            await scenes.submit(store, spec(50, org))
    for _ in move:
        pass
    monkeypatch.undo()
    assert [s.word for s in await scenes.submit(store, spec(1, org), spec(50, org))] == ["REPLAYED", "NEW"]
    for _ in servers.move(keys.org(org), servers.nodes[0]):
        pass


async def test_a_master_that_was_killed_and_came_back_is_a_new_life(tmp_path: Path) -> None:
    servers = ClusterStore(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    servers.start()
    store = Store(servers.url, pool_size=4)
    try:
        await store.check()
        first = store.epoch
        orgs = orgs_everywhere(servers)
        for n, org in enumerate(orgs):
            await scenes.submit(store, spec(n, org))
        servers.nodes[1].kill()
        with pytest.raises(StoreUnavailableError):
            await store.check()
        with pytest.raises(StoreUnavailableError, match=r"^the store (?!.*127\.0)"):  # callers are told no address
            await scenes.submit(store, spec(9, orgs[1]))
        servers.nodes[1].start()
        servers.until_served()

        async def serves() -> bool:
            with suppress(StoreUnavailableError):
                await store.check()
                return True
            return False

        await until(serves, "it does not serve again")
        assert (store.epoch > first, store.epoch_before) == (True, first)
        words = {n: (await scenes.submit(store, spec(n, org)))[0].word for n, org in enumerate(orgs)}
        assert words == dict.fromkeys(range(3), "REPLAYED")
    finally:
        await store.close()
        servers.stop()


async def test_the_replica_of_a_master_that_died_takes_its_place_in_a_new_life(tmp_path: Path) -> None:
    servers = ClusterStore(tmp_path, "--appendonly", "yes", replica_of=1)
    servers.start()
    store = Store(servers.url, pool_size=4)
    try:
        await store.check()
        first = store.epoch
        orgs = orgs_everywhere(servers)
        for n, org in enumerate(orgs):
            await scenes.submit(store, spec(n, org))
        there = servers.nodes[1].ask("DBSIZE")
        await until(lambda: servers.replica.ask("DBSIZE") == there, "the replica has not all of it")
        servers.nodes[1].kill()

        async def serves() -> bool:
            with suppress(StoreUnavailableError):
                await store.check()
                return store.epoch > first
            return False

        begun = time.monotonic()
        await until(serves, "it does not serve again", seconds=30)
        print(f"served after {time.monotonic() - begun:.1f} s")
        words = {n: (await scenes.submit(store, spec(n, org)))[0].word for n, org in enumerate(orgs)}
        assert words == dict.fromkeys(range(3), "REPLAYED")
    finally:
        await store.close()
        servers.stop()


async def test_two_coordinators_that_see_a_change_at_different_times_raise_the_epoch_once(store: Store) -> None:
    """One looked before a master changed, and tells what it saw after the other told the change."""
    await store.sessions.hello("before")
    _, known, _ = await store.sessions.hello("before")
    _, raised, _ = await store.sessions.hello("after", known)
    assert (await store.sessions.hello("before", known))[1] == raised
    assert (await store.sessions.hello("after", raised))[1] == raised > known


def test_the_prefix_of_a_tag_is_no_key() -> None:
    """What keeps scripts off a slot that moves: see topology/cluster.py."""
    assert key_slot(keys.org("acme").encode()) == key_slot(b"acme")
    assert keys.org("acme").endswith(":")
    assert keys.FLEET.endswith(":")


async def test_a_diagnosis_asks_every_master(store: Store, servers: ClusterStore) -> None:
    hearing = asyncio.create_task(store.listen(lambda _: None))
    try:

        async def heard() -> bool:
            return {f.coordinators for f in (await store.look(LOOK_SECONDS)).told.values()} == {1}

        await until(heard, "the coordinator is not counted")
        servers.nodes[1].ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        seen = (await store.look(LOOK_SECONDS)).told
        assert set(seen) == {f"127.0.0.1:{node.port}" for node in servers.nodes}
        evicting = {name for name, f in seen.items() if f.eviction != "noeviction"}
        assert evicting == {f"127.0.0.1:{servers.nodes[1].port}"}
        assert all(f.fails_over and not f.replicas for f in seen.values())
    finally:
        servers.nodes[1].ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)


@pytest.mark.parametrize("way", ["killed", "hangs"])
async def test_a_master_that_is_away_is_named_and_the_others_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Also the one of the hints, and where the URL names others."""
    monkeypatch.setattr(connection, "REPLY_TIMEOUT_SECONDS", 1.0)
    servers = ClusterStore(tmp_path)
    servers.start()
    dead = servers.owner(keys.FLEET)
    others = {f"127.0.0.1:{node.port}" for node in servers.nodes if node is not dead}
    store = Store(f"redis+cluster://{','.join(sorted(others))}", pool_size=4)
    try:
        await store.check()
        dead.kill() if way == "killed" else dead.pause()
        why = {"killed": "connection refused", "hangs": "no answer in time"}[way]
        named = f"127.0.0.1:{dead.port}"
        with pytest.raises(StoreUnavailableError, match=rf"^{named}: the store is away \({why}\); repeat"):
            await store.check()
        looked = await store.look(LOOK_SECONDS)
        assert looked.told.keys() == others
        assert {at: e.message.partition("; ")[0] for at, e in looked.away.items()} == {
            named: f"the store is away ({why})"
        }
        assert await store.lacking(LOOK_SECONDS) == {at: [] for at in others}
    finally:
        await store.close()
        servers.stop()


async def test_who_listens_goes_along_when_the_slot_of_the_hints_moves(
    store: Store, servers: ClusterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "SPEAKER_SECONDS", 0.05)
    await store.check()
    heard: list[str] = []

    async def hear() -> None:
        while True:
            await store.listen(heard.append)

    async def reached() -> bool:
        return await store.publish("work acme") == 1

    hearing = asyncio.create_task(hear())
    try:
        await until(reached, "nobody listens")
        target = next(node for node in servers.nodes if node is not servers.owner(keys.FLEET))
        for _ in servers.move(keys.FLEET, target):
            pass
        await store.active_orgs()  # what asks for a key of the fleet learns of the move
        await until(reached, "nobody listens where hints go now")
        before = len(heard)
        await store.publish("work acme")
        await until(lambda: len(heard) > before, "the hint is not heard")
    finally:
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
