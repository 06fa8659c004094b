"""A store that Sentinels watch: its master dies, another takes its place, and calls go there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest

from bench.processes import free_port
from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.policy.diagnosis import keeping_data
from qgjob_coordinator.store import connection
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import spec
from tests.fakes.store_sentinel import SentinelStore

BOUND_SECONDS = 30.0


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelStore]:
    """One for all: each test finds a master and two replicas, and the last one ends the Sentinels."""
    store = SentinelStore(tmp_path_factory.mktemp("sentinel"), "--appendonly", "yes")
    store.start()
    yield store
    store.stop()


@pytest.fixture
async def store(servers: SentinelStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    monkeypatch.setattr(connection, "REPLY_TIMEOUT_SECONDS", 1.0)
    opened = Store(servers.url, pool_size=4)
    yield opened
    await opened.close()


async def served_again(store: Store, epoch: int) -> float:
    """Seconds until the store is found fit, in another life."""
    begun = time.monotonic()
    while time.monotonic() - begun < BOUND_SECONDS:
        with suppress(StoreUnavailableError):
            await store.check()
            if store.epoch > epoch:
                return time.monotonic() - begun
        await asyncio.sleep(0.05)
    raise AssertionError(f"not served within {BOUND_SECONDS:g} s")


async def test_a_group_that_no_sentinel_knows_is_away(servers: SentinelStore) -> None:
    nowhere = f"redis+sentinel://127.0.0.1:{free_port()}/qg"
    for url, why in ((f"{servers.url}-else", "-else: No such master"), (nowhere, "qg: connection refused")):
        store = Store(url)
        with pytest.raises(StoreUnavailableError, match=why):
            await store.check()
        await store.close()


async def test_a_diagnosis_tells_what_the_next_failover_would_lose(store: Store, servers: SentinelStore) -> None:
    async def replication() -> list[str]:
        (facts,) = (await store.look(10.0)).told.values()
        return [f.found for f in keeping_data.judge(facts, "everysec") if f.check == "store.replication"]

    (found,) = await replication()
    assert "min-replicas-to-write is 0" in found
    with servers.master.client() as redis:
        redis.config_set("min-replicas-to-write", 1)
        try:
            assert await replication() == ["it is the primary, with 2 replicas that keep up"]
            redis.config_set("min-replicas-max-lag", 0)
            (found,) = await replication()
            assert "min-replicas-max-lag is: " in found
        finally:
            redis.config_set("min-replicas-to-write", 0)
            redis.config_set("min-replicas-max-lag", 10)


async def test_calls_follow_the_master_and_the_new_one_is_a_new_life(store: Store, servers: SentinelStore) -> None:
    await store.check()
    first = store.epoch
    acknowledged = 0
    for n in range(200):
        await scenes.submit(store, spec(n))
        acknowledged += 1
    dead = servers.kill_master()
    with pytest.raises(StoreUnavailableError):
        await scenes.submit(store, spec(1000))
    await served_again(store, first)
    assert store.epoch_before in (0, first)
    assert servers.master is not dead
    found = await store.reads.get("acme", [spec(n).ulid for n in range(acknowledged)])
    lost = [n for n, job in enumerate(found) if job is None]
    # What was not copied yet is the newest; nothing before it is missing.
    assert lost == list(range(acknowledged - len(lost), acknowledged))
    assert [s.word for s in await scenes.submit(store, spec(0), spec(1000))] == ["REPLAYED", "NEW"]

    # The old one comes back, is made a replica, and is not written to.
    dead.start()
    await store.check()
    await scenes.submit(store, spec(1001))
    assert servers.master is not dead


async def test_a_master_that_hangs_is_left_also_when_it_wakes_up_as_one(store: Store, servers: SentinelStore) -> None:
    """It still takes writes then, which the Sentinels' next word would undo."""
    await store.check()
    first = store.epoch
    old = servers.master
    old.pause()
    try:
        await served_again(store, first)
    finally:
        old.resume()
    assert servers.master is not old
    await store.check()
    await scenes.submit(store, spec(1, "globex"))
    with servers.client() as raw:
        assert raw.exists(f"qg:o:{{globex}}:j:{spec(1).ulid}") == 1


async def test_without_sentinels_the_master_that_is_known_stays_it(store: Store, servers: SentinelStore) -> None:
    await store.check()
    for sentinel in servers.sentinels:
        sentinel.kill()
    await store.check()
    await scenes.submit(store, spec(1, "initech"))
