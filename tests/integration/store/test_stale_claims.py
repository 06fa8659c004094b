"""A session below the lowest epoch of an org can never claim there: it ends, and its agent comes again above it."""

from __future__ import annotations

from qgjob_coordinator.loops.scheduler import Scheduler
from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.policy.snapshot import Limits
from qgjob_coordinator.service.agents.messages import PROTOCOL_VERSION, Hello, RefusedReason
from qgjob_coordinator.service.agents.session import Times
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import spec

TIMES = Times(5_000, 15_000, 60_000, 10_000, 1_800_000, 300_000)


def hello(epoch: int) -> Hello:
    devices = (DeviceInfo("d1", "u1", Target.EMULATOR),)
    return Hello(PROTOCOL_VERSION, "agent-1", "h.1", epoch, "v", "host", devices, (), 100)


async def test_a_session_whose_claim_is_refused_as_stale_ends(store: Store) -> None:
    hub, telemetry = Hub(), Telemetry()
    sessions = Sessions(store, hub, telemetry, TIMES, "test", log_transitions=False, faults=OrgFaults(telemetry))
    scheduler = Scheduler(
        store,
        sessions,
        hub,
        FleetReader(store),
        telemetry,
        Limits(),
        None,
        log_transitions=False,
        faults=OrgFaults(telemetry),
    )
    live = await sessions.open(hello(1))
    # What a sweep leaves that was under way while the store went back to a state in which this session is open.
    await store.leases.sweep("acme", "agent-1", 6, wall_ms(), 0.0)
    await scenes.submit(store, spec(1))
    hub.work("acme")
    await scheduler.round()
    assert live.session.refused is not None
    assert live.session.refused.reason is RefusedReason.STALE_EPOCH
    assert live.session.refused.stored_epoch == 7, "the agent need not try one after the other"
    await sessions.close(live, "refused")

    again = await sessions.open(hello(8))
    hub.work("acme")
    await scheduler.round()
    assert [lease.ulid for lease in again.session.leases.values()] == [spec(1).ulid]
    await sessions.close(again, "the test ends")


async def test_a_session_that_is_over_ends_when_it_is_planned_for_and_not_a_session_s_time_later(store: Store) -> None:
    """A newer one was opened elsewhere, and this coordinator plans for the old one until somebody tells it."""
    hub, telemetry = Hub(), Telemetry()
    sessions = Sessions(store, hub, telemetry, TIMES, "test", log_transitions=False, faults=OrgFaults(telemetry))
    scheduler = Scheduler(
        store,
        sessions,
        hub,
        FleetReader(store),
        telemetry,
        Limits(),
        None,
        log_transitions=False,
        faults=OrgFaults(telemetry),
    )
    live = await sessions.open(hello(1))
    await store.sessions.open("agent-1", "h.1", 2, {}, "elsewhere", ["d1"], wall_ms())
    await scenes.submit(store, spec(1))
    hub.work("acme")
    await scheduler.round()
    assert live.session.refused is not None
    assert live.session.refused.reason is RefusedReason.STALE_EPOCH
    await sessions.close(live, "refused")


async def test_a_claim_behind_one_that_is_refused_as_stale_is_answered_for_itself(store: Store) -> None:
    await scenes.submit(store, spec(1), spec(2))
    await store.leases.sweep("acme", "old", 4, wall_ms(), 0.0)
    old, new = (scenes.device_claim(spec(n), (spec(n).ulid, f"t{n}")) for n in (1, 2))
    old.agent_id = "old"
    answers = await store.leases.claim("acme", [old, new, old], wall_ms(), None, None)
    assert [(a.word, len(a.grants), a.floor) for a in answers] == [("STALE", 0, 5), ("OK", 1, 0), ("STALE", 0, 5)]
