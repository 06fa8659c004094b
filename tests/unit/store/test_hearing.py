"""What one connection to a server says of the others."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import pytest

from qgjob_coordinator.store import sockets
from qgjob_coordinator.store.sockets import Hearing, ServerConnection


class Waiting:
    """A connection on which something was heard last, and asked last, at times."""

    def __init__(self, heard_at: float, sent_at: float = 0.0) -> None:
        self.heard_at = heard_at
        self.sent_at = sent_at
        self.aborted = asyncio.Event()

    def abort(self) -> None:
        self.aborted.set()


class Scene:
    """Times are in seconds after it began, and before a failure is noticed all but those that are `LATER`."""

    LATER = 1e9

    def __init__(self) -> None:
        self._began = time.monotonic() - 100
        self.hearing = Hearing()

    def waits(self, *, heard_at: float, sent_at: float) -> Waiting:
        one = Waiting(self._began + heard_at, self._began + sent_at)
        self.hearing.waits(cast(ServerConnection, one))
        return one

    def failed(self, sent_at: float) -> None:
        self.hearing.failed(self._began + sent_at)

    async def answered(self, sent_at: float) -> None:
        """An answer to what was asked then; returns when those are told who are told because of it."""
        one = Waiting(0.0, self._began + sent_at)
        self.hearing.ended(cast(ServerConnection, one), heard=True)
        told = asyncio.Event()
        asyncio.get_running_loop().call_later(0, told.set)  # after what was to be called as early, and named before
        await asyncio.wait_for(told.wait(), 10)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(sockets, "GRACE_SECONDS", 0)
    return Scene()


async def test_an_answer_ends_only_what_was_silent_since_before_the_failure_that_it_came_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another failure may come before they are told: of that nobody knows yet whether the store is there."""
    monkeypatch.setattr(sockets, "GRACE_SECONDS", 0.01)
    hearing, before, later = Hearing(), Waiting(1.0), Waiting(3.0)
    for one in (before, later):
        hearing.waits(cast(ServerConnection, one))
    hearing.failed(2.0)
    hearing.ended(cast(ServerConnection, Waiting(3.5, 3.5)), heard=True)
    hearing.failed(4.0)
    await asyncio.wait_for(before.aborted.wait(), 10)
    assert not later.aborted.is_set()


async def test_an_answer_ends_none_that_was_asked_later_than_what_it_answers(scene: Scene) -> None:
    """A store that is far off has not had the time to answer it."""
    before, after = scene.waits(heard_at=1, sent_at=4), scene.waits(heard_at=1, sent_at=6)
    scene.failed(3)
    await scene.answered(5)
    assert (before.aborted.is_set(), after.aborted.is_set()) == (True, False)


async def test_what_was_asked_before_that_which_failed_says_nothing_when_it_is_answered(scene: Scene) -> None:
    """The answer was under way, and the store may be gone since."""
    silent = scene.waits(heard_at=0.5, sent_at=1)
    scene.failed(3)
    await scene.answered(2)
    assert not silent.aborted.is_set()
    await scene.answered(4)
    assert silent.aborted.is_set()


async def test_all_that_were_asked_before_the_failure_was_noticed_are_told_in_the_end(scene: Scene) -> None:
    """What was asked first may be answered first: it says nothing yet of those that were asked after it."""
    silent = scene.waits(heard_at=1, sent_at=6)
    scene.failed(3)
    await scene.answered(5)
    await scene.answered(7)
    assert silent.aborted.is_set()


async def test_after_one_answer_to_what_was_asked_since_the_failure_was_noticed_nobody_else_is_told(
    scene: Scene,
) -> None:
    scene.failed(3)
    await scene.answered(Scene.LATER)
    silent = scene.waits(heard_at=1, sent_at=4)
    await scene.answered(Scene.LATER)
    assert not silent.aborted.is_set()
