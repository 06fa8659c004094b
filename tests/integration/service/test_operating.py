"""What operators say of devices: what they need not say is filled in, and what has to end is told when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.model.enums import DeviceHealth, Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.calls.operating import FleetService
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.principal import LOCAL_ADMIN
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import NOW


async def _at_once() -> None:
    """Its planner has heard of every hold."""


@pytest.fixture
async def fleet(store: Store) -> FleetService:
    await scenes.open_session(store)
    device = DeviceInfo("e1", "u1", Target.EMULATOR, platform="android")
    await store.fleet.inventory(scenes.AGENT, 1, [device], [], NOW, complete=True)
    live = SimpleNamespace(records=SimpleNamespace(apply=_at_once))
    sessions: Any = SimpleNamespace(get=lambda _agent_id: live)
    return FleetService(store, FleetReader(store), cast("Sessions", sessions), Hub())


@pytest.mark.parametrize("health", [DeviceHealth.BAD, DeviceHealth.MAINTENANCE])
async def test_an_operator_who_gives_no_reason_is_the_reason(fleet: FleetService, health: DeviceHealth) -> None:
    device = await fleet.set_health(LOCAL_ADMIN, "e1", health, None, None)
    assert (device.health, device.reason) == (health, "by an operator")
    device = await fleet.set_health(LOCAL_ADMIN, "e1", health, "screen is black", None)
    assert device.reason == "screen is black"


async def test_a_reservation_needs_an_end(fleet: FleetService) -> None:
    with pytest.raises(InvalidError, match="a reservation ends by itself") as caught:
        await fleet.reserve(LOCAL_ADMIN, "e1", None, None)
    assert caught.value.field == "until"
