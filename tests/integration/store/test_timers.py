"""What time brings: all of it, for every org, and again when the store was away."""

from __future__ import annotations

import asyncio

import pytest
from redis import Redis

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops import overtaken
from qgjob_coordinator.loops import timers as loop
from qgjob_coordinator.loops.bonds import Bonds
from qgjob_coordinator.loops.each_org import ORGS_AT_ONCE, EachOrg
from qgjob_coordinator.loops.timers import Timers
from qgjob_coordinator.model.enums import ErrorClass, Status, Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.model.jobs import Requirements
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store import keys, names
from qgjob_coordinator.store.snapshots import Due
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import builds, scenes
from tests.fakes.jobs import spec


@pytest.fixture
def timers(store: Store) -> Timers:
    return Timers(store, Hub(), FleetReader(store), Telemetry(), Bonds(store), faults=OrgFaults())


async def test_more_than_one_batch_that_is_due_is_served_in_one_look(store: Store, timers: Timers) -> None:
    now = wall_ms()
    for first in (0, 1000):
        jobs = [spec(first + n, not_before=now - 1000) for n in range(800)]
        await scenes.submit(store, *jobs, now=now - 2000)
    waits = [spec(5000 + n, queue_timeout_ms=1000, app_version_id="v2") for n in range(loop.MOST + 1)]
    await scenes.submit(store, *waits, now=now - 2000)
    await timers.look()
    assert await store.reads.delayed_count("acme") == 0
    assert await store.reads.due_deadlines("acme", now, 10) == []
    assert {j.status for j in await store.reads.get("acme", [w.ulid for w in waits]) if j} == {Status.FAILED}


async def test_what_expires_says_that_no_build_of_its_version_was_for_the_devices(store: Store, timers: Timers) -> None:
    """The simulator is free: it can have no build of v1, of which an .apk was pushed alone, and any of v2."""
    now = wall_ms()
    simulator = DeviceInfo("mac-1.sim", "u", Target.EMULATOR, "ios", pushed_builds_only=True)
    await scenes.open_session(store)
    await store.fleet.inventory(scenes.AGENT, 1, [simulator], [], now, complete=True)
    await builds.kept(store, builds.build())
    without, others = spec(1, queue_timeout_ms=1000), spec(2, queue_timeout_ms=1000, app_version_id="v2")
    await scenes.submit(store, without, others, now=now - 2000)
    await timers.look()
    error = (await scenes.get(store, without)).error
    assert error is not None
    assert error.error_class is ErrorClass.NO_RESOURCE
    assert "has builds, but none for the devices that could serve it: there is no build for ios sim" in error.message
    assert error.message.endswith(": push one"), "it fails in no moment: it has"
    error = (await scenes.get(store, others)).error
    assert error is not None
    assert error.error_class is ErrorClass.QUEUE_TIMEOUT


async def test_every_active_org_is_looked_at(store: Store, timers: Timers) -> None:
    now = wall_ms()
    orgs = [f"org-{n}" for n in range(3 * ORGS_AT_ONCE)]
    for org_id in orgs:
        await scenes.submit(store, spec(1, org_id, not_before=now - 1000), now=now - 2000)
    await timers.look()
    assert [await store.reads.delayed_count(org_id) for org_id in orgs] == [0] * len(orgs)


async def test_a_known_time_is_known_again_when_the_store_was_away(
    store: Store, timers: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = wall_ms()
    await scenes.submit(store, spec(1, not_before=now - 1000), now=now - 2000)
    await store.mark_idle(["acme"])  # only the known time leads to it
    timers.due("acme", now - 1000)

    async def away(_org_id: str) -> object:
        raise StoreUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(store.snapshots, "due", away)
        with pytest.raises(StoreUnavailableError):
            await timers.look()
    await timers.look()
    assert await store.reads.delayed_count("acme") == 0


async def test_it_pauses_while_the_store_is_away(store: Store, timers: Timers, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = []

    async def away() -> object:
        raise StoreUnavailableError("away")

    async def slept(seconds: float) -> None:
        pauses.append(seconds)
        raise asyncio.CancelledError

    timers.due("acme", 0)
    monkeypatch.setattr(store, "active_orgs", away)
    monkeypatch.setattr(loop.asyncio, "sleep", slept)
    with pytest.raises(asyncio.CancelledError):
        await timers.run()
    assert pauses == [loop.SWEEP_SECONDS]


async def test_queues_that_are_empty_are_forgotten_while_their_group_lives(
    store: Store, raw: Redis, timers: Timers
) -> None:
    pinned = spec(1, requirements=Requirements(device_id="d1"))
    await scenes.submit(store, pinned, spec(2))
    await store.jobs.cancel("acme", [(pinned.ulid, 1)], wall_ms(), reason="x")
    group = f"{keys.org('acme')}g:{names.group_id(pinned.app_version_id, pinned.target)}"
    queues = {"q:", f"q:{names.signature(pinned.requirements)}"}
    assert queues <= set(raw.hkeys(group))
    timers._registry = float("-inf")
    await timers.look()
    assert queues & set(raw.hkeys(group)) == {"q:"}


async def test_leases_of_a_session_that_the_fleet_does_not_know_are_looked_for(
    store: Store, timers: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scenes.submit(store, spec())
    assert (await scenes.claim(store, spec(), epoch=7)).grants
    await timers.look()
    assert (await store.sessions.watch())[1] == []
    monkeypatch.setattr(timers, "_registry", float("-inf"))
    await timers.look()
    assert [(row.agent_id, row.epoch) for row in (await store.sessions.watch())[1]] == [("agent-1", 7)]


async def test_what_is_due_is_served_before_the_looks_that_take_long(
    store: Store, timers: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = wall_ms()
    await scenes.submit(store, spec(1, not_before=now - 1000), now=now - 2000)
    await scenes.submit(store, spec(1, "globex"))
    await store.mark_idle(["globex"])
    waiting = []
    due = store.snapshots.due

    async def slow(_orgs: object = None) -> None:
        waiting.append(await store.reads.delayed_count("acme"))

    async def seen(org_id: str) -> Due:
        if org_id == "globex":  # the repair's
            await slow()
        return await due(org_id)

    monkeypatch.setattr(store.snapshots, "due", seen)
    monkeypatch.setattr(timers._overtaken, "look", slow)
    monkeypatch.setattr(timers, "_registry", float("-inf"))
    await timers.look()
    assert len(waiting) >= 2
    assert set(waiting) == {0}


class Looks:
    """What a store is asked for of the leases of unknown sessions, by org; it is `now` ms since its life began."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0
        self.store = store
        self.asked: list[tuple[str, str]] = []
        self.answers: dict[str, str] = {}
        self._overtaken = overtaken.Overtaken(store)
        monkeypatch.setattr(store, "epoch", 10**12)
        monkeypatch.setattr(store.leases, "holders", self._holders)
        monkeypatch.setattr(overtaken, "wall_ms", lambda: 10**12 + self.now)

    async def _holders(self, org_id: str, cursor: str) -> tuple[str, dict[str, int]]:
        self.asked.append((org_id, cursor))
        answer = self.answers.get(cursor, "0") if org_id == "acme" else "0"
        if answer == "away":
            raise StoreUnavailableError("away")
        return answer, {}

    async def look(self, now: int) -> list[tuple[str, str]]:
        self.now = now
        self.asked = []
        orgs = EachOrg(faults=OrgFaults())
        await self._overtaken.look(orgs)
        orgs.tell()
        return sorted(self.asked)


@pytest.fixture
async def looks(store: Store, monkeypatch: pytest.MonkeyPatch) -> Looks:
    await scenes.submit(store, spec(1))
    await scenes.submit(store, spec(1, "globex"))
    return Looks(store, monkeypatch)


ALL = [("acme", "0"), ("globex", "0")]


async def test_unknown_sessions_are_looked_for_while_the_store_s_life_is_young(looks: Looks) -> None:
    assert await looks.look(0) == ALL
    assert await looks.look(overtaken.YOUNG_MS - 1) == ALL
    assert await looks.look(overtaken.YOUNG_MS) == []


async def test_unknown_sessions_are_looked_for_once_in_a_life_that_was_met_late(looks: Looks) -> None:
    assert await looks.look(overtaken.YOUNG_MS) == ALL
    assert await looks.look(overtaken.YOUNG_MS) == []
    looks.store.epoch += 1  # another life
    assert await looks.look(2 * overtaken.YOUNG_MS) == ALL
    assert await looks.look(2 * overtaken.YOUNG_MS) == []


async def test_an_org_is_looked_through_whatever_comes_between(looks: Looks) -> None:
    late = overtaken.YOUNG_MS
    looks.answers = {"0": "5", "5": "away"}
    assert await looks.look(late) == ALL
    with pytest.raises(StoreUnavailableError):
        await looks.look(late)
    looks.answers = {"5": "9"}
    assert await looks.look(late) == [("acme", "5")]
    looks.store.epoch += 1  # a new life begins at the beginning
    assert await looks.look(2 * late) == ALL
    assert await looks.look(2 * late) == []
