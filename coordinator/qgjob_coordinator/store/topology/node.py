"""One server of the store, with what sends to it. Nothing connects before it is used."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from redis.exceptions import RedisError

from qgjob_coordinator.store import connection
from qgjob_coordinator.store.exchange import Command, Reply
from qgjob_coordinator.store.sockets import Hearing


class Node:
    """One server: its exchange, a client that decodes text, and one that leaves bytes.

    Its `hearing` may be that of another one of which it takes the place.
    """

    def __init__(self, url: str, pool_size: int, hearing: Hearing | None = None) -> None:
        self.hearing = hearing = hearing or Hearing()
        self.redis = connection.connect(url, pool_size, hearing)
        self.raw = connection.connect_raw(url, hearing)
        self.exchange = connection.exchange(url, pool_size, hearing)

    async def call(self, *command: str | int, raw: bool = False) -> Any:
        """One plain command, parsed; with `raw`, in bytes. Raises RedisError."""
        return await (self.raw if raw else self.redis).execute_command(*command)

    async def close(self) -> None:
        """Closes all connections; what is under way on them fails."""
        await self.exchange.close()
        await self.redis.aclose(close_connection_pool=True)
        await self.raw.aclose(close_connection_pool=True)


class Topology(Protocol):
    """The servers of a store, as one."""

    async def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """Sends commands in order, each with its key, those that one server answers together.

        A reply each, where an error of the store's is one too; what would follow an error may be left out, unsent.
        Raises redis's ConnectionError and RedisTimeoutError, after which nobody knows what was done.
        """

    async def call(self, *command: str | int, raw: bool = False) -> Any:
        """One plain command, whose first argument is its key; the reply parsed, or with `raw` in bytes."""

    async def speaker(self) -> Node:
        """The server for hints: all coordinators name the same one. Raises RedisError."""

    async def masters(self) -> Sequence[tuple[Node, str]]:
        """Every server that holds a part, looked up anew, each with a key to try a write on. Raises RedisError."""

    async def close(self) -> None:
        """Closes all connections."""


class Leavings:
    """Servers that were left: each is closed beside the calls that go on."""

    def __init__(self) -> None:
        self._closing: set[asyncio.Task[None]] = set()

    def leave(self, node: Node) -> None:
        """Closes it soon."""
        task = asyncio.create_task(_closed(node), name="leaving")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def done(self) -> None:
        """Returns when all are closed."""
        await asyncio.gather(*self._closing)


async def _closed(node: Node) -> None:
    try:
        await node.close()
    except (RedisError, OSError):
        return  # it is gone: so are its connections
