"""Plain commands on one key: what needs no script."""

from __future__ import annotations

from typing import Any

from redis.exceptions import RedisError

from qgjob_coordinator.store.scripts import Door
from qgjob_coordinator.store.topology.node import Topology


class Commands:
    """Sends them to whoever has the key."""

    def __init__(self, topology: Topology, door: Door) -> None:
        self._topology = topology
        self._door = door

    async def __call__(self, command: str, key: str, *args: str | int, raw: bool = False) -> Any:
        """The reply as redis-py parses it, text decoded unless `raw`. Raises StoreUnavailableError."""
        self._door.check()
        try:
            return await self._topology.call(command, key, *args, raw=raw)
        except RedisError as e:
            raise self._door.told(e) from e
