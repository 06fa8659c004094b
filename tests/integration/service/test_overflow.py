"""The loop that judges overflows: what it goes by of the store and the fleet, and what it costs."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from structlog.testing import capture_logs

from qgjob_coordinator.loops.bonds import Bonds
from qgjob_coordinator.loops.overflow import Overflow
from qgjob_coordinator.loops.timers import Timers
from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.policy.snapshot import DeviceView, Limits
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.views.looking_ahead import LookAhead
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import overflowing, spec
from tests.fakes.store_audit import audit

LATE = 120_000
"""So long (ms) the jobs wait already, twice as long as they accept."""


class Sessions:
    """Those of one coordinator: its devices, all of them free."""

    def __init__(self, *devices: DeviceView) -> None:
        self._devices = devices

    def serving(self) -> list[DeviceView]:
        return []

    def wanting(self, refill_at: int, now: int) -> list[DeviceView]:
        return list(self._devices)

    def get(self, agent_id: str) -> DeviceView | None:
        return next((d for d in self._devices if d.agent_id == agent_id), None)


CLOUD = DeviceView("browserstack-1", scenes.AGENT, Target.BROWSERSTACK)


def coordinator(
    store: Store,
    *devices: DeviceView,
    hub: Hub | None = None,
    telemetry: Telemetry | None = None,
    faults: OrgFaults | None = None,
) -> Overflow:
    sessions: Any = Sessions(*devices)
    looks = LookAhead(store, sessions, FleetReader(store), Limits(), {}, faults=OrgFaults())
    counts = telemetry or Telemetry()
    return Overflow(store, hub or Hub(), looks, counts, log_transitions=True, faults=faults or OrgFaults())


async def targets(store: Store, *numbers: int, org_id: str = "acme") -> list[Target]:
    return [(await scenes.get(store, spec(n, org_id))).target for n in numbers]


async def test_what_nobody_serves_goes_to_where_a_device_is(store: Store, raw: Redis) -> None:
    then = wall_ms() - LATE
    for org_id in ("acme", "globex"):
        await scenes.submit(store, overflowing(1, org_id=org_id), spec(2, org_id), now=then)
    loop = coordinator(store, CLOUD)
    for org_id in ("acme", "globex"):
        loop.due(org_id)
    await loop.round()
    for org_id in ("acme", "globex"):
        assert await targets(store, 1, 2, org_id=org_id) == [Target.BROWSERSTACK, Target.EMULATOR]
    assert audit(raw) == []


async def test_each_move_is_counted_and_told_once(store: Store) -> None:
    await scenes.submit(store, overflowing(1), overflowing(2), now=wall_ms() - LATE)
    await scenes.submit(store, overflowing(3), now=wall_ms())
    telemetry = Telemetry()
    loop = coordinator(store, CLOUD, telemetry=telemetry)
    with capture_logs() as lines:
        for _ in range(2):
            loop.due("acme")
            await loop.round()
    assert telemetry.overflows == {"browserstack": 2}
    told = [(line["job_id"], line["target"], line["log_level"]) for line in lines if line["event"] == "job_moved"]
    assert told == [(f"acme~{spec(n).ulid}", "browserstack", "info") for n in (1, 2)]


async def test_what_has_not_waited_for_so_long_stays(store: Store) -> None:
    await scenes.submit(store, overflowing(1), now=wall_ms() - 10_000)
    loop = coordinator(store, CLOUD)
    loop.due("acme")
    await loop.round()
    assert await targets(store, 1) == [Target.EMULATOR]
    again = (await store.snapshots.due("acme")).next_overflow_at
    assert again is not None
    assert again > wall_ms()


async def test_a_device_that_idles_at_another_coordinator_counts(store: Store) -> None:
    await scenes.submit(store, overflowing(1), now=wall_ms() - LATE)
    loop = coordinator(store)
    loop.due("acme")
    await loop.round()
    assert await targets(store, 1) == [Target.EMULATOR]
    await scenes.open_session(store, "agent-2")
    away = DeviceInfo("browserstack-2", "u", Target.BROWSERSTACK)
    await store.fleet.inventory("agent-2", 1, [away], [], wall_ms(), complete=True)
    other = coordinator(store)
    await store._call("ZADD", "qg:o:{acme}:ov", 0, spec(1).ulid)  # its time has come
    other.due("acme")
    await other.round()
    assert await targets(store, 1) == [Target.BROWSERSTACK]


async def test_it_is_told_which_orgs_have_some_and_no_other_costs_a_call(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, hub = wall_ms(), Hub()
    await scenes.submit(store, overflowing(1), now=now - LATE)
    await scenes.submit(store, *[spec(n, "globex") for n in range(100)], now=now - LATE)
    loop = coordinator(store, CLOUD, hub=hub)
    await Timers(store, hub, FleetReader(store), Telemetry(), Bonds(store), faults=OrgFaults()).look()
    asked: list[str] = []
    due_overflows = store.reads.due_overflows

    async def counted(org_id: str, *rest: Any) -> list[str]:
        asked.append(org_id)
        return await due_overflows(org_id, *rest)

    monkeypatch.setattr(store.reads, "due_overflows", counted)
    await loop.round()
    assert asked == ["acme"]
    assert await targets(store, 1) == [Target.BROWSERSTACK]


@pytest.mark.parametrize(("field", "value"), [("ov", "nonsense"), ("n", "007")])
async def test_a_job_that_can_not_be_used_keeps_no_other_one_waiting(
    field: str, value: str, store: Store, raw: Redis
) -> None:
    """Whether it can't be read, or only the script does not take it."""
    await scenes.submit(store, *(overflowing(n) for n in (1, 2, 3)), now=wall_ms() - LATE)
    record = "qg:o:{acme}:j:" + spec(2).ulid
    kept, now = raw.dump(record), [0.0]
    raw.hset(record, field, value)
    faults = OrgFaults(Telemetry(), lambda: now[0])
    loop, rests = coordinator(store, CLOUD, faults=faults), []
    for _ in range(3):
        loop.due("acme")
        await loop.round()
        resting = faults.resting("overflow", "acme")
        assert resting is not None, "nobody is told of it"
        rests.append(resting.again_in_seconds)
        now[0] += resting.again_in_seconds
    assert rests == [1, 2, 4], "that others could be served does not say that it is mended"
    raw.restore(record, 0, kept, replace=True)
    assert await targets(store, 1, 2, 3) == [Target.BROWSERSTACK, Target.EMULATOR, Target.BROWSERSTACK]
    loop.due("acme")
    await loop.round()
    assert await targets(store, 2) == [Target.BROWSERSTACK]
    assert faults.damaged() == []


async def test_one_org_that_is_damaged_keeps_no_other_waiting(store: Store, raw: Redis) -> None:
    for org_id in ("acme", "globex"):
        await scenes.submit(store, overflowing(1, org_id=org_id), now=wall_ms() - LATE)
    raw.hset("qg:o:{acme}:j:" + spec(1).ulid, "ov", "nonsense")
    loop = coordinator(store, CLOUD)
    for org_id in ("acme", "globex"):
        loop.due(org_id)
    await loop.round()
    assert await targets(store, 1, org_id="globex") == [Target.BROWSERSTACK]


@pytest.mark.parametrize(("right", "wrong"), [('"a":"v1"', '"a":5'), ('"p":', '"b":"soon","p":')])
async def test_a_job_whose_content_is_of_another_type_has_no_other_one_moved_twice(
    right: str, wrong: str, store: Store, raw: Redis
) -> None:
    """It is read, and can't be judged. A group that was left twice by a job is gone, with those that wait in it."""
    await scenes.submit(store, *(overflowing(n) for n in (1, 2, 3, 4)), spec(5), now=wall_ms() - LATE)
    content = "qg:o:{acme}:d:" + spec(3).ulid
    kept = str(raw.get(content))
    raw.set(content, kept.replace(right, wrong))
    assert raw.get(content) != kept
    loop = coordinator(store, CLOUD)
    loop.due("acme")
    await loop.round()
    raw.set(content, kept)
    waiting = [q for group in (await store.snapshots.org("acme", 8)).groups for q in group.queues]
    assert sum(q.waiting for q in waiting) == 5, "no plan sees them any more"
    assert audit(raw) == []
    assert await targets(store, 1, 2, 3, 4, 5) == [
        Target.BROWSERSTACK,
        Target.BROWSERSTACK,
        Target.EMULATOR,
        Target.BROWSERSTACK,
        Target.EMULATOR,
    ]
