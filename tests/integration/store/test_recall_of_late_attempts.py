"""What a device holds behind an attempt that takes too long begins elsewhere, once the agent has given it back."""

from __future__ import annotations

import pytest

from qgjob_coordinator.loops import scheduler as scheduler_module
from qgjob_coordinator.loops.scheduler import Scheduler
from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.policy.planning.recall import LATE_SECONDS
from qgjob_coordinator.policy.snapshot import Limits
from qgjob_coordinator.service.agents.live import LiveSession
from qgjob_coordinator.service.agents.messages import PROTOCOL_VERSION, Hello, Recall
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


def recalls(live: LiveSession) -> list[Recall]:
    return [m for m in live.session.outbox if isinstance(m, Recall)]


async def test_it_is_asked_for_once_and_goes_to_the_device_that_idles(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_module, "TIMER_SECONDS", 0.0)
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
    devices = (DeviceInfo("d1", "u1", Target.EMULATOR), DeviceInfo("d2", "u2", Target.EMULATOR))
    live = await sessions.open(Hello(PROTOCOL_VERSION, "agent-1", "h.1", 1, "v", "host", devices, (), 100))
    first, second = live.session.slots["d1"], live.session.slots["d2"]

    await scenes.submit(store, spec(1), spec(2))
    hub.work("acme")
    await scheduler.round()
    (runs,) = first.leases.values()
    first.free_at = wall_ms()  # it should be done about now, so the next one is sent ahead
    first.changed()
    await scheduler.round()
    _, ahead = first.leases.values()
    assert not recalls(live)

    second.install((runs.org_id, spec(1).app_version_id), wall_ms(), 1)
    first.install((runs.org_id, spec(1).app_version_id), wall_ms(), 1)
    first.free_at = wall_ms() - round(1000 * (LATE_SECONDS - ahead.seconds))
    first.changed()
    await scheduler.round()
    await scheduler.round()
    (recall,) = recalls(live)
    assert recall.tokens == (ahead.token,)

    await live.recalls.answered(recall.recall_id, [ahead.token])
    await scheduler.round()
    assert [lease.ulid for lease in first.leases.values()] == [runs.ulid]
    assert [lease.ulid for lease in second.leases.values()] == [ahead.ulid]
    await sessions.close(live, "the test ends")
