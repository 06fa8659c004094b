"""What operators say of devices: what they need not say is filled in, and what has to end is told when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from qgjob_coordinator.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from qgjob_coordinator.model.enums import DeviceHealth, Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.calls.operating import FleetService
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.principal import LOCAL_ADMIN, Principal, Role
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
    sessions: Any = SimpleNamespace(get=lambda _agent_id: live, times=SimpleNamespace(lease_ms=60_000))
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


async def test_an_agent_that_is_online_is_not_forgotten_and_is_to_be_stopped(fleet: FleetService) -> None:
    with pytest.raises(ConflictError, match=r"agent-1 is online; stop it.* 60 s after it was heard last") as caught:
        await fleet.forget_agent(LOCAL_ADMIN, scenes.AGENT)
    assert caught.value.field == "agent_id"
    assert [a.agent_id for a in await fleet.agents(LOCAL_ADMIN)] == [scenes.AGENT]


async def test_an_agent_that_may_come_back_or_has_leases_is_not_forgotten(fleet: FleetService, store: Store) -> None:
    for state in ("timed_out", "closed"):
        assert await store.sessions.observe(scenes.AGENT, 1, -1, state)
        with pytest.raises(ConflictError, match="may come back, and what it ran is not given up yet"):
            await fleet.forget_agent(LOCAL_ADMIN, scenes.AGENT)


async def test_a_device_that_is_forgotten_while_it_is_reserved_is_not_found(store: Store) -> None:
    await scenes.open_session(store)
    device = DeviceInfo("e1", "u1", Target.EMULATOR, platform="android")
    await store.fleet.inventory(scenes.AGENT, 1, [device], [], NOW, complete=True)

    async def forgotten() -> None:
        assert await store.sessions.observe(scenes.AGENT, 1, -1, "closed")
        assert await store.sessions.swept(scenes.AGENT, 1, store.epoch, ["acme"])
        assert (await store.fleet.forget(scenes.AGENT, NOW, None, "op")).devices == ("e1",)

    live = SimpleNamespace(records=SimpleNamespace(apply=forgotten))
    sessions: Any = SimpleNamespace(get=lambda _agent_id: live, times=SimpleNamespace(lease_ms=60_000))
    fleet = FleetService(store, FleetReader(store), cast("Sessions", sessions), Hub())
    with pytest.raises(NotFoundError, match="e1"):
        await fleet.reserve(LOCAL_ADMIN, "e1", wall_ms() + 60_000, "debugging")


async def test_an_agent_that_is_gone_is_forgotten_with_its_devices(fleet: FleetService, store: Store) -> None:
    await fleet.set_labels(LOCAL_ADMIN, "e1", {"room": "2"})
    assert await store.sessions.observe(scenes.AGENT, 1, -1, "closed")
    assert await store.sessions.swept(scenes.AGENT, 1, store.epoch, ["acme"])
    (device,) = await fleet.forget_agent(LOCAL_ADMIN, scenes.AGENT)
    assert (device.device_id, device.labels) == ("e1", {"room": "2"})
    assert await fleet.agents(LOCAL_ADMIN) == []
    with pytest.raises(NotFoundError, match="`qgjob agents ls`"):
        await fleet.forget_agent(LOCAL_ADMIN, scenes.AGENT)


async def test_only_who_may_act_on_the_fleet_forgets_an_agent(fleet: FleetService) -> None:
    with pytest.raises(ForbiddenError):
        await fleet.forget_agent(Principal("ci", Role.MEMBER, "acme"), scenes.AGENT)
