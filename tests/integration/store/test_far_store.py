"""A store whose answers take long: of a connection that breaks nobody hears who waits for it elsewhere.

The answers are held back, each for as long as a test wants: no time has to pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest

from qgjob_coordinator.store import connection, sockets
from qgjob_coordinator.store.sockets import Hearing, ServerConnection
from qgjob_coordinator.store.topology.node import Node
from tests.chaos.links import Link
from tests.fakes.store_process import StoreProcess
from tests.fakes.waiting import DEADLINE_SECONDS, until

CALLS = 6
ROUNDS = 3


class Watched(Hearing):
    """It tells how many wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0

    def waits(self, connection: ServerConnection) -> None:
        super().waits(connection)
        self.waiting += 1

    def ended(self, connection: ServerConnection, *, heard: bool) -> None:
        super().ended(connection, heard=heard)
        self.waiting -= 1

    async def become(self, count: int) -> None:
        """Returns when so many wait."""
        await until(lambda: self.waiting == count, f"{count} connections wait for an answer")


@pytest.fixture
def hearing(monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(sockets, "GRACE_SECONDS", 0)
    for name in ("REPLY_TIMEOUT_SECONDS", "CONNECT_TIMEOUT_SECONDS"):
        monkeypatch.setattr(connection, name, DEADLINE_SECONDS)
    return Watched()


class Door:
    """A way to the store of its own, of which the answers can be held back, and a node behind it."""

    def __init__(self, link: Link, hearing: Hearing) -> None:
        self.link = link
        self.node = Node(f"redis://127.0.0.1:{link.port}", CALLS, hearing)

    async def broken(self, asked: asyncio.Task[object]) -> None:
        """All its connections break; new ones answer."""
        self.link.cut()
        assert await asked == "ConnectionError"
        self.link.heal()

    async def answers(self) -> None:
        """Often enough that whoever is to be told of it was told."""
        for _ in range(3):
            assert await self.node.exchange([("PING",)]) == ["PONG"]


@pytest.fixture
async def doors(redis_url: str, store_process: StoreProcess, hearing: Watched) -> AsyncIterator[tuple[Door, Door]]:
    async with Link() as one, Link() as other:
        made = []
        for link in (one, other):
            link.to(store_process.port)
            made.append(Door(link, hearing))
            await made[-1].node.exchange([("PING",)])
        yield made[0], made[1]
        for door in made:
            door.link.heal()
            await door.node.close()


@pytest.fixture
async def kept(redis_url: str, hearing: Watched) -> AsyncIterator[Node]:
    """Its one connection leads to the store itself."""
    made = Node(redis_url, 1, hearing)
    yield made
    await made.close()


async def said(asked: Awaitable[object]) -> object:
    """Its answer, or what error it was."""
    try:
        return await asked
    except Exception as e:  # noqa: BLE001 - what it was is what the test looks at
        return type(e).__name__


async def test_connections_that_are_made_anew_are_not_taken_for_silent_ones(
    doors: tuple[Door, Door], hearing: Watched
) -> None:
    """Else one that breaks ended them all, again and again: each end would be the next failure."""
    held, other = doors
    await asyncio.gather(*(held.node.call("PING") for _ in range(CALLS)))
    other.link.hold(down=True)
    breaks = asyncio.create_task(said(other.node.exchange([("PING",)])))
    await hearing.become(1)
    await other.broken(breaks)
    answers: list[object] = []
    for _ in range(ROUNDS):
        held.link.hold(down=True)
        asked = [asyncio.create_task(said(held.node.call("ECHO", "x"))) for _ in range(CALLS)]
        await hearing.become(CALLS)
        await other.answers()
        held.link.heal()
        answers += await asyncio.gather(*asked)
    assert answers == ["x"] * (CALLS * ROUNDS)


async def ended_for_its_silence(doors: tuple[Door, Door], kept: Node, hearing: Watched) -> int:
    """One of the first door's is. Returns the id of the one of `kept`, on which something was heard meanwhile."""
    held, other = doors
    await held.node.call("PING")
    other.link.hold(down=True)
    breaks = asyncio.create_task(said(other.node.exchange([("PING",)])))
    await hearing.become(1)
    its_id = await kept.call("CLIENT", "ID")
    held.link.hold(down=True)
    silent = asyncio.create_task(said(held.node.call("ECHO", "x")))
    await hearing.become(2)
    await other.broken(breaks)
    await other.answers()
    assert await asyncio.wait_for(silent, DEADLINE_SECONDS) == "ConnectionError"
    held.link.heal()
    return int(its_id)


async def test_that_one_was_ended_for_its_silence_is_no_failure_that_others_are_judged_by(
    doors: tuple[Door, Door], kept: Node, hearing: Watched
) -> None:
    its_id = await ended_for_its_silence(doors, kept, hearing)
    assert await kept.call("CLIENT", "ID") == its_id


async def test_one_that_was_ended_for_its_silence_and_made_anew_counts_when_it_breaks(
    doors: tuple[Door, Door], kept: Node, hearing: Watched
) -> None:
    its_id = await ended_for_its_silence(doors, kept, hearing)
    held, _ = doors
    assert await held.node.call("ECHO", "x") == "x"
    held.link.hold(down=True)
    asked = asyncio.create_task(said(held.node.call("ECHO", "x")))
    await hearing.become(1)
    await held.broken(asked)
    assert await kept.call("CLIENT", "ID") != its_id
