"""Commands to the store and their replies, for the calls that matter most.

redis-py's clients wrap each call in pools, retries and measurements that cost more than the call itself. So this keeps
connections of redis-py and uses them directly. Which errors may be repeated is the script runner's to know.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Any, cast

import hiredis
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, ResponseError  # noqa: A004 - redis's own
from redis.exceptions import TimeoutError as RedisTimeoutError

from qgjob_coordinator.store.sockets import Hearing, ServerConnection

Command = Sequence[Any]
Reply = Any


class Exchange:
    """At most `size` exchanges at once, each on a connection of its own. `seconds` bounds one with its waiting."""

    def __init__(self, pool: ConnectionPool, size: int, seconds: float, hearing: Hearing) -> None:
        self._pool = pool
        self._free = asyncio.Semaphore(size)
        self._seconds = seconds
        self._hearing = hearing
        self._idle: list[ServerConnection] = []  # the one that was heard last is the last
        self._closed = False

    async def __call__(self, commands: Sequence[Command]) -> list[Reply]:
        """Sends the commands together; a reply each, where an error of the store's is one too.

        Raises redis's ConnectionError and RedisTimeoutError, after which nobody knows what was done.
        """
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self._seconds), self._free:
                return await self._exchange(commands)
        except TimeoutError:
            self._hearing.failed(begun)
            raise RedisTimeoutError(f"no reply came within {self._seconds:g} s") from None

    async def close(self) -> None:
        """Closes the connections; those that are in use with the end of their exchange."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect()

    async def _exchange(self, commands: Sequence[Command]) -> list[Reply]:
        connection = await self._connected()
        complete = False
        replies: list[Reply] = []
        try:
            await connection.send_packed_command([hiredis.pack_command(tuple(c)) for c in commands], check_health=False)
            for _ in commands:
                try:
                    replies.append(await connection.read_response(timeout=math.inf))
                except ResponseError as error:
                    replies.append(error)
            complete = True
        finally:
            # One that was left in the middle may hold replies to what nobody waits for any more.
            if complete and not self._closed:
                self._idle.append(connection)
            else:
                await connection.disconnect(nowait=True)
        return replies

    async def _connected(self) -> ServerConnection:
        while self._idle and self._idle[0].doubted:
            await self._idle.pop(0).disconnect(nowait=True)
        while self._idle:
            connection = self._idle.pop()
            try:
                if not await connection.can_read():  # nothing is expected: that would be its end
                    return connection
            except (ConnectionError, OSError):
                pass  # it is closed
            await connection.disconnect(nowait=True)
        fresh: AbstractConnection = self._pool.make_connection()
        await fresh.connect()
        return cast(ServerConnection, fresh)
