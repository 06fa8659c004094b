"""What a real store says of itself, made wrong in real ways."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis import Redis

from qgjob_coordinator.model.findings import Finding, Level
from qgjob_coordinator.policy.diagnosis import keeping_data
from qgjob_coordinator.policy.diagnosis import store as use
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.facts import PINGS
from qgjob_coordinator.store.store import Store
from tests.fakes.store_process import StoreProcess
from tests.fakes.waiting import until


@pytest.fixture
def own(tmp_path: Path) -> Iterator[StoreProcess]:
    """A store that the test may spoil."""
    process = StoreProcess(tmp_path / "store", "--appendonly", "yes", "--appendfsync", "everysec")
    process.start()
    yield process
    process.stop()


@pytest.fixture
def redis(own: StoreProcess) -> Iterator[Redis]:
    with own.client() as client:
        yield client


@pytest.fixture
async def opened(own: StoreProcess) -> AsyncIterator[Store]:
    found = Store(own.url)
    yield found
    await found.close()


async def finding(opened: Store, check: str, durability: str = "everysec") -> Finding:
    (facts,) = (await opened.look(10.0)).told.values()
    (found,) = [f for f in (*use.judge(facts), *keeping_data.judge(facts, durability)) if f.check == check]
    return found


async def test_a_sound_store(opened: Store, redis: Redis) -> None:
    (facts,) = (await opened.look(10.0)).told.values()
    info = redis.info()
    assert facts.compatible == tuple(int(x) for x in info["redis_version"].split("."))
    assert (facts.server == "valkey") == ("valkey_version" in info)
    assert len(facts.ping_ms) == PINGS
    assert 0 < max(facts.ping_ms) < 1000
    assert abs(facts.clock_ahead_ms) < 500
    assert (facts.aof, facts.fsync, facts.aof_written, facts.snapshot_saved) == (True, "everysec", True, True)
    assert facts.primary
    assert facts.used_bytes > 0
    assert facts.max_clients == info["maxclients"]
    assert keeping_data.tier(facts) == "everysec"
    bad = [f for f in (*use.judge(facts), *keeping_data.judge(facts, "everysec")) if f.level is Level.PROBLEM]
    assert bad == []


async def test_a_policy_that_evicts_and_what_it_evicted(opened: Store, redis: Redis) -> None:
    redis.config_set("maxmemory-policy", "allkeys-lru")
    assert (await finding(opened, "store.eviction")).level is Level.PROBLEM
    redis.set("large", "x" * 200_000)
    redis.config_set("maxmemory", redis.info()["used_memory"] - 100_000)
    await until(lambda: redis.info()["evicted_keys"], "nothing was evicted")
    redis.config_set("maxmemory", "0")
    redis.config_set("maxmemory-policy", "noeviction")
    found = await finding(opened, "store.eviction")
    assert found.level is Level.WARNING
    assert "1 key" in found.found


async def test_a_store_that_is_nearly_full(opened: Store, redis: Redis) -> None:
    await opened.look(10.0)  # so that its connections are there, and count
    redis.config_set("maxmemory", int(redis.info()["used_memory"] * 1.15))
    assert (await finding(opened, "store.memory")).level is Level.WARNING
    redis.config_set("maxmemory", int(redis.info()["used_memory"] * 1.01))
    assert (await finding(opened, "store.memory")).level is Level.PROBLEM
    redis.config_set("maxmemory", "0")
    assert (await finding(opened, "store.memory")).level is not Level.PROBLEM


async def test_weaker_durability_than_was_asked_for(opened: Store, redis: Redis) -> None:
    assert (await finding(opened, "store.durability", "always")).level is Level.WARNING
    redis.config_set("appendfsync", "always")
    assert (await finding(opened, "store.durability", "always")).level is Level.OK
    redis.config_set("appendonly", "no")
    assert "forgets every job" in (await finding(opened, "store.durability")).found


async def test_a_snapshot_that_can_t_be_written(opened: Store, redis: Redis, tmp_path: Path) -> None:
    (tmp_path / "store" / "dump.rdb").mkdir()  # the new file can't take its place
    redis.bgsave()
    await until(lambda: redis.info()["rdb_last_bgsave_status"] != "ok", "the snapshot went well")
    assert (await finding(opened, "store.disk")).level is Level.WARNING


async def test_a_replica_and_its_primary(own: StoreProcess, opened: Store, redis: Redis, tmp_path: Path) -> None:
    copy = StoreProcess(tmp_path / "copy", "--replicaof", f"127.0.0.1 {own.port}")
    redis.config_set("repl-diskless-sync-delay", "0")
    copy.start()
    replica = Store(copy.url)
    try:
        await until(lambda: redis.info().get("slave0", {}).get("state") == "online", "the replica is not online")
        found = await finding(opened, "store.replication")
        assert (found.level, "1 replica" in found.found) == (Level.OK, True)
        assert (await finding(replica, "store.replication")).level is Level.PROBLEM
    finally:
        await replica.close()
        copy.stop()


async def test_a_slow_call_is_named_without_what_it_was_about(opened: Store, redis: Redis) -> None:
    await opened.check()
    redis.config_set("slowlog-log-slower-than", "0")
    redis.get("a-secret-of-somebody")
    await opened.check()
    redis.config_set("slowlog-log-slower-than", "-1")
    (facts,) = (await opened.look(10.0)).told.values()
    assert facts.slow is not None
    names = {call.name for call in facts.slow}
    assert {"GET", "the script hello"} <= names
    assert "secret" not in str(facts.slow)
    assert all(call.ago_seconds < 60 for call in facts.slow)
    assert (await finding(opened, "store.slow")).level is Level.NOTE


async def test_a_store_that_tells_less(opened: Store, redis: Redis) -> None:
    """As managed stores do: CONFIG and SLOWLOG are refused."""
    redis.acl_setuser(
        "default",
        enabled=True,
        nopass=True,
        keys=["*"],
        channels=["*"],
        commands=["+@all", "-@admin", "-config", "-slowlog"],
        reset=True,
    )
    (facts,) = (await opened.look(10.0)).told.values()
    assert (facts.fsync, facts.slow) == (None, None)
    assert (await finding(opened, "store.durability")).level is Level.NOTE
    assert (await finding(opened, "store.slow")).level is Level.NOTE


async def test_coordinators_are_counted_by_who_listens(opened: Store, own: StoreProcess) -> None:
    assert (await finding(opened, "store.coordinators")).level is Level.WARNING
    other = Store(own.url)
    hearing = [asyncio.create_task(s.listen(lambda _: None)) for s in (opened, other)]
    try:

        async def two() -> bool:
            (facts,) = (await opened.look(10.0)).told.values()
            return facts.coordinators == 2

        await until(two, "not both are counted")
        assert (await finding(opened, "store.coordinators")).found == "2 coordinators share it"
    finally:
        for task in hearing:
            task.cancel()
        await asyncio.gather(*hearing, return_exceptions=True)
        await other.close()


async def test_looking_leaves_nothing_behind_and_takes_little(opened: Store, redis: Redis) -> None:
    before = set(redis.keys(f"{keys.FLEET}*"))
    begun = time.perf_counter()
    await opened.look(10.0)
    assert time.perf_counter() - begun < 2
    assert set(redis.keys(f"{keys.FLEET}*")) == before
