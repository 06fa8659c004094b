"""A store that may not be used: refused at start, and no reason to stop later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import grpc
import httpx2
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from redis import Redis

from qgjob_coordinator.store import keys
from tests.fakes.coordinator_process import CoordinatorProcess
from tests.fakes.store_process import StoreProcess

EXIT_USAGE = 2
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[StoreProcess]:
    store = StoreProcess(tmp_path / "store")
    store.start()
    yield store
    store.stop()


@pytest.fixture
def coordinator(tmp_path: Path, own_store: StoreProcess) -> Iterator[CoordinatorProcess]:
    process = CoordinatorProcess(tmp_path / "coordinator", own_store.url)
    yield process
    process.kill()


@pytest.fixture
async def health(coordinator: CoordinatorProcess) -> AsyncIterator[health_pb2_grpc.HealthStub]:
    async with grpc.aio.insecure_channel(coordinator.target) as channel:
        yield health_pb2_grpc.HealthStub(channel)


async def until(health: health_pb2_grpc.HealthStub, wanted: int) -> None:
    async with asyncio.timeout(10):
        async for answer in health.Watch(health_pb2.HealthCheckRequest()):
            if answer.status == wanted:
                return


def evicting(redis: Redis) -> None:
    redis.config_set("maxmemory-policy", "allkeys-lru")


def keeping(redis: Redis) -> None:
    redis.config_set("maxmemory-policy", "noeviction")


def older(redis: Redis) -> None:
    redis.set(f"{keys.FLEET}schema", "0")


def current(redis: Redis) -> None:
    redis.set(f"{keys.FLEET}schema", keys.SCHEMA_VERSION)


CASES = [
    pytest.param(evicting, keeping, "noeviction", id="evicts"),
    pytest.param(older, current, "schema", id="another schema"),
]
Change = Callable[[Redis], None]


@pytest.mark.parametrize(("spoil", "mend", "why"), CASES)
async def test_a_store_that_becomes_unfit_is_waited_for(
    own_store: StoreProcess,
    coordinator: CoordinatorProcess,
    health: health_pb2_grpc.HealthStub,
    spoil: Change,
    mend: Change,
    why: str,
) -> None:
    await asyncio.to_thread(coordinator.start)
    await until(health, SERVING)
    with own_store.client() as redis:
        spoil(redis)
        await until(health, NOT_SERVING)
        assert why in coordinator.wait_for("/health/ready", 503).decode()
        mend(redis)
    await until(health, SERVING)
    assert coordinator.said().count("store_unfit") == 1
    assert coordinator.stop() == 0


@pytest.mark.parametrize(("spoil", "_mend", "why"), CASES)
def test_an_unfit_store_is_refused_at_start(
    own_store: StoreProcess, coordinator: CoordinatorProcess, spoil: Change, _mend: Change, why: str
) -> None:
    with own_store.client() as redis:
        spoil(redis)
    coordinator.launch()
    assert coordinator.process is not None
    assert coordinator.process.wait(20) == EXIT_USAGE
    assert why in coordinator.said()


def test_a_store_of_the_version_before_is_brought_along_at_start(
    own_store: StoreProcess, coordinator: CoordinatorProcess
) -> None:
    with own_store.client() as redis:
        redis.set(f"{keys.FLEET}schema", "4")
        coordinator.start()
        assert redis.get(f"{keys.FLEET}schema") == str(keys.SCHEMA_VERSION)
    assert coordinator.said().count("store_migrated") == 1


async def test_a_coordinator_notices_that_a_newer_one_moved_the_store_on_and_touches_it_no_more(
    own_store: StoreProcess, coordinator: CoordinatorProcess, health: health_pb2_grpc.HealthStub
) -> None:
    """It is not ready within about a second; what is said to it is refused, and its own loops write nothing either."""
    await asyncio.to_thread(coordinator.start)
    await until(health, SERVING)
    with own_store.client() as redis:
        redis.set(f"{keys.FLEET}schema", f"{keys.SCHEMA_VERSION}>{keys.SCHEMA_VERSION + 1}")
        await until(health, NOT_SERVING)
        job = {"org_id": "acme", "app_version_id": "v1", "test_path": "a.spec.ts"}
        answer = httpx2.post(f"{coordinator.url}/api/jobs", json=job)
        assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
        assert "a newer version wrote it" in answer.json()["message"]
        assert redis.keys("qg:o:*") == []
