"""A watch tells when it may have missed something, also while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest
from redis import Redis

from qgjob_coordinator.errors import InvalidError, NotFoundError
from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.service.calls import watching as watching_module
from qgjob_coordinator.service.calls.watching import Filter, Sent, WatchEvent, Watching, WatchKind
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.principal import LOCAL_ADMIN, Principal, Role
from qgjob_coordinator.service.views.pending import Pending
from qgjob_coordinator.store.events import KEPT
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import NOW, release, spec

EVENTS = "qg:o:{acme}:ev"


@pytest.fixture
def watching(store: Store) -> Watching:
    return Watching(store, Hub(), Pending(store, FleetReader(store), None, faults=OrgFaults()))


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


async def test_a_verdict_is_sent_once_also_when_more_came_before_it_was_read(store: Store, watching: Watching) -> None:
    await scenes.open_session(store)
    job = await scenes.running(store)
    async with aclosing(watching.watch(Filter("acme", None, frozenset()), None, lambda: True)) as events:
        await until(events, WatchKind.READY)
        await store.jobs.cancel("acme", [(job.ulid, 1)], NOW, reason="x")
        await store.leases.release("acme", [release(job.ulid, scenes.TOKEN)], NOW)  # its tree is dead: one version more
        await scenes.submit(store, spec(2))
        first, second = [(await until(events, WatchKind.TRANSITION)).job for _ in range(2)]
    assert first == await scenes.get(store, job)
    assert second == await scenes.get(store, spec(2))


async def test_a_watch_knows_of_so_many_verdicts_that_they_were_sent(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching_module, "FINISHED_KEPT", 2)
    await scenes.submit(store, *(spec(n) for n in range(3)))
    await store.jobs.cancel("acme", [(spec(n).ulid, 1) for n in range(3)], NOW, reason="x")
    sent, jobs = Sent(), [await scenes.get(store, spec(n)) for n in range(3)]
    for job in jobs:
        sent.add(job)
    assert [sent.older_than(job) for job in jobs] == [True, False, False]
    again = replace(jobs[2], version=jobs[2].version + 1)
    assert sent.older_than(again)


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


def id_of(n: int) -> str:
    return f"acme~{spec(n).ulid}"


async def test_the_first_job_that_is_not_there_is_named(store: Store, watching: Watching) -> None:
    await scenes.submit(store, spec(1), spec(2))
    with pytest.raises(NotFoundError, match=id_of(8)) as caught:
        await watching.filter(LOCAL_ADMIN, "acme", None, [id_of(1), id_of(8), id_of(2), id_of(9)], resumed=False)
    assert caught.value.field == "job_ids[1]"


async def test_a_foreign_org_is_not_there(store: Store, watching: Watching) -> None:
    await scenes.submit(store, spec(1))
    with pytest.raises(NotFoundError) as caught:
        await watching.filter(Principal("ci", Role.MEMBER, "globex"), "acme", None, [id_of(1)], resumed=False)
    assert caught.value.field == "org_id"


async def test_jobs_tell_their_org_themselves(store: Store, watching: Watching) -> None:
    await scenes.submit(store, spec(1), spec(2))
    wanted = await watching.filter(LOCAL_ADMIN, "", None, [id_of(1), id_of(2)], resumed=False)
    assert wanted == await watching.filter(LOCAL_ADMIN, "acme", None, [id_of(1), id_of(2)], resumed=False)
    with pytest.raises(InvalidError, match="globex") as mixed:
        await watching.filter(LOCAL_ADMIN, "", None, [id_of(1), f"globex~{spec(1).ulid}"], resumed=False)
    assert mixed.value.field == "job_ids[1]"
    with pytest.raises(NotFoundError, match=id_of(1)) as foreign:
        await watching.filter(Principal("ci", Role.MEMBER, "globex"), "", None, [id_of(1)], resumed=False)
    assert foreign.value.field == "job_ids[0]"
    with pytest.raises(InvalidError) as neither:
        await watching.filter(LOCAL_ADMIN, "", None, [], resumed=False)
    assert neither.value.field == "org_id"


async def test_all_ids_of_a_watch_are_looked_up_in_one_call(store: Store, watching: Watching, raw: Redis) -> None:
    await scenes.submit(store, *(spec(n) for n in range(700)))
    await store.reads.resolve("acme", [spec(0).ulid])  # the script is loaded
    raw.config_resetstat()
    wanted = await watching.filter(LOCAL_ADMIN, "acme", None, [id_of(n) for n in range(700)], resumed=False)
    assert len(wanted.ulids) == 700
    calls = raw.info("commandstats")
    assert [calls[f"cmdstat_{name}"]["calls"] for name in ("evalsha", "exists")] == [1, 700]


async def test_an_alias_is_watched_as_the_job_that_it_stands_for(store: Store, watching: Watching) -> None:
    await scenes.submit(store, spec(1))
    await scenes.submit(store, spec(2, test_path=spec(1).test_path))
    wanted = await watching.filter(LOCAL_ADMIN, "acme", None, [id_of(2)], resumed=False)
    async with aclosing(watching.watch(wanted, None, lambda: True)) as events:
        shown = await until(events, WatchKind.SNAPSHOT)
        assert shown.job is not None
        assert shown.job.ulid == spec(1).ulid
        await until(events, WatchKind.READY)
        await store.jobs.cancel("acme", [(spec(1).ulid, 1)], NOW, reason="x")
        assert (await until(events, WatchKind.TRANSITION)).job == await scenes.get(store, spec(1))


async def test_a_watch_goes_on_without_what_retention_removed(store: Store, watching: Watching) -> None:
    await scenes.submit(store, spec(1), spec(2))
    ids = [id_of(1), id_of(2)]
    wanted = await watching.filter(LOCAL_ADMIN, "acme", None, ids, resumed=False)
    async with aclosing(watching.watch(wanted, None, lambda: True)) as events:
        await until(events, WatchKind.READY)
        await store.jobs.cancel("acme", [(spec(1).ulid, 1)], NOW, reason="x")
        cursor = (await until(events, WatchKind.TRANSITION)).cursor
        await store.jobs.retire("acme", Status.CANCELLED, NOW + 1, 0, 100)
        await store.jobs.cancel("acme", [(spec(2).ulid, 1)], NOW, reason="x")
        assert await ulid_of(events) == spec(2).ulid
    wanted = await watching.filter(LOCAL_ADMIN, "acme", None, ids, resumed=True)
    async with aclosing(watching.watch(wanted, cursor, lambda: True)) as events:
        assert await ulid_of(events) == spec(2).ulid
    with pytest.raises(NotFoundError):
        await watching.filter(LOCAL_ADMIN, "acme", None, ids, resumed=False)
    await store.jobs.retire("acme", Status.CANCELLED, NOW + 1, 0, 100)
    with pytest.raises(NotFoundError) as caught:
        await watching.filter(LOCAL_ADMIN, "acme", None, ids, resumed=True)
    assert caught.value.field == "job_ids[0]", "nothing is left that could come"


async def ulid_of(events: AsyncIterator[WatchEvent]) -> str:
    """Whose transition comes next."""
    job = (await until(events, WatchKind.TRANSITION)).job
    assert job is not None
    return job.ulid
