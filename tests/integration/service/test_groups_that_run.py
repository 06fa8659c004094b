"""The scheduler shows its plans the groups that have not ended, also those of which no job waits for a device."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from qgjob_coordinator.loops.scheduler import Scheduler
from qgjob_coordinator.model.enums import Outcome, Target
from qgjob_coordinator.policy.snapshot import DeviceView, Limits
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.claims import Grant
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import ending, spec

OLD, NEW = spec(1, "globex", app_version_id="v1"), spec(2, "acme", app_version_id="v2")
HOURS_MS = 3_600_000


def emulator(device_id: str, *, installed: str | None = None, idle_hours: int = 0, **facts: Any) -> DeviceView:
    """A device; `installed` is a version of globex."""
    return DeviceView(
        device_id,
        scenes.AGENT,
        Target.EMULATOR,
        installed=None if installed is None else ("globex", installed),
        idle_since=wall_ms() - idle_hours * HOURS_MS,
        **facts,
    )


class Lab:
    """One session with the devices that a test gives it: the part that an agent and its coordinator's books have."""

    def __init__(self) -> None:
        self.free: list[DeviceView] = []
        self.busy: list[DeviceView] = []
        self.given: dict[str, tuple[str, Grant]] = {}  # by job: its device and the grant
        session = SimpleNamespace(agent_id=scenes.AGENT, epoch=1, slots={}, admit=self._admit, assign=self._assign)
        self._live = SimpleNamespace(session=session, occupants=SimpleNamespace(touch=lambda device_id: None))

    def wanting(self, refill_at: int, now: int) -> list[DeviceView]:
        return self.free

    def serving(self) -> list[DeviceView]:
        return self.busy

    def any_wanting(self, now: int) -> bool:
        return bool(self.free)

    def get(self, agent_id: str) -> Any:
        return self._live

    async def _admit(self, org_ids: list[str]) -> bool:
        return True

    def _assign(self, org_id: str, claim: Any, grants: list[Grant], *_rest: Any) -> None:
        self.given |= {g.ulid: (claim.device_id, g) for g in grants}


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def scheduler(store: Store, hub: Hub, lab: Lab) -> Scheduler:
    sessions: Any = lab
    return Scheduler(
        store, sessions, hub, FleetReader(store), Telemetry(), Limits(), None, log_transitions=False, faults=OrgFaults()
    )


@pytest.mark.parametrize("waits_for_a_retry", [False, True], ids=["runs", "waits for a retry"])
@pytest.mark.parametrize("org_id", ["globex", "acme"], ids=["of the same org", "of another org"])
async def test_a_build_of_a_group_that_has_not_ended_is_overwritten_last(
    store: Store, hub: Hub, lab: Lab, scheduler: Scheduler, org_id: str, waits_for_a_retry: bool
) -> None:
    """Two idle devices: the one with that build has idled longer, which decides where both have ended."""
    await scenes.open_session(store, orgs=("acme", "globex"))
    await scenes.submit(store, OLD)
    lab.free = [emulator("e1")]
    await scheduler.round()
    device_id, grant = lab.given[OLD.ulid]
    if waits_for_a_retry:
        report = ending(OLD.ulid, grant.token, Outcome.TEST_FAILED, wall_ms(), share=1.0)
        await store.leases.finish("globex", [report], wall_ms())
        hub.work("globex")
        await scheduler.round()
    else:
        lab.busy = [emulator(device_id, installed="v1", held=1, holds_for=("globex", "emulator-v1"))]
    new = spec(2, org_id, app_version_id="v2")
    await scenes.submit(store, new)
    lab.free = [emulator("e2", installed="v1", idle_hours=9), emulator("e3", installed="ended", idle_hours=1)]
    hub.work(org_id)
    await scheduler.round()
    assert lab.given[new.ulid][0] == "e3"


async def test_when_the_group_has_ended_its_build_counts_for_nothing(
    store: Store, hub: Hub, lab: Lab, scheduler: Scheduler
) -> None:
    await scenes.open_session(store, orgs=("acme", "globex"))
    await scenes.submit(store, OLD)
    lab.free = [emulator("e1")]
    await scheduler.round()
    await store.leases.finish("globex", [ending(OLD.ulid, lab.given[OLD.ulid][1].token)], wall_ms())
    await scenes.submit(store, NEW)
    lab.free = [emulator("e2", installed="v1", idle_hours=9), emulator("e3", installed="ended", idle_hours=1)]
    hub.work("globex")
    hub.work("acme")
    await scheduler.round()
    assert lab.given[NEW.ulid][0] == "e2"
