"""Connections that a store ended while nothing was asked on them: a restart does it, and so does its `timeout`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis
from redis.asyncio import Redis as Client
from redis.exceptions import RedisError

from qgjob_coordinator.store.connection import connect, connect_raw
from qgjob_coordinator.store.faults import why_away
from qgjob_coordinator.store.topology.sentinel import _sentinel
from tests.fakes.store_process import StoreProcess
from tests.fakes.waiting import until

CALLS = 4
WAYS = pytest.mark.parametrize(
    "way", [lambda url: connect(url, CALLS), connect_raw, _sentinel], ids=["text", "raw", "sentinel"]
)


async def ended(client: Client) -> bool:
    """Whether its side has heard that all its idle connections are ended."""
    return all([await one.can_read() for one in client.connection_pool._available_connections])


@WAYS
async def test_no_call_is_sent_on_a_connection_that_the_store_has_ended(
    way: Callable[[str], Client], store_process: StoreProcess, raw: Redis
) -> None:
    client = way(store_process.url)
    await asyncio.gather(*(client.execute_command("PING") for _ in range(CALLS)))
    raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await until(lambda: ended(client), "the connections to be ended")
    told = await asyncio.gather(*(client.execute_command("ECHO", "x") for _ in range(CALLS)), return_exceptions=True)
    assert [x in ("x", b"x") for x in told] == [True] * CALLS, told
    await client.aclose(close_connection_pool=True)


@WAYS
async def test_that_nobody_listens_any_more_is_said_though_there_are_connections_that_have_ended(
    way: Callable[[str], Client], tmp_path: Path
) -> None:
    own = StoreProcess(tmp_path)
    own.start()
    client = way(own.url)
    await client.execute_command("PING")
    own.kill()
    await until(lambda: ended(client), "the connection to be ended")
    with pytest.raises(RedisError) as e:
        await client.execute_command("PING")
    assert why_away(e.value) == "connection refused"
    await client.aclose(close_connection_pool=True)
