"""A watch tells when it may have missed something, also while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from redis import Redis

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.pending import Pending
from qgjob_coordinator.service.watching import Filter, WatchEvent, Watching, WatchKind
from qgjob_coordinator.store.events import KEPT
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import spec

EVENTS = "qg:o:{acme}:ev"


@pytest.fixture
def watching(store: Store) -> Watching:
    return Watching(store, Hub(), Pending(store, FleetReader(store), None))


async def until(events: AsyncIterator[WatchEvent], kind: WatchKind) -> WatchEvent:
    async with asyncio.timeout(10):
        async for event in events:
            if event.kind is kind:
                return event
    raise AssertionError(f"the watch ended before {kind}")


async def kinds(events: AsyncIterator[WatchEvent], count: int) -> list[WatchKind]:
    async with asyncio.timeout(10):
        return [(await anext(events)).kind for _ in range(count)]


async def test_a_running_watch_that_fell_behind_is_reset(store: Store, watching: Watching, raw: Redis) -> None:
    await scenes.submit(store, spec(1))
    async with aclosing(watching.watch(Filter("acme", None, frozenset()), None, lambda: True)) as events:
        await until(events, WatchKind.READY)
        await scenes.submit(store, spec(2))
        await scenes.submit(store, spec(3))
        raw.xtrim(EVENTS, maxlen=1, approximate=False)  # what came for job 2 is gone before it was read
        assert await kinds(events, 5) == [WatchKind.RESET, *[WatchKind.SNAPSHOT] * 3, WatchKind.READY]
        await scenes.submit(store, spec(4))
        assert (await until(events, WatchKind.TRANSITION)).job is not None


async def test_a_watch_that_began_on_nothing_is_reset_when_the_stream_was_full(
    store: Store, watching: Watching, raw: Redis
) -> None:
    async with aclosing(watching.watch(Filter("acme", None, frozenset()), None, lambda: True)) as events:
        await until(events, WatchKind.READY)
        await scenes.submit(store, job := spec(1))
        line = raw.xrange(EVENTS)[0][1]["e"]
        for _ in range(KEPT):
            raw.xadd(EVENTS, {"e": line})
        assert await kinds(events, 3) == [WatchKind.RESET, WatchKind.SNAPSHOT, WatchKind.READY]
    assert (await scenes.get(store, job)).version == 1


async def test_a_watch_that_keeps_up_is_never_reset(store: Store, watching: Watching) -> None:
    async with aclosing(watching.watch(Filter("acme", None, frozenset()), None, lambda: True)) as events:
        await until(events, WatchKind.READY)
        for n in range(20):
            await scenes.submit(store, spec(n))
            event = await anext(events)
            assert (event.kind, event.job.ulid if event.job else None) == (WatchKind.TRANSITION, spec(n).ulid)


async def test_a_watch_that_outlives_its_store_is_reset(store: Store, watching: Watching) -> None:
    await scenes.submit(store, spec(1))
    async with aclosing(watching.watch(Filter("acme", None, frozenset()), None, lambda: True)) as events:
        await until(events, WatchKind.READY)
        store.epoch += 1  # as check() finds it after the store's process was replaced
        assert await kinds(events, 3) == [WatchKind.RESET, WatchKind.SNAPSHOT, WatchKind.READY]


async def test_an_abandoned_watch_ends(store: Store, watching: Watching) -> None:
    alive = True
    async with aclosing(watching.watch(Filter("acme", None, frozenset()), None, lambda: alive)) as events:
        await until(events, WatchKind.READY)
        alive = False
        async with asyncio.timeout(10):
            assert [e async for e in events] == []


@pytest.mark.parametrize("cursor", ["x", "1.2", "1-2", "\u00b2.1-1", f"1.{'9' * 5000}-1"])
async def test_a_cursor_that_is_none_is_refused(watching: Watching, cursor: str) -> None:
    with pytest.raises(InvalidError, match="cursor"):
        await anext(watching.watch(Filter("acme", None, frozenset()), cursor, lambda: True))


async def test_a_cursor_from_before_the_first_event_misses_nothing(store: Store, watching: Watching) -> None:
    everything = Filter("acme", None, frozenset())
    async with aclosing(watching.watch(everything, None, lambda: True)) as events:
        cursor = (await until(events, WatchKind.READY)).cursor
    await scenes.submit(store, spec(1), spec(2))
    async with aclosing(watching.watch(everything, cursor, lambda: True)) as events:
        assert await kinds(events, 2) == [WatchKind.TRANSITION] * 2
