"""The coordinator's store on a connection that is waited for: what calls it need not wait for an event loop.

For tests that call a store many thousand times, one call after the other: waiting in a loop costs more than the call.
Everything above the connection is the real code. How calls share connections, time out and end is not: other tests see
to that.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar
from unittest.mock import patch

import hiredis
from redis import Redis
from redis.exceptions import ResponseError

from qgjob_coordinator.store import store
from qgjob_coordinator.store.exchange import Command, Reply
from tests.fakes.store_process import DRIVER

T = TypeVar("T")


class BlockingServer:
    """A store on one server, as a topology."""

    def __init__(self, url: str) -> None:
        self.redis = Redis.from_url(url, decode_responses=True, driver_info=DRIVER)
        self._raw = Redis.from_url(url, decode_responses=False, driver_info=DRIVER)
        self._connection = self.redis.connection_pool.get_connection()

    async def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """See Topology."""
        connection = self._connection
        connection.send_packed_command(
            [b"".join([hiredis.pack_command(tuple(c)) for c in commands])], check_health=False
        )
        replies: list[Reply] = []
        for _ in commands:
            try:
                replies.append(connection.read_response())
            except ResponseError as error:
                replies.append(error)
        return replies

    async def call(self, *command: str | int, raw: bool = False) -> Any:
        """See Topology."""
        if raw:
            return self._raw.execute_command(*command)
        self._connection.send_command(*command, check_health=False)
        return self.redis.parse_response(self._connection, str(command[0]))

    async def speaker(self) -> Any:
        """No hints are sent here."""
        raise NotImplementedError

    async def masters(self) -> Sequence[tuple[Any, str]]:
        """Nobody meets it here: what a meeting finds is a machine's to say."""
        raise NotImplementedError

    async def close(self) -> None:
        """See Topology."""
        self.redis.connection_pool.release(self._connection)
        self.redis.close()
        self._raw.close()


def blocking_store(url: str) -> store.Store:
    """A store of one server whose calls are over when they return."""
    with patch.object(store, "open_topology", lambda url, _pool_size: BlockingServer(url)):
        return store.Store(url)


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of what waits for nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    work.close()
    raise AssertionError(f"{work} waits")
