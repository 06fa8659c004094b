"""Rounds go on for all orgs but the one that can't be reached, on a Cluster with a slot whose move was broken off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.crc import key_slot
from structlog.testing import capture_logs

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops.scheduler import Scheduler
from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.policy.snapshot import DeviceView, GroupView, Limits
from qgjob_coordinator.service.agents.live import LiveSession
from qgjob_coordinator.service.agents.messages import PROTOCOL_VERSION, Hello
from qgjob_coordinator.service.agents.session import Times
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.views.org_looks import PATIENCE_SECONDS
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.tasks import end_tasks
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import spec
from tests.fakes.one_org_away import AWAY, OTHER, away
from tests.fakes.store_cluster import ClusterStore
from tests.fakes.waiting import until

TIMES = Times(5_000, 600_000, 60_000, 10_000, 1_800_000, 300_000)


class Running:
    """A scheduler that runs, with one agent."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.hub = Hub()
        telemetry = Telemetry()
        self.sessions = Sessions(
            store, self.hub, telemetry, TIMES, "test", log_transitions=False, faults=OrgFaults(telemetry)
        )
        fleet = FleetReader(store)
        self.scheduler = Scheduler(
            store,
            self.sessions,
            self.hub,
            fleet,
            telemetry,
            Limits(),
            None,
            log_transitions=False,
            faults=OrgFaults(telemetry),
        )
        self._task: asyncio.Task[None] | None = None
        self._live: LiveSession | None = None

    async def connect(self, devices: int) -> LiveSession:
        infos = tuple(DeviceInfo(f"d{n}", f"u{n}", Target.EMULATOR) for n in range(devices))
        self._live = await self.sessions.open(Hello(PROTOCOL_VERSION, "agent-1", "h.1", 1, "v", "host", infos, (), 100))
        return self._live

    def run(self) -> None:
        self._task = asyncio.create_task(self.scheduler.run())

    async def submit(self, number: int, org_id: str) -> None:
        await scenes.submit(self.store, spec(number, org_id, app_version_id=f"v{number}"))
        self.hub.work(org_id)

    def has(self, number: int, org_id: str) -> bool:
        """Whether a device has the job."""
        assert self._live is not None
        return (org_id, spec(number, org_id).ulid) in {(x.org_id, x.ulid) for x in self._live.session.leases.values()}

    async def close(self) -> None:
        if self._task is not None:
            await end_tasks([self._task])
        await self.scheduler._away.close()
        if self._live is not None:
            await self.sessions.close(self._live, "the test ends")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterStore]:
    cluster = ClusterStore(tmp_path_factory.mktemp("cluster"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
async def on_cluster(servers: ClusterStore) -> AsyncIterator[Running]:
    store = Store(servers.url, pool_size=8)
    await store.check()
    running = Running(store)
    yield running
    await running.close()
    await store.close()


@pytest.fixture
async def running(store: Store) -> AsyncIterator[Running]:
    it = Running(store)
    yield it
    await it.close()


async def test_an_org_whose_slot_is_left_half_moved_waits_alone_and_goes_on_when_it_is_fixed(
    servers: ClusterStore, on_cluster: Running
) -> None:
    fleets = servers.owner(keys.FLEET)
    names = [f"org{n}" for n in range(100)]
    stuck = next(o for o in names if servers.owner(keys.org(o)) is not fleets)
    others = [o for o in names if key_slot(keys.org(o).encode()) != key_slot(keys.org(stuck).encode())]
    await on_cluster.connect(12)
    on_cluster.run()
    await on_cluster.submit(1, stuck)
    await until(lambda: on_cluster.has(1, stuck), "the first job has no device")
    await on_cluster.submit(2, stuck)
    await until(lambda: on_cluster.has(2, stuck), "the second job has no device")
    source = servers.owner(keys.org(stuck))
    move = servers.move(keys.org(stuck), next(node for node in servers.nodes if node is not source))
    next(move)  # begun, and broken off
    with capture_logs() as lines:
        on_cluster.hub.work(stuck)
        waits = []
        for number, org_id in zip(range(3, 8), others, strict=False):
            begun = time.monotonic()
            await on_cluster.submit(number, org_id)
            await until(lambda n=number, o=org_id: on_cluster.has(n, o), f"a job of {org_id} has no device")
            waits.append(time.monotonic() - begun)
        await until(lambda: any(x["event"] == "org_away" for x in lines), "nobody is told")
        for _ in move:
            pass
        await until(lambda: any(x["event"] == "org_back" for x in lines), "it is not looked at again")
    assert [x["org_id"] for x in lines if x["event"] == "org_away" and x["what"] == "rounds"] == [stuck]
    assert min(waits) < PATIENCE_SECONDS
    await on_cluster.submit(8, stuck)
    await until(lambda: on_cluster.has(8, stuck), "it is not served again")


async def test_no_round_waits_for_an_org_that_hangs_but_the_first(
    running: Running, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look that hangs begins once in a round; each other look is beside the rounds."""
    live = await running.connect(4)
    read, go, asked = store.snapshots.org, asyncio.Event(), 0

    async def hangs(org_id: str, heads: int) -> Any:
        nonlocal asked
        if org_id == AWAY:
            asked += 1
            await go.wait()
        return await read(org_id, heads)

    monkeypatch.setattr(store.snapshots, "org", hangs)
    monkeypatch.setattr("qgjob_coordinator.service.views.org_looks.PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr("qgjob_coordinator.service.beside.PAUSE_SECONDS", 0)
    await scenes.submit(store, spec(1, AWAY))
    for number in range(1, 4):
        await running.submit(number, OTHER)
        running.hub.work(AWAY)
        running.scheduler._refreshed = float("-inf")
        await running.scheduler.round()
        assert running.has(number, OTHER)
    await until(lambda: asked == 2, "it is not looked at beside the rounds")
    go.set()
    await until(running.scheduler._wake.is_set, "nobody wakes the rounds")
    running.scheduler._refreshed = time.monotonic()
    while not running.has(1, AWAY):
        await running.scheduler.round()
    assert len(live.session.leases) == 4
    assert asked == 2, "what it answered beside the rounds is planned from"


async def test_a_round_that_nothing_is_planned_in_sees_that_the_store_is_back(
    running: Running, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All devices are busy, or gone: the next outage is to be told all the same."""
    await running.connect(1)
    await running.submit(1, OTHER)
    with capture_logs() as lines:
        with monkeypatch.context() as patch:
            patch.setattr(store.snapshots, "org", away(store.snapshots.org, OTHER))
            await running.scheduler._whole_round()
        monkeypatch.setattr(running.sessions, "wanting", lambda *_: [])
        for _ in range(2):
            await running.scheduler._whole_round()
    told = [x["event"] for x in lines if x["event"] in ("round_failed", "sees_again")]
    assert told == ["round_failed", "sees_again"]


async def test_a_round_in_which_no_org_answers_has_failed(
    running: Running, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await running.connect(1)
    for org_id in (AWAY, OTHER):
        await running.submit(1, org_id)

    async def all_away(*_: object) -> object:
        raise StoreUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(store.snapshots, "org", all_away)
        with pytest.raises(StoreUnavailableError, match="away"):
            await running.scheduler.round()
    assert not running.scheduler._away.orgs
    await running.scheduler.round()
    assert running.has(1, AWAY)


async def test_groups_of_an_org_that_can_not_be_reached_are_still_planned_with(
    running: Running, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their builds are in use, though nothing of theirs is to be assigned."""
    await running.connect(1)
    await running.submit(1, AWAY)
    await running.scheduler.round()
    assert running.has(1, AWAY)
    seen: list[tuple[GroupView, ...]] = []

    async def planned(devices: list[DeviceView], orgs: Any) -> dict[str, int]:
        seen.extend(running.scheduler._away_groups.values())
        return {}

    monkeypatch.setattr(store.snapshots, "org", away(store.snapshots.org))
    monkeypatch.setattr(running.scheduler, "_assign", planned)
    await running.submit(2, OTHER)
    running.scheduler._refreshed = float("-inf")
    monkeypatch.setattr(running.sessions, "wanting", lambda *_: [DeviceView("d9", "agent-1", Target.EMULATOR)])
    await running.scheduler.round()
    ((group,),) = seen
    assert isinstance(group, GroupView)
    assert (group.org_id, group.queues) == (AWAY, ())


async def test_a_pruner_that_can_not_look_again_takes_no_org_off(
    running: Running, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.snapshots, "org", away(store.snapshots.org))
    for org_id in (AWAY, OTHER):
        await store.mark_active(org_id)
    await running.scheduler._prune([AWAY, OTHER])
    assert await store.active_orgs() == {AWAY}


async def test_late_attempts_of_an_org_that_can_not_be_reached_are_left_where_they_are(
    running: Running, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look for them each second, which would fail the round that it begins."""
    await running.connect(2)
    late = DeviceView("d9", "agent-1", Target.EMULATOR, held=2, holds_for=(AWAY, "g"))

    monkeypatch.setattr(store.snapshots, "org", away(store.snapshots.org))
    monkeypatch.setattr("qgjob_coordinator.loops.scheduler.late", lambda device, now: device is late)
    monkeypatch.setattr(running.sessions, "serving", lambda: [late])
    await running.submit(1, OTHER)
    await running.scheduler.round()
    assert running.has(1, OTHER)
    assert running.scheduler._away.orgs == {AWAY}, "the next look waits for it no more"
