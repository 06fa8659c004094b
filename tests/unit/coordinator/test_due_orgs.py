"""A loop looks at the orgs that it is told of at a pace that leaves others their time, whatever a look ends with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import structlog
from structlog.testing import capture_logs

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops import due_orgs
from qgjob_coordinator.loops.due_orgs import BUSY_SHARE, LOOK_SECONDS, DueOrgs
from qgjob_coordinator.sight import Sight

AWAY = StoreUnavailableError("the store is away")


class Loop:
    """A loop that runs, its clock and its looks: each is a set of orgs, `cost` s of the process's time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.orgs = DueOrgs(Sight("test_blind", structlog.get_logger(__name__)))
        self.looks: list[set[str]] = []
        self.pauses: asyncio.Queue[float] = asyncio.Queue()
        self.go_on = asyncio.Semaphore(0)
        self.cost = 0.0
        self.error: Exception | None = None
        self._busy = 0.0
        monkeypatch.setattr(due_orgs.time, "thread_time", lambda: self._busy)
        monkeypatch.setattr(due_orgs.asyncio, "sleep", self._sleep)

    async def look(self) -> None:
        self.looks.append(self.orgs.take())
        self._busy += self.cost
        if self.error is not None:
            raise self.error

    async def _sleep(self, seconds: float) -> None:
        self.pauses.put_nowait(seconds)
        await self.go_on.acquire()

    async def pause(self) -> float:
        """The pause after the next look, in s, which goes on then."""
        async with asyncio.timeout(10):
            seconds = await self.pauses.get()
        self.go_on.release()
        return seconds


@pytest.fixture
async def loop(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Loop]:
    loop = Loop(monkeypatch)
    running = asyncio.create_task(loop.orgs.run(loop.look))
    yield loop
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_what_becomes_due_together_is_one_look_and_what_comes_meanwhile_the_next(loop: Loop) -> None:
    loop.orgs.add("acme")
    loop.orgs.add("globex")
    loop.orgs.add("acme")
    async with asyncio.timeout(10):
        seconds = await loop.pauses.get()
    assert (loop.looks, seconds) == ([{"acme", "globex"}], LOOK_SECONDS)
    loop.orgs.add("initech")
    loop.go_on.release()
    await loop.pause()
    assert loop.looks == [{"acme", "globex"}, {"initech"}]


async def test_a_dear_look_is_followed_by_a_pause_that_leaves_others_their_share(loop: Loop) -> None:
    loop.cost = 0.5
    loop.orgs.add("acme")
    assert await loop.pause() == pytest.approx(0.5 / BUSY_SHARE)


async def test_a_look_that_did_not_reach_the_store_is_told_and_is_not_the_last(loop: Loop) -> None:
    with capture_logs() as lines:
        loop.error = AWAY
        loop.orgs.add("acme")
        await loop.pause()
        loop.error = None
        loop.orgs.add("acme")
        await loop.pause()
    assert [line["event"] for line in lines] == ["test_blind", "sees_again"]


async def test_those_of_the_last_look_may_be_taken_along() -> None:
    orgs = DueOrgs(Sight("test_blind", structlog.get_logger(__name__)))
    orgs.add("acme")
    assert (orgs.take(["globex", "acme"]), orgs.take()) == ({"acme", "globex"}, set())
