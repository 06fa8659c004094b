"""Timers serve every org that can be reached, and the sweeps of the registry go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops.bonds import Bonds
from qgjob_coordinator.loops.each_org import EachOrg, OrgsAwayError
from qgjob_coordinator.loops.overtaken import Overtaken
from qgjob_coordinator.loops.timers import Timers
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.tasks import end_tasks
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import spec
from tests.fakes.one_org_away import AWAY, OTHER, away
from tests.fakes.waiting import until


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
async def timers(store: Store, hub: Hub) -> AsyncIterator[Timers]:
    timers = Timers(store, hub, FleetReader(store), Telemetry(), Bonds(store), faults=OrgFaults())
    yield timers
    await timers._away.close()


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
        await overtaken.look(EachOrg(faults=OrgFaults()))
    await overtaken.look(EachOrg(faults=OrgFaults()))
    assert [row.epoch for row in (await store.sessions.watch())[1]] == [7]


async def test_timers_try_an_org_that_can_not_be_reached_beside_the_others_and_serve_it_as_soon_as_it_can_be(
    store: Store, timers: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = wall_ms()
    for org_id in (AWAY, OTHER):
        await scenes.submit(store, spec(1, org_id, not_before=now - 1000), now=now - 2000)
    asked, due = [], store.snapshots.due
    monkeypatch.setattr("qgjob_coordinator.service.beside.PAUSE_SECONDS", 0.05)

    async def noted(org_id: str) -> Any:
        asked.append(org_id)
        return await away(due)(org_id)

    async def served() -> bool:
        await timers.look()
        return await store.reads.delayed_count(AWAY) == 0 and not timers._away.orgs

    with monkeypatch.context() as patch:
        patch.setattr(store.snapshots, "due", noted)
        timers.due(AWAY, now - 1000)
        with pytest.raises(OrgsAwayError):
            await timers.look()
        assert await store.reads.delayed_count(OTHER) == 0
        assert timers._away.orgs == {AWAY}
        await until(lambda: asked.count(AWAY) > 3, "it is not tried again")
        before = asked.count(OTHER)
        timers._swept = float("-inf")
        await timers.look()
        assert asked.count(OTHER) > before
    await until(served, "it is not served")


async def test_timers_end_with_the_orgs_that_they_try(
    store: Store, timers: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for org_id in (AWAY, OTHER):
        await scenes.submit(store, spec(1, org_id))
    monkeypatch.setattr(store.snapshots, "due", away(store.snapshots.due))
    running = asyncio.create_task(timers.run())
    await until(lambda: timers._away.orgs == {AWAY}, "nothing is away")
    (trying,) = timers._away._tasks.values()
    await end_tasks([running])
    assert trying.cancelled()


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
