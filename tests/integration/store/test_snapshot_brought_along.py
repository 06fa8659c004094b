"""A submission may bring its org's snapshot to the round; what was submitted since must not be missed with it."""

from __future__ import annotations

import pytest

from qgjob_coordinator.loops.scheduler import Scheduler
from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.policy.snapshot import Limits
from qgjob_coordinator.service.agents.messages import PROTOCOL_VERSION, Hello
from qgjob_coordinator.service.agents.session import Times
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import spec

TIMES = Times(5_000, 15_000, 60_000, 10_000, 1_800_000, 300_000)


@pytest.mark.parametrize("second_brings_one", [False, True])
async def test_a_snapshot_that_is_older_than_what_was_heard_since_is_not_used(
    store: Store, second_brings_one: bool
) -> None:
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
    devices = tuple(DeviceInfo(f"d{n}", f"u{n}", Target.EMULATOR) for n in (1, 2))
    live = await sessions.open(Hello(PROTOCOL_VERSION, "agent-1", "h.1", 1, "v", "host", devices, (), 100))
    await scheduler.round()  # looks at all orgs, as it does once a second: there is nothing yet

    await scenes.submit(store, spec(1))
    older = await store.snapshots.org("acme", 8)
    await scenes.submit(store, spec(2, app_version_id="another"))
    # Two connections may answer in another order than their scripts ran.
    hub.work("acme", seen=None if not second_brings_one else await store.snapshots.org("acme", 8))
    hub.work("acme", seen=older)
    await scheduler.round()
    assert {lease.ulid for lease in live.session.leases.values()} == {spec(1).ulid, spec(2).ulid}
    await sessions.close(live, "the test ends")
