"""An org whose part of the store can't be reached waits alone: a slot that is moved, a node that hangs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops.scheduler import Scheduler
from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.policy.snapshot import Limits
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.messages import PROTOCOL_VERSION, Hello
from qgjob_coordinator.service.session import Times
from qgjob_coordinator.service.sessions import Sessions
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import spec

TIMES = Times(5_000, 15_000, 60_000, 10_000, 1_800_000, 300_000)
AWAY, OTHER = "acme", "globex"
"""The order of their names is the order in which they are served."""


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
