"""An org whose part of the store can't be reached waits alone: a slot that is moved, a node that hangs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops.each_org import OrgsAwayError
from qgjob_coordinator.loops.reaper import Reaper
from qgjob_coordinator.loops.retention import Retention
from qgjob_coordinator.loops.scheduler import Scheduler
from qgjob_coordinator.loops.unbooked import Unbooked
from qgjob_coordinator.model.enums import Phase, Status, Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.policy.snapshot import Limits
from qgjob_coordinator.service.agents.messages import PROTOCOL_VERSION, HeartbeatAck, Held, Hello, Recall
from qgjob_coordinator.service.agents.session import Times
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import NOW, spec
from tests.fakes.one_org_away import AWAY, OTHER, away
from tests.fakes.waiting import until

TIMES = Times(5_000, 15_000, 60_000, 10_000, 1_800_000, 300_000)


def hello(*device_ids: str) -> Hello:
    devices = tuple(DeviceInfo(d, f"u-{d}", Target.EMULATOR) for d in device_ids)
    return Hello(PROTOCOL_VERSION, "agent-1", "h.1", 1, "v", "host", devices, (), 100)


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def sessions(store: Store, hub: Hub) -> Sessions:
    return Sessions(store, hub, Telemetry(), TIMES, "test", log_transitions=False, faults=OrgFaults())


@pytest.fixture
def scheduler(store: Store, sessions: Sessions, hub: Hub) -> Scheduler:
    return Scheduler(
        store, sessions, hub, FleetReader(store), Telemetry(), Limits(), None, log_transitions=False, faults=OrgFaults()
    )


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


async def test_a_heartbeat_is_answered_with_the_cancels_of_the_orgs_that_can_be_reached(
    store: Store, hub: Hub, sessions: Sessions, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an answer the agent would end all that it runs, and with a late one the stream would stand still."""
    live = await sessions.open(hello("d1", "d2", "d3"))
    for org_id in (AWAY, "acme-2", OTHER):
        await scenes.submit(store, spec(1, org_id))
        hub.work(org_id)
    await scheduler.round()
    held = [
        Held(lease.org_id, lease.ulid, lease.token, 1, Phase.RUNNING, lease.device_id)
        for lease in live.session.leases.values()
    ]
    assert len(held) == 3
    for h in held:
        await store.jobs.cancel(h.org_id, [(h.ulid, 1)], wall_ms(), reason="x")
    read = away(store.reads.revoked)

    async def one_hangs(org_id: str, agent_id: str) -> Any:
        if org_id == "acme-2":
            await asyncio.Event().wait()
        return await read(org_id, agent_id)

    monkeypatch.setattr("qgjob_coordinator.service.agents.live.REVOKED_SECONDS", 0.05)
    monkeypatch.setattr(store.reads, "revoked", one_hangs)
    await live.heartbeat(1, held)
    monkeypatch.undo()
    await live.heartbeat(2, held)
    first, second = (m for m in live.session.outbox if isinstance(m, HeartbeatAck))
    assert first.revoked == tuple(h.token for h in held if h.org_id == OTHER)
    assert sorted(second.revoked) == sorted(h.token for h in held)
    await sessions.close(live, "the test ends")


async def test_leases_that_no_session_knows_of_are_found_though_another_org_can_not_be_reached(
    store: Store, hub: Hub, sessions: Sessions, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = await sessions.open(hello("d1", "d2", "d3"))
    for org_id in (AWAY, OTHER):
        await scenes.submit(store, spec(1, org_id))
        hub.work(org_id)
    await scheduler.round()
    await scenes.submit(store, spec(2, OTHER, app_version_id="v2"))
    late = spec(2, OTHER, app_version_id="v2")
    assert (await scenes.claim(store, late, device_id="d3")).grants
    monkeypatch.setattr(store.reads, "leased", away(store.reads.leased))
    unbooked = Unbooked(store, sessions, faults=OrgFaults())
    for _ in range(2):
        with pytest.raises(OrgsAwayError):
            await unbooked.look()
    assert live.session.refused is not None
    await sessions.close(live, "the test ends")


async def test_an_agent_connects_though_an_org_can_not_be_reached_in_which_it_shows_nothing(
    store: Store, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What older sessions left there is released when the org can be reached again, as if by the opening itself.

    The store has lost what their session admitted: in its new life all orgs are the agent's.
    """
    await scenes.open_session(store, "agent-1", epoch=1, orgs=())
    for org_id in (AWAY, OTHER):
        await scenes.submit(store, spec(1, org_id), spec(2, org_id))
        assert (await scenes.claim(store, spec(1, org_id), epoch=1)).grants
    await store.check()
    monkeypatch.setattr("qgjob_coordinator.service.beside.PAUSE_SECONDS", 0.01)

    async def waits(org_id: str, number: int) -> bool:
        return (await scenes.get(store, spec(number, org_id))).status is Status.QUEUED

    with monkeypatch.context() as patch:
        patch.setattr(store.leases, "adopt", away(store.leases.adopt))
        live = await sessions.open(replace(hello("d1"), instance_id="agent-1-life", epoch=2))
        assert await waits(OTHER, 1)
        assert not await waits(AWAY, 1)
        assert (await scenes.claim(store, spec(2, AWAY), epoch=1)).grants, "its fence is where it was"
    assert await store.agent_orgs("agent-1") == {AWAY}, "or no reaper would look there"
    await until(lambda: waits(AWAY, 1), "what the older session had is not released")
    await until(lambda: waits(AWAY, 2), "what the older session claimed meanwhile is not released")
    assert not (await scenes.claim(store, spec(2, AWAY), epoch=1)).grants
    await sessions.close(live, "the test ends")


async def test_an_agent_that_shows_an_attempt_of_an_org_that_can_not_be_reached_gets_no_session(
    store: Store, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether it is still the job's. What it does not show is not tried on: it will connect again."""
    await scenes.open_session(store, "agent-1", epoch=1, orgs=("acme-2",))
    await scenes.submit(store, spec(1, AWAY))

    async def none(*_: object) -> object:
        raise StoreUnavailableError("its slot moves")

    monkeypatch.setattr(store.leases, "adopt", none)
    shown = Held(AWAY, spec(1, AWAY).ulid, "t1", 1, Phase.RUNNING, "d1")
    with pytest.raises(StoreUnavailableError):
        await sessions.open(replace(hello("d1"), instance_id="agent-1-life", epoch=2, held=(shown,)))
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "org_beside"]


async def test_what_an_agent_gave_back_is_told_to_the_orgs_that_can_be_reached_and_later_to_the_others(
    store: Store, hub: Hub, sessions: Sessions, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream reads on: with an org away for long, all that the agent runs for others would be given up."""
    live = await sessions.open(hello("d1", "d2"))
    for org_id in (AWAY, OTHER):
        await scenes.submit(store, spec(1, org_id))
        hub.work(org_id)
    await scheduler.round()
    monkeypatch.setattr("qgjob_coordinator.service.beside.PAUSE_SECONDS", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(store.leases, "release", away(store.leases.release))
        asking = asyncio.create_task(live.recalls.ask_and_wait(tokens := list(live.session.leases)))
        await until(lambda: any(isinstance(m, Recall) for m in live.session.outbox), "nobody is asked")
        number = next(m.recall_id for m in live.session.outbox if isinstance(m, Recall))
        await live.recalls.answered(number, tokens)
        await asking
        assert not live.session.leases
        assert (await scenes.get(store, spec(1, OTHER))).status is Status.QUEUED
        assert (await scenes.get(store, spec(1, AWAY))).status is Status.SCHEDULED

    async def told() -> bool:
        return (await scenes.get(store, spec(1, AWAY))).status is Status.QUEUED

    await until(told, "the org is never told")
    await sessions.close(live, "the test ends")


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

    reaper, asked = Reaper(store, Hub(), Telemetry(), 15.0, 62.0, faults=OrgFaults()), []
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
            await Retention(store, 0, faults=OrgFaults()).look(NOW + 1)
    assert [await store.reads.get(o, [spec(1).ulid]) == [None] for o in (AWAY, OTHER)] == [False, True]
