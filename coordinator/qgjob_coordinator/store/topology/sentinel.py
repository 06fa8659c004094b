"""The server that Sentinels name as the master of a group, which changes with a failover."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,  # noqa: A004 - redis's own
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - redis's own
)

from qgjob_coordinator.store import keys
from qgjob_coordinator.store.address import Address, Host
from qgjob_coordinator.store.connection import COMMON
from qgjob_coordinator.store.exchange import Command, Reply
from qgjob_coordinator.store.faults import NoServerError, is_full, why_away
from qgjob_coordinator.store.sockets import Hearing, ServerPool
from qgjob_coordinator.store.topology.node import Leavings, Node

SENTINEL_SECONDS = 1.0
"""A Sentinel that has not answered by then is passed over: the others are asked at the same time."""


class SentinelTopology:
    """One master at a time. It is left when a connection to it breaks, when it says that it is a replica, and when the
    Sentinels name another one, for which they are asked at each look.
    """

    def __init__(self, address: Address, pool_size: int) -> None:
        self._address = address
        self._pool_size = pool_size
        self._sentinels = [_sentinel(address.sentinel_url_of(host)) for host in address.hosts]
        self._hearing = Hearing()  # one for all masters: once one answers, who waits for the one before is told
        self._node: Node | None = None
        self._host: Host | None = None
        self._finding: asyncio.Task[Node] | None = None
        self._left = Leavings()

    async def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """See Topology."""
        node = self._node or await self._find()
        try:
            replies = await node.exchange(commands)
        except (ConnectionError, TimeoutError) as e:
            self._leave_after(e, node)
            raise
        if any(isinstance(reply, ReadOnlyError) for reply in replies):
            self._leave(node)
            # As after a connection that broke: the caller may repeat it, and gets the master then.
            raise NoServerError("the server is a replica now")
        return replies

    async def call(self, *command: str | int, raw: bool = False) -> Any:
        """See Topology."""
        node = self._node or await self._find()
        try:
            return await node.call(*command, raw=raw)
        except (ConnectionError, TimeoutError, ReadOnlyError) as e:
            self._leave_after(e, node)
            raise

    async def speaker(self) -> Node:
        """See Topology."""
        return self._node or await self._find()

    async def masters(self) -> Sequence[tuple[Node, str]]:
        """See Topology. While no Sentinel answers, the master that is known stays it."""
        if self._node is None:
            return [(await self._find(), keys.PROBE)]
        known = self._node
        try:
            host = await self._master()
        except (ConnectionError, TimeoutError):
            return [(known, keys.PROBE)]
        if host != self._host:
            self._leave(known)
        return [(await self._find(), keys.PROBE)]

    async def close(self) -> None:
        """See Topology."""
        if self._finding is not None:
            self._finding.cancel()
            await asyncio.gather(self._finding, return_exceptions=True)
        if self._node is not None:
            self._leave(self._node)
        for sentinel in self._sentinels:
            await sentinel.aclose(close_connection_pool=True)
        await self._left.done()

    def _leave_after(self, error: RedisError, node: Node) -> None:
        if not (is_full(error) or isinstance(error, AuthenticationError)):  # it goes on answering on those it has
            self._leave(node)

    def _leave(self, node: Node) -> None:
        """Never to be used again; calls that are under way on it fail."""
        if self._node is node:
            self._node = self._host = None
            self._left.leave(node)

    async def _find(self) -> Node:
        """The master, found for all who wait for it. Raises ConnectionError."""
        if self._finding is None or self._finding.done():
            self._finding = asyncio.create_task(self._look(), name="master")
            self._finding.add_done_callback(_heard)
        return await asyncio.shield(self._finding)

    async def _look(self) -> Node:
        if self._node is not None:
            return self._node
        host = await self._master()
        node = Node(self._address.url_of(host), self._pool_size, self._hearing)
        try:
            role = (await node.call("ROLE"))[0]
        except RedisError as e:
            self._left.leave(node)
            if isinstance(e, ConnectionError) and not isinstance(e, AuthenticationError):
                why = why_away(e)
                raise NoServerError(f"{host[0]}:{host[1]} is named by the Sentinels and does not serve: {why}") from e
            raise
        if role != "master":
            self._left.leave(node)
            raise NoServerError(f"{host[0]}:{host[1]} is named by the Sentinels and is no master yet")
        self._node, self._host = node, host
        return node

    async def _master(self) -> Host:
        """Where the master is, as the Sentinel says that knows of the latest failover. Raises ConnectionError."""
        told = await asyncio.gather(*map(self._ask, self._sentinels))
        found = [x for x in told if not isinstance(x, str)]
        if not found:
            why = ", ".join(sorted({x for x in told if isinstance(x, str)}))
            raise NoServerError(f"no Sentinel answers that knows {self._address.name}: {why}")
        return max(found)[1]

    async def _ask(self, sentinel: Redis) -> tuple[int, Host] | str:
        """(number of its failover, where it is), by one Sentinel; or why it does not say."""
        try:
            said = await sentinel.execute_command("SENTINEL MASTER", self._address.name)
        except (AuthenticationError, ResponseError) as e:
            return str(e)
        except RedisError as e:
            return why_away(e)
        except OSError as e:
            return type(e).__name__
        return int(said["config-epoch"]), (str(said["ip"]), int(said["port"]))


def _sentinel(url: str) -> Redis:
    pool = ServerPool.from_url(
        url,
        socket_timeout=SENTINEL_SECONDS,
        socket_connect_timeout=SENTINEL_SECONDS,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
        **COMMON,
    )
    return Redis(connection_pool=pool)


def _heard(finding: asyncio.Task[Node]) -> None:
    """Those who waited may all be gone: their calls had less time than the look took. Its error is then nobody's."""
    if not finding.cancelled():
        finding.exception()
