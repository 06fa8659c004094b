"""What a session's devices do reaches the store, also when the store was away meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from redis import Redis
from structlog.testing import capture_logs

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.model.enums import DeviceState, Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.service.agents import occupancy
from qgjob_coordinator.service.agents.occupancy import Occupants
from qgjob_coordinator.service.agents.session import Session, Times
from qgjob_coordinator.service.agents.slots import Lease
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.principal import LOCAL_ADMIN
from qgjob_coordinator.service.views.overview import Overview
from qgjob_coordinator.store.fleet import Occupancy
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry, alone
from tests.fakes import scenes
from tests.fakes.jobs import spec

LEASE = Lease("acme", "01JZZZZZZZZZZZZZZZZZZZZZZZ", "t1", "g", scenes.DEVICE, 1)
INSTALLED = ("acme", "v1")


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occupancy, "PAUSE_SECONDS", 0.001)


@pytest.fixture
async def session(store: Store) -> Session:
    """A session with one device that holds nothing."""
    await scenes.open_session(store)
    info = DeviceInfo(device_id=scenes.DEVICE, udid="u-1", target=Target.EMULATOR, platform="android")
    await store.fleet.inventory(scenes.AGENT, 1, [info], (), wall_ms(), complete=True)
    opened = Session(scenes.AGENT, 1, 4, store, Times(5_000, 15_000, 60_000, 10_000, 1_800_000, 300_000))
    opened.show(info)
    return opened


class Failing:
    """`occupy` that does its work or not, and fails for `times` calls; `tried` is set by every call."""

    def __init__(self, store: Store, times: int, *, written: bool, error: Exception | None = None) -> None:
        self._occupy = store.fleet.occupy
        self._left = times
        self._written = written
        self._error = error or StoreUnavailableError("the store is away")
        self.tried = asyncio.Event()

    async def __call__(self, agent_id: str, epoch: int, rows: Sequence[Occupancy], now: int) -> bool:
        self._left -= 1
        self.tried.set()
        if self._left < 0:
            return await self._occupy(agent_id, epoch, rows, now)
        if self._written:
            await self._occupy(agent_id, epoch, rows, now)
        raise self._error


async def written(occupants: Occupants) -> None:
    """Waits until nothing is left to write."""
    async with asyncio.timeout(10):
        while not occupants.idle:  # noqa: ASYNC110 - it sets no event
            await asyncio.sleep(occupancy.PAUSE_SECONDS)


async def device(store: Store) -> tuple[str | None, int, DeviceState]:
    (found,) = await FleetReader(store).devices()
    return found.current_job_id, found.installs, found.state


@pytest.mark.parametrize("kept", [False, True], ids=["not written", "reply lost"])
async def test_what_the_store_refused_is_written_later_and_counted_once(
    store: Store, session: Session, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    occupants = Occupants(session, store)
    session.take(LEASE, 1)
    occupants.touch(scenes.DEVICE)
    await written(occupants)
    assert (await device(store))[2] is DeviceState.BUSY
    monkeypatch.setattr(store.fleet, "occupy", Failing(store, 2, written=kept))
    session.drop(LEASE.token, 5001)
    occupants.installed(scenes.DEVICE, INSTALLED, 3000)
    await written(occupants)
    assert await device(store) == (None, 1, DeviceState.IDLE)
    (row,) = (await store.fleet.read([scenes.AGENT]))[0].devices
    assert row.busy_ms == 5000


async def test_what_came_during_a_failure_follows_it(
    store: Store, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    occupants = Occupants(session, store)
    failing = Failing(store, 1, written=False)
    monkeypatch.setattr(store.fleet, "occupy", failing)
    occupants.installed(scenes.DEVICE, INSTALLED, 3000)
    await failing.tried.wait()
    session.take(LEASE, 1)
    occupants.installed(scenes.DEVICE, INSTALLED, 4000)
    occupants.installed(scenes.DEVICE, INSTALLED, 5000)
    await written(occupants)
    assert await device(store) == ("acme~01JZZZZZZZZZZZZZZZZZZZZZZZ", 3, DeviceState.BUSY)


async def test_an_installation_has_the_time_at_which_it_was_done_not_at_which_it_was_written(
    store: Store, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    occupants = Occupants(session, store)
    failing = Failing(store, 1, written=False)
    monkeypatch.setattr(store.fleet, "occupy", failing)
    occupants.touch(scenes.DEVICE)
    await failing.tried.wait()
    monkeypatch.setattr(occupancy, "wall_ms", lambda: 1_000)
    occupants.installed(scenes.DEVICE, INSTALLED, 3000)
    monkeypatch.setattr(occupancy, "wall_ms", lambda: 60_000)
    await written(occupants)
    (row,) = (await store.fleet.read([scenes.AGENT]))[0].devices
    assert row.installed_at == 1_000


async def test_installations_are_counted_alike_for_the_device_and_for_the_orgs_that_they_were_for(
    store: Store, raw: Redis, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever becomes of the attempts that waited for them: here no attempt ends at all."""
    overview = Overview(store, FleetReader(store), alone(Telemetry()), faults=OrgFaults())
    for org_id in ("acme", "globex"):
        await scenes.submit(store, spec(org_id=org_id))

    async def counted(org_id: str | None) -> int:
        return (await overview.stats(LOCAL_ADMIN, org_id)).scheduler.installs

    assert await counted(None) == 0
    occupants = Occupants(session, store)
    failing = Failing(store, 1, written=False)
    monkeypatch.setattr(store.fleet, "occupy", failing)
    for org_id in ("acme", "globex", "acme"):  # the last two are written together
        occupants.installed(scenes.DEVICE, (org_id, "v1"), 3000)
        await failing.tried.wait()
    await written(occupants)
    assert (await device(store))[1] == 3
    assert [await counted(org_id) for org_id in (None, "acme", "globex", "initech")] == [3, 2, 1, 0]
    raw.delete("qg:f:{fleet}:orgs")  # as if nothing else were left of them
    assert await counted(None) == 3


async def test_closing_writes_what_is_left(store: Store, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    occupants = Occupants(session, store)
    failing = Failing(store, 1, written=True)
    monkeypatch.setattr(store.fleet, "occupy", failing)
    monkeypatch.setattr(occupancy, "PAUSE_SECONDS", 3600.0)
    occupants.installed(scenes.DEVICE, INSTALLED, 3000)
    await failing.tried.wait()
    occupants.installed(scenes.DEVICE, INSTALLED, 3000)
    async with asyncio.timeout(10):
        await occupants.close()
    assert await device(store) == (None, 2, DeviceState.IDLE)


async def test_closing_does_not_wait_for_a_store_that_is_away(
    store: Store, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    occupants = Occupants(session, store)
    monkeypatch.setattr(store.fleet, "occupy", Failing(store, 1_000, written=False))
    occupants.touch(scenes.DEVICE)
    async with asyncio.timeout(10):
        await occupants.close()


async def test_what_a_device_took_is_learned_from_the_last_of_each_write(store: Store, session: Session) -> None:
    occupants = Occupants(session, store)
    occupants.installed(scenes.DEVICE, INSTALLED, 9000)
    occupants.installed(scenes.DEVICE, INSTALLED, 40_000)
    occupants.ran("another", 1)
    occupants.ran(scenes.DEVICE, 5000)
    await written(occupants)
    occupants.ran(scenes.DEVICE, 5000)
    await written(occupants)
    await store.estimates.read()
    assert store.estimates.install_seconds == {Target.EMULATOR: 40.0}
    assert store.estimates.typical is not None
    assert store.estimates.typical.seconds == pytest.approx(5.0)
    assert store.estimates.typical.count == 2


async def test_a_bug_is_told(store: Store, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    occupants = Occupants(session, store)
    monkeypatch.setattr(store.fleet, "occupy", Failing(store, 1, written=False, error=ValueError("a bug")))
    with capture_logs() as lines:
        occupants.touch(scenes.DEVICE)
        await written(occupants)
    assert [(line["event"], line["log_level"]) for line in lines] == [("occupancy_failed", "error")]
