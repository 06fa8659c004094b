"""A Cluster: each script goes to the master that has the slot of its one tag.

While a slot moves from one node to another its keys lie on both, and a script that ran would see some of them as
missing. Redis can't know, since scripts name their keys only as they go. What protects them is that a script's KEYS[1],
the prefix of its tag, is itself no key: from the first moment of a move the old node answers ASK to every script of the
slot, before it runs any of it. ASK is therefore waited for and never followed; MOVED, which comes at the end of the
move, is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from redis.exceptions import (
    AskError,
    AuthenticationError,
    ConnectionError,  # noqa: A004 - redis's own
    MovedError,
    NoPermissionError,
    RedisError,
    TimeoutError,  # noqa: A004 - redis's own
    TryAgainError,
)

from qgjob_coordinator.store import keys
from qgjob_coordinator.store.address import Address, Host
from qgjob_coordinator.store.exchange import Command, Reply
from qgjob_coordinator.store.faults import NoServerError
from qgjob_coordinator.store.topology.node import Leavings, Node
from qgjob_coordinator.store.topology.slots import SlotMap, covered, decode, slot_of, slot_of_command

PATIENCE_SECONDS = 5.0
"""How long a call waits for a slot that moves; what calls it hears then that the store can't serve, and repeats it."""
PAUSE_SECONDS = 0.05
MOVED_PAUSE_SECONDS = 0.005
MAP_SECONDS = 1.0
"""A node that has not told its map by then is passed over: the others are asked at the same time."""

TURNED_AWAY = (AskError, TryAgainError)
"""Answers of a node to what it did not carry out; MovedError is an AskError."""


class ClusterTopology:
    """The masters of a Cluster, by the map that one of them told last."""

    def __init__(self, address: Address, pool_size: int) -> None:
        self._address = address
        self._pool_size = pool_size
        self._nodes: dict[Host, Node] = {}
        self._slots: SlotMap | None = None
        self._learning: asyncio.Task[SlotMap] | None = None
        self._left = Leavings()

    async def exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """See Topology. Commands of several nodes go one after the other, since their order may matter."""
        replies: list[Reply] = []
        until = time.monotonic() + PATIENCE_SECONDS
        while len(replies) < len(commands):
            slots = self._slots or await self._learn()
            host, some = _together(slots, commands[len(replies) :])
            got = await self._of(host, some)
            failed = next((i for i, reply in enumerate(got) if isinstance(reply, RedisError)), None)
            replies += got if failed is None else got[:failed]
            if failed is None:
                continue
            error = got[failed]
            if not isinstance(error, TURNED_AWAY):
                return [*replies, error]
            await self._turned(error, host, until)
        return replies

    async def call(self, *command: str | int, raw: bool = False) -> Any:
        """See Topology."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            slots = self._slots or await self._learn()
            host = _owner(slots, slot_of_command(command))
            try:
                return await self._node(host).call(*command, raw=raw)
            except TURNED_AWAY as e:
                await self._turned(e, host, until)
            except (ConnectionError, TimeoutError):
                self._slots = None
                raise

    async def speaker(self) -> Node:
        """See Topology: whoever has the fleet's keys, so that those who listen are counted in one place."""
        slots = self._slots or await self._learn()
        return self._node(_owner(slots, slot_of(keys.FLEET)))

    async def masters(self) -> Sequence[tuple[Node, str]]:
        """See Topology. Raises NoServerError while a slot has no master."""
        slots = await self._learn()
        if not covered(slots):
            raise NoServerError("a slot of the Cluster has no master")
        return [(self._node(host), slots.probe_key(host)) for host in slots.masters()]

    async def close(self) -> None:
        """See Topology."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)
        for node in self._nodes.values():
            self._left.leave(node)
        self._nodes = {}
        await self._left.done()

    async def _of(self, host: Host, commands: Sequence[Command]) -> list[Reply]:
        try:
            return await self._node(host).exchange(commands)
        except (ConnectionError, TimeoutError):
            self._slots = None  # maybe another one has taken its place
            raise

    async def _turned(self, error: AskError | TryAgainError, asked: Host, until: float) -> None:
        """After a node turned a command away: returns when it may be tried again. Raises TryAgainError."""
        if time.monotonic() > until:
            raise TryAgainError(
                f"a slot moves between nodes of the Cluster for longer than {PATIENCE_SECONDS:g} s: {error}"
            )
        if not isinstance(error, MovedError):
            await asyncio.sleep(PAUSE_SECONDS)
            return
        if self._slots is not None:
            self._slots = self._slots.with_moved(error.slot_id, (str(error.host or asked[0]), int(error.port)))
        await asyncio.sleep(MOVED_PAUSE_SECONDS)  # nodes that have not heard of each other's news send us to and fro

    def _node(self, host: Host) -> Node:
        node = self._nodes.get(host)
        if node is None:
            node = self._nodes[host] = Node(self._address.url_of(host), self._pool_size)
        return node

    async def _learn(self) -> SlotMap:
        """The map as it stands, asked for once for all who wait for it. Raises NoServerError."""
        if self._learning is None or self._learning.done():
            self._learning = asyncio.create_task(self._ask(), name="slots")
        return await asyncio.shield(self._learning)

    async def _ask(self) -> SlotMap:
        """The map of the node that is part of the Cluster and has heard of its latest change."""
        hosts = sorted({*self._nodes, *self._address.hosts})
        begun = time.monotonic()
        asked = [asyncio.create_task(_told(self._node(host), host), name="slots of a node") for host in hosts]
        try:
            await asyncio.wait(asked, timeout=MAP_SECONDS)
            told = [task.result() for task in asked if task.done()]
            for host, task in zip(hosts, asked, strict=True):
                if not task.done():
                    self._node(host).hearing.failed(begun)
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        found = [one for one in told if one is not None and not isinstance(one, RedisError)]
        if not found:
            refusals = (one for one in told if isinstance(one, RedisError))
            raise next(refusals, None) or NoServerError("no node of the Cluster answers")
        self._slots = max(found, key=lambda one: one[:2])[2]
        self._prune(self._slots)
        return self._slots

    def _prune(self, slots: SlotMap) -> None:
        """Leaves nodes that have no slot any more."""
        for host in set(self._nodes) - {*slots.masters(), *self._address.hosts}:
            self._left.leave(self._nodes.pop(host))


async def _told(node: Node, host: Host) -> tuple[bool, int, SlotMap] | RedisError | None:
    """(whether its Cluster serves, number of the latest change it knows, its map) of a node, if it answers.

    What it has against who asks, where that is so: the others will hardly say anything else.
    """
    try:
        info, slots = await node.exchange([("CLUSTER", "INFO"), ("CLUSTER", "SLOTS")])
    except AuthenticationError as e:
        return e
    except (ConnectionError, TimeoutError):
        return None
    refused = next((x for x in (info, slots) if isinstance(x, NoPermissionError)), None)
    if refused is not None:
        return refused
    if isinstance(info, RedisError) or isinstance(slots, RedisError) or not slots:
        return None
    known = dict(line.split(":", 1) for line in info.split() if ":" in line)
    return known["cluster_state"] == "ok", int(known["cluster_current_epoch"]), decode(slots, host)


def _owner(slots: SlotMap, slot: int) -> Host:
    host = slots.host(slot)
    if host is None:
        raise NoServerError(f"slot {slot} of the Cluster has no master")
    return host


def _together(slots: SlotMap, commands: Sequence[Command]) -> tuple[Host, Sequence[Command]]:
    """The commands from the first one on that one node has."""
    host = _owner(slots, slot_of_command(commands[0]))
    end = next((i for i, c in enumerate(commands) if slots.host(slot_of_command(c)) != host), len(commands))
    return host, commands[:end]
