"""An org whose part of the store can't be reached waits alone: a slot that is moved, a node that hangs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops.bonds import Bonds
from qgjob_coordinator.loops.each_org import EachOrg, OrgsAwayError
from qgjob_coordinator.loops.overtaken import Overtaken
from qgjob_coordinator.loops.reaper import Reaper
from qgjob_coordinator.loops.retention import Retention
from qgjob_coordinator.loops.scheduler import Scheduler
from qgjob_coordinator.loops.timers import AWAY_SECONDS, Timers
from qgjob_coordinator.model.enums import Status, Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.policy.snapshot import Limits
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.messages import PROTOCOL_VERSION, Hello
from qgjob_coordinator.service.session import Times
from qgjob_coordinator.service.sessions import Sessions
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import NOW, spec

TIMES = Times(5_000, 15_000, 60_000, 10_000, 1_800_000, 300_000)
AWAY, OTHER = "acme", "globex"
"""The order of their names is the order in which they are served."""


Call = Callable[..., Awaitable[Any]]


def away(call: Call) -> Call:
    """The call fails for the org."""

    async def one(org_id: str, *args: Any) -> Any:
        if org_id == AWAY:
            raise StoreUnavailableError("its slot moves")
        return await call(org_id, *args)

    return one


def hello(*device_ids: str) -> Hello:
    devices = tuple(DeviceInfo(d, f"u-{d}", Target.EMULATOR) for d in device_ids)
    return Hello(PROTOCOL_VERSION, "agent-1", "h.1", 1, "v", "host", devices, (), 100)


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def sessions(store: Store, hub: Hub) -> Sessions:
    return Sessions(store, hub, Telemetry(), TIMES, "test", log_transitions=False)


@pytest.fixture
def scheduler(store: Store, sessions: Sessions, hub: Hub) -> Scheduler:
    return Scheduler(store, sessions, hub, FleetReader(store), Telemetry(), Limits(), None, log_transitions=False)


async def test_a_round_is_not_over_while_a_claim_of_it_is_under_way(
    store: Store, hub: Hub, sessions: Sessions, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drain that waits for the round would return, and the device would get the job afterwards."""
    live = await sessions.open(hello("d1", "d2"))
    for org_id in (AWAY, OTHER):
        await scenes.submit(store, spec(1, org_id))
        hub.work(org_id)
    failed, go, claim = asyncio.Event(), asyncio.Event(), store.leases.claim

    async def slow(org_id: str, *args: Any) -> Any:
        if org_id == AWAY:
            failed.set()
            raise StoreUnavailableError("its slot moves")
        await go.wait()
        return await claim(org_id, *args)

    monkeypatch.setattr(store.leases, "claim", slow)
    round_ = asyncio.create_task(scheduler.round())
    await failed.wait()
    over, _ = await asyncio.wait([round_], timeout=0.1)
    assert not over
    go.set()
    with pytest.raises(StoreUnavailableError):
        await round_
    assert [lease.org_id for lease in live.session.leases.values()] == [OTHER]
    await sessions.close(live, "the test ends")


# ---- timers ----


@pytest.fixture
def timers(store: Store, hub: Hub) -> Timers:
    return Timers(store, hub, FleetReader(store), Telemetry(), Bonds(store))


async def test_the_work_of_a_submitter_that_died_is_found_though_another_org_can_not_be_reached(
    store: Store, timers: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has work and is known to, as one that is looked for like the other."""
    await scenes.submit(store, spec(1, AWAY))
    await scenes.submit(store, spec(1, "acme-2"))
    await scenes.submit(store, spec(1, OTHER))
    await store.mark_idle(["acme-2", OTHER])
    due = store.snapshots.due

    async def two_away(org_id: str) -> Any:
        if org_id.startswith(AWAY):
            raise StoreUnavailableError("its slot moves")
        return await due(org_id)

    monkeypatch.setattr(store.snapshots, "due", two_away)
    monkeypatch.setattr(timers, "_registry", float("-inf"))
    with pytest.raises(OrgsAwayError, match=r"^acme, acme-2: its slot moves"):
        await timers.look()
    assert OTHER in await store.active_orgs()


async def test_leases_of_unknown_sessions_are_found_though_another_org_can_not_be_reached(
    store: Store, timers: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for org_id in (AWAY, OTHER):
        await scenes.submit(store, spec(1, org_id))
        assert (await scenes.claim(store, spec(1, org_id), epoch=7)).grants
    monkeypatch.setattr(store.leases, "holders", away(store.leases.holders))
    monkeypatch.setattr(store.snapshots, "tidy", away(store.snapshots.tidy))
    monkeypatch.setattr(timers, "_registry", float("-inf"))
    with pytest.raises(OrgsAwayError):
        await timers.look()
    assert [(row.agent_id, row.epoch) for row in (await store.sessions.watch())[1]] == [("agent-1", 7)]


async def test_an_org_that_could_not_be_reached_is_looked_through_for_sessions_at_the_next_look(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scenes.submit(store, spec(1, AWAY))
    assert (await scenes.claim(store, spec(1, AWAY), epoch=7)).grants
    overtaken = Overtaken(store)
    with monkeypatch.context() as patch:
        patch.setattr(store.leases, "holders", away(store.leases.holders))
        await overtaken.look(EachOrg())
    await overtaken.look(EachOrg())
    assert [row.epoch for row in (await store.sessions.watch())[1]] == [7]


async def test_timers_try_an_org_that_can_not_be_reached_rarely_and_serve_it_when_it_can_be(
    store: Store, timers: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = wall_ms()
    for org_id in (AWAY, OTHER):
        await scenes.submit(store, spec(1, org_id, not_before=now - 1000), now=now - 2000)
    asked, due = [], store.snapshots.due

    async def noted(org_id: str) -> Any:
        asked.append(org_id)
        return await away(due)(org_id)

    with monkeypatch.context() as patch:
        patch.setattr(store.snapshots, "due", noted)
        timers.due(AWAY, now - 1000)
        with pytest.raises(OrgsAwayError):
            await timers.look()
        assert await store.reads.delayed_count(OTHER) == 0
        timers._swept = float("-inf")
        await timers.look()
        assert asked.count(AWAY) == 1
    timers._not_before[AWAY] -= AWAY_SECONDS
    await timers.look()
    assert await store.reads.delayed_count(AWAY) == 0


async def test_timers_wait_though_something_is_due_in_an_org_that_can_not_be_reached(
    store: Store, timers: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scenes.submit(store, spec(1, OTHER))
    timers.due(AWAY, 0)
    monkeypatch.setattr(store.snapshots, "due", away(store.snapshots.due))
    with pytest.raises(OrgsAwayError):
        await timers.look()
    waiting = asyncio.create_task(timers._wait())
    over, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not over
    timers.due(OTHER, 0)
    await waiting


async def test_clients_of_an_org_are_given_up_though_another_org_can_not_be_reached(
    store: Store, timers: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was seen of the one that can't be reached proves nothing any more, and nothing else is forgotten."""
    forgotten: list[str] = []
    for org_id in (AWAY, OTHER):
        await scenes.submit(store, spec(1, org_id))
    monkeypatch.setattr(timers._bonds, "blind", lambda: forgotten.append("all"))
    monkeypatch.setattr(timers._bonds, "forget", forgotten.append)
    monkeypatch.setattr(store.snapshots, "due", away(store.snapshots.due))

    async def paused(_seconds: float) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr("qgjob_coordinator.loops.timers.asyncio.sleep", paused)
    with pytest.raises(asyncio.CancelledError):
        await timers.run()
    assert AWAY in forgotten
    assert "all" not in forgotten


# ---- the reaper and retention ----


async def test_sessions_are_swept_in_the_orgs_that_can_be_reached_and_later_in_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sessions are over, and each holds something in both orgs."""
    agents = ("agent-1", "agent-2")
    for n, agent_id in enumerate(agents, 1):
        await scenes.open_session(store, agent_id, orgs=(AWAY, OTHER))
        for org_id in (AWAY, OTHER):
            await scenes.running(store, spec(n, org_id), f"t{n}", agent_id=agent_id, device_id=f"d{n}")
        _, rows = await store.sessions.watch()
        counter = next(row.counter for row in rows if row.agent_id == agent_id)
        assert await store.sessions.observe(agent_id, 1, counter, "closed")

    async def statuses(org_id: str) -> set[Status]:
        return {(await scenes.get(store, spec(n, org_id))).status for n in (1, 2)}

    reaper, asked = Reaper(store, Hub(), Telemetry(), 15.0, 62.0), []
    sweep = store.leases.sweep

    async def noted(org_id: str, *args: Any) -> Any:
        asked.append(org_id)
        return await away(sweep)(org_id, *args)

    with monkeypatch.context() as patch:
        patch.setattr(store.leases, "sweep", noted)
        await reaper.look(time.monotonic())
        await reaper.settled()
    assert asked.count(AWAY) == 1, "each try may take seconds, and the other sessions wait"
    assert await statuses(OTHER) == {Status.QUEUED}
    assert await statuses(AWAY) == {Status.RUNNING}
    assert sorted((await store.sessions.watch())[0]) == [(agent_id, 1) for agent_id in agents]
    await reaper.look(time.monotonic())
    await reaper.settled()
    assert await statuses(AWAY) == {Status.QUEUED}
    assert (await store.sessions.watch())[0] == []


async def test_jobs_are_retired_though_another_org_can_not_be_reached(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for org_id in (AWAY, OTHER):
        await scenes.submit(store, spec(1, org_id))
        await store.jobs.cancel(org_id, [(spec(1).ulid, 1)], NOW, reason="x")
    with monkeypatch.context() as patch:
        patch.setattr(store.jobs, "retire", away(store.jobs.retire))
        with pytest.raises(OrgsAwayError):
            await Retention(store, 0).look(NOW + 1)
    assert [await store.reads.get(o, [spec(1).ulid]) == [None] for o in (AWAY, OTHER)] == [False, True]
