"""A lease that no session knows of: nobody runs it, and it must not wait for the agent to come again by chance."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from qgjob_coordinator.loops.scheduler import Scheduler
from qgjob_coordinator.loops.unbooked import Unbooked
from qgjob_coordinator.model.enums import Status, Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.policy.snapshot import Limits
from qgjob_coordinator.service.agents.live import LiveSession
from qgjob_coordinator.service.agents.messages import PROTOCOL_VERSION, Hello, RefusedReason
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


class Lab:
    """An agent whose session has one attempt, and its coordinator."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.hub, telemetry = Hub(), Telemetry()
        self.sessions = Sessions(
            store, self.hub, telemetry, TIMES, "test", log_transitions=False, faults=OrgFaults(telemetry)
        )
        self.unbooked = Unbooked(store, self.sessions, faults=OrgFaults())
        self.scheduler = Scheduler(
            store,
            self.sessions,
            self.hub,
            FleetReader(store),
            telemetry,
            Limits(),
            None,
            log_transitions=False,
            faults=OrgFaults(telemetry),
        )

    async def open(self, epoch: int) -> LiveSession:
        devices = (DeviceInfo("d1", "u1", Target.EMULATOR),)
        return await self.sessions.open(Hello(PROTOCOL_VERSION, "agent-1", "h.1", epoch, "v", "host", devices, (), 100))

    async def given(self) -> LiveSession:
        live = await self.open(1)
        await scenes.submit(self.store, spec(1))
        self.hub.work("acme")
        await self.scheduler.round()
        assert [lease.ulid for lease in live.session.leases.values()] == [spec(1).ulid]
        return live

    async def late_claim(self) -> None:
        """What a claim does that reaches the store after its attempt has ended and its job waits again."""
        await scenes.submit(self.store, spec(2))
        assert (await scenes.claim(self.store, spec(2), device_id="d1")).grants


@pytest.fixture
async def lab(store: Store) -> AsyncIterator[Lab]:
    lab = Lab(store)
    yield lab
    for live in lab.sessions.here():
        await lab.sessions.close(live, "the test ends")


async def test_a_lease_that_was_never_sent_ends_the_session_and_the_next_one_frees_its_job(lab: Lab) -> None:
    live = await lab.given()
    await lab.late_claim()
    await lab.unbooked.look()
    assert live.session.refused is None, "it may be on its way into the books"
    with capture_logs() as lines:
        await lab.unbooked.look()
    assert live.session.refused is not None
    assert live.session.refused.reason is RefusedReason.STALE_EPOCH
    assert [(x["event"], x["job_ids"]) for x in lines] == [("lease_not_booked", [f"acme~{spec(2).ulid}"])]

    await lab.sessions.close(live, "refused")
    await lab.open(2)
    assert (await scenes.get(lab.store, spec(2))).status is Status.QUEUED


async def test_what_is_booked_by_the_next_look_and_missed_again_later_is_no_such_lease(lab: Lab) -> None:
    live = await lab.given()
    (lease,) = live.session.leases.values()
    for _ in range(3):
        live.session.drop(lease.token, 0)
        await lab.unbooked.look()
        live.session.take(lease, 0)
        await lab.unbooked.look()
    assert live.session.refused is None


async def test_a_lease_that_was_missed_in_another_session_is_looked_at_twice_again(lab: Lab) -> None:
    live = await lab.given()
    await lab.late_claim()
    await lab.unbooked.look()
    await lab.sessions.close(live, "its stream broke")
    again = await lab.open(2)
    await scenes.submit(lab.store, spec(3))
    assert (await scenes.claim(lab.store, spec(3), device_id="d1", epoch=2)).grants
    await again.session.admit(["acme"])
    await lab.unbooked.look()
    assert again.session.refused is None
    await lab.unbooked.look()
    assert again.session.refused is not None
