"""Connections to a store that end without a word: the store answers, but not on them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.store import connection
from qgjob_coordinator.store.address import Host, parse
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.topology.node import Node
from qgjob_coordinator.store.topology.sentinel import SentinelTopology
from tests.fakes import scenes
from tests.fakes.forgetful_way import ForgetfulWay
from tests.fakes.jobs import NOW, spec
from tests.fakes.store_cluster import ClusterStore
from tests.fakes.store_process import StoreProcess
from tests.fakes.waiting import BUSY_SECONDS

REPLY_SECONDS = 1.0
CALLS = 6


@pytest.fixture
async def way(redis_url: str, store_process: StoreProcess) -> AsyncIterator[ForgetfulWay]:
    made = ForgetfulWay(store_process.port)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def node(way: ForgetfulWay, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    """With CALLS idle connections of each kind."""
    monkeypatch.setattr(connection, "REPLY_TIMEOUT_SECONDS", REPLY_SECONDS)
    made = Node(f"redis://127.0.0.1:{way.port}", CALLS)
    await asyncio.gather(*(made.exchange([("PING",)]) for _ in range(CALLS)))
    await asyncio.gather(*(made.call("PING") for _ in range(CALLS)), made.call("PING", raw=True))
    yield made
    await made.close()


async def asked(node: Node, kind: str) -> object:
    """What becomes of one call of the kind: its answer, or its error."""
    try:
        if kind == "scripts":
            return (await node.exchange([("ECHO", "x")]))[0]
        said = await node.call("ECHO", "x", raw=kind == "raw")
    except Exception as e:  # noqa: BLE001 - what it was is what the test looks at
        return type(e).__name__
    return said.decode() if isinstance(said, bytes) else said


@pytest.mark.parametrize("kind", ["scripts", "text"])
async def test_after_one_call_without_an_answer_no_connection_is_used_that_was_silent_since_before(
    node: Node, way: ForgetfulWay, kind: str
) -> None:
    way.forget()
    assert await asked(node, kind) == "TimeoutError"
    every = [asked(node, k) for k in ("scripts", "text") for _ in range(CALLS)]
    assert await asyncio.gather(*every, asked(node, "raw")) == ["x"] * (2 * CALLS + 1)


@pytest.mark.parametrize("kind", ["scripts", "text"])
async def test_calls_that_wait_on_such_connections_are_told_as_soon_as_another_one_answers(
    node: Node, way: ForgetfulWay, kind: str
) -> None:
    way.forget()
    first = asyncio.create_task(asked(node, kind))
    await asyncio.sleep(REPLY_SECONDS * 0.8)  # the second begins so much later, and would wait so much longer
    second = asyncio.create_task(asked(node, kind))
    assert await first == "TimeoutError"
    assert await asked(node, kind) == "x"
    assert await second == "ConnectionError"  # and not that nothing came in time


async def test_behind_sentinels_too_though_another_connection_is_of_another_look_at_the_master(
    way: ForgetfulWay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "REPLY_TIMEOUT_SECONDS", REPLY_SECONDS)
    topology = SentinelTopology(parse("redis+sentinel://127.0.0.1:1/qg"), CALLS)

    async def named() -> Host:
        return "127.0.0.1", way.port

    monkeypatch.setattr(topology, "_master", named)
    await asyncio.gather(*(topology.exchange([("PING",)]) for _ in range(CALLS)))
    way.forget()
    first = asyncio.create_task(topology.exchange([("PING",)]))
    await asyncio.sleep(REPLY_SECONDS * 0.8)
    second = asyncio.create_task(topology.exchange([("PING",)]))
    with pytest.raises(RedisTimeoutError):
        await first
    assert await topology.exchange([("PING",)]) == ["PONG"]
    with pytest.raises(RedisConnectionError):
        await second
    await topology.close()


async def test_a_store_that_takes_no_more_connections_is_asked_on_those_there_are(
    node: Node, way: ForgetfulWay
) -> None:
    """It answers, if only that: to leave the old ones would make an outage of a shortage."""
    clients = (await node.redis.info("clients"))["connected_clients"]
    before = str((await node.redis.config_get("maxclients"))["maxclients"])
    await node.redis.config_set("maxclients", clients)
    late, made = Node(f"redis://127.0.0.1:{way.port}", 1, node.hearing), way.made
    try:
        for ask in (late.exchange([("PING",)]), late.call("PING")):
            with pytest.raises(RedisConnectionError, match="max number of clients"):
                await ask
        every = [asked(node, kind) for kind in ("scripts", "text") for _ in range(CALLS)]
        assert await asyncio.gather(*every) == ["x"] * (2 * CALLS)
        assert way.made == made + 2
    finally:
        await node.redis.config_set("maxclients", before)
        await late.close()


@pytest.mark.parametrize("how", ["it has no room", "it has another password now"])
async def test_behind_sentinels_too_a_store_that_takes_no_more_connections_stays_the_master(
    way: ForgetfulWay, redis_url: str, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    topology = SentinelTopology(parse("redis+sentinel://127.0.0.1:1/qg"), CALLS)

    async def named() -> Host:
        return "127.0.0.1", way.port

    monkeypatch.setattr(topology, "_master", named)
    await topology.exchange([("PING",)])
    other = connection.connect(redis_url, 1)
    setting = "maxclients" if how == "it has no room" else "requirepass"
    clients = (await other.info("clients"))["connected_clients"]
    before = str((await other.config_get(setting))[setting])
    await other.config_set(setting, clients if setting == "maxclients" else "another")
    made = way.made
    try:
        several = await asyncio.gather(*(topology.exchange([("PING",)]) for _ in range(2)), return_exceptions=True)
        (refused,) = [str(x) for x in several if x != ["PONG"]]
        assert ("max number of clients" if setting == "maxclients" else "authenticated") in refused
        assert await topology.exchange([("PING",)]) == ["PONG"]
        assert way.made == made + 1, "those that there were are given up, and others may take their place"
    finally:
        await other.config_set(setting, before)
        await other.aclose(close_connection_pool=True)
        await topology.close()


async def test_connections_that_answered_meanwhile_are_kept(node: Node, way: ForgetfulWay) -> None:
    slow = asyncio.create_task(asyncio.wait_for(node.exchange([("BLPOP", "nothing", REPLY_SECONDS * 3)]), 30))
    await asyncio.sleep(0)  # it has its connection
    assert await asked(node, "scripts") == "x"
    assert not slow.done()
    await asyncio.wait({slow})  # nothing is asked meanwhile: the last answer is older than the failure
    made = way.made
    assert await asked(node, "scripts") == "x"
    assert way.made == made


async def test_a_store_whose_connections_were_forgotten_serves_within_one_reply_time(
    way: ForgetfulWay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "REPLY_TIMEOUT_SECONDS", REPLY_SECONDS)
    store = Store(f"redis://127.0.0.1:{way.port}", pool_size=CALLS)
    heard: list[str] = []
    begun = asyncio.Queue[None]()
    listening = asyncio.create_task(store.listen(heard.append, lambda: begun.put_nowait(None)))
    await asyncio.gather(*(store.check() for _ in range(CALLS)))
    await begun.get()
    way.forget()
    since = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="no answer in time"):
        await store.check()
    await store.check()
    words = await asyncio.gather(*(scenes.submit(store, spec(n)) for n in range(CALLS)))
    assert [s.word for told in words for s in told] == ["NEW"] * CALLS
    with pytest.raises(StoreUnavailableError, match="connection closed"):  # who listens is told, and listens anew
        await listening
    assert time.monotonic() - since < REPLY_SECONDS + BUSY_SECONDS
    await store.close()


async def test_a_cluster_whose_connections_were_forgotten_tells_its_map_at_the_second_look(tmp_path: Path) -> None:
    """Who asks for the map waits less than for a reply: that says as much of the others."""
    servers = ClusterStore(tmp_path, masters=1)
    servers.start()
    (node,) = servers.nodes
    way = ForgetfulWay(node.port)
    await way.start()
    node.ask("CONFIG", "SET", "cluster-announce-port", way.port)
    store = Store(f"redis+cluster://127.0.0.1:{way.port}", pool_size=CALLS)
    try:
        await store.check()
        await asyncio.gather(*(store.sessions.renew("agent-1", 1, NOW) for _ in range(CALLS)))
        way.forget()
        with pytest.raises(StoreUnavailableError, match="no node of the Cluster answers"):
            await store.check()
        await store.check()
    finally:
        await store.close()
        await way.stop()
        servers.stop()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system can't bound it")
async def test_the_system_ends_connections_that_nobody_answers_on(node: Node) -> None:
    pools = [node.redis.connection_pool, node.raw.connection_pool]
    idle = [pool._available_connections[0] for pool in pools] + [node.exchange._idle[0]]
    for one in idle:
        its = one._writer.get_extra_info("socket")
        assert its.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == REPLY_SECONDS * 1000
        assert its.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert its.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= connection.REPLY_TIMEOUT_SECONDS * 5
