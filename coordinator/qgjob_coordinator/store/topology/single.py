"""One server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qgjob_coordinator.store import keys
from qgjob_coordinator.store.topology.node import Node


class Single:
    """A store on one server: nothing stands between a call and its connection."""

    def __init__(self, url: str, pool_size: int) -> None:
        self._node = Node(url, pool_size)
        self.exchange = self._node.exchange

    async def call(self, *command: str | int, raw: bool = False) -> Any:
        """See Topology."""
        return await self._node.call(*command, raw=raw)

    async def speaker(self) -> Node:
        """See Topology."""
        return self._node

    async def masters(self) -> Sequence[tuple[Node, str]]:
        """See Topology."""
        return [(self._node, keys.PROBE)]

    async def close(self) -> None:
        """See Topology."""
        await self._node.close()
