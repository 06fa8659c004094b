"""The loop that ends jobs for whose devices no build was pushed: when it does, and all that keeps it from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops import unbuilt
from qgjob_coordinator.loops.bonds import Bonds
from qgjob_coordinator.loops.timers import Timers
from qgjob_coordinator.loops.unbuilt import LOOKS, SETTLED_MS, UnbuiltJobs
from qgjob_coordinator.model.enums import ErrorClass, Outcome, Status, Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.model.jobs import JobSpec, Requirements
from qgjob_coordinator.policy.snapshot import HEADS
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.builds import APK, SIMULATOR, build, kept
from tests.fakes.jobs import overflowing, spec, without_build
from tests.fakes.store_audit import audit

EMULATOR = DeviceInfo("emulator-1", "e", Target.EMULATOR, platform="android", pushed_builds_only=True)
SIM = DeviceInfo("sim-1", "s", Target.EMULATOR, platform="ios", pushed_builds_only=True)
CLOUD = DeviceInfo("browserstack-1", "b", Target.BROWSERSTACK, platform="android")
LONG = 3 * LOOKS
"""So many looks: what they leave waits."""


@pytest.fixture(autouse=True)
def sound(raw: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A look here follows the one before at once, so that it needs a reading of its own. In the end indexes agree."""
    monkeypatch.setattr(unbuilt, "FLEET_SECONDS", 0)
    yield
    assert audit(raw) == []


class Bench:
    """One coordinator's loop."""

    def __init__(self, store: Store, hub: Hub | None = None) -> None:
        self.store = store
        self.telemetry = Telemetry()
        self.hub = hub or Hub()
        self.changed: list[str] = []
        self.fleet = FleetReader(store)
        self.loop = UnbuiltJobs(store, self.hub, self.fleet, self.telemetry, OrgFaults())

    async def look(self, times: int, *org_ids: str) -> None:
        for _ in range(times):
            for org_id in org_ids or ("acme",):
                self.loop.due(org_id)
            await self.loop.round()

    async def statuses(self, *numbers: int, org_id: str = "acme") -> list[Status]:
        return [(await scenes.get(self.store, spec(n, org_id))).status for n in numbers]


@pytest.fixture
def bench(store: Store) -> Bench:
    return Bench(store)


async def show(store: Store, *devices: DeviceInfo, agent_id: str = "agent-1", gone: tuple[str, ...] = ()) -> None:
    """What an agent shows, and does not show any more; its session begins with the first time."""
    if not await store.fleet.read([agent_id]):
        await scenes.open_session(store, agent_id)
    assert await store.fleet.inventory(agent_id, 1, devices, gone, wall_ms(), complete=False)


async def submit(store: Store, *specs: JobSpec, waited_ms: int = SETTLED_MS) -> None:
    await scenes.submit(store, *specs, now=wall_ms() - waited_ms)


async def push(store: Store, what: Any = SIMULATOR, org_id: str = "acme", version: str = "v1") -> None:
    await kept(store, build(what.format.value, version, facts=what, org_id=org_id), wall_ms())


async def test_a_job_ends_when_it_was_found_without_a_build_for_long_enough(bench: Bench, store: Store) -> None:
    await show(store, EMULATOR)
    await push(store)
    await submit(store, spec(1), spec(2), spec(3, app_version_id="v2"))
    changed = bench.hub.subscribe("acme")
    await bench.look(LOOKS - 1)
    assert await bench.statuses(1, 2) == [Status.QUEUED] * 2
    assert not changed.is_set()
    await bench.look(1)
    job = await scenes.get(store, spec(1))
    assert (job.status, job.outcome, job.attempts, job.device_id) == (Status.FAILED, Outcome.PROVIDER_ERROR, [], None)
    assert job.error is not None
    assert job.error.error_class is ErrorClass.BUILD
    assert job.error.message == (
        "no build of v1 was pushed for android (.apk or .aab), which each device of target emulator that could serve "
        "the job needs; there is one for ios simulator (.app in a .zip): push it with "
        "`qgjob builds push FILE.apk --org-id=acme --app-version-id=v1`"
    )
    assert await bench.statuses(2, 3) == [Status.FAILED, Status.QUEUED]  # nothing was pushed of v2
    assert changed.is_set()
    assert bench.telemetry.finished == {("provider_error", "emulator"): 2}
    assert bench.telemetry.attempts == {}
    told = [(t.ulid, t.status, t.outcome) for _, ts in await store.events.after("acme", "0-0", 100) for t in ts]
    assert told[-2:] == [(spec(n).ulid, Status.FAILED, Outcome.PROVIDER_ERROR) for n in (1, 2)]


async def test_what_is_pushed_meanwhile_is_waited_for(bench: Bench, store: Store) -> None:
    await show(store, EMULATOR)
    await push(store)
    await submit(store, spec(1))
    await bench.look(LOOKS - 1)
    await push(store, APK)
    await bench.look(LONG)
    assert await bench.statuses(1) == [Status.QUEUED]
    assert (await scenes.claim(store, spec(1))).grants


async def test_what_is_pushed_after_the_last_look_is_waited_for(
    bench: Bench, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await show(store, EMULATOR)
    await push(store)
    await submit(store, spec(1))
    await bench.look(LOOKS - 1)
    reject = store.jobs.reject

    async def pushed_before(*args: Any) -> Any:
        await push(store, APK)
        return await reject(*args)

    monkeypatch.setattr(store.jobs, "reject", pushed_before)
    await bench.look(1)
    assert await bench.statuses(1) == [Status.QUEUED]


async def test_an_agent_that_shows_one_device_after_the_other_fails_no_job(bench: Bench, store: Store) -> None:
    await show(store, EMULATOR)
    await push(store)
    await submit(store, spec(1))
    for n in range(3):
        await bench.look(LOOKS - 1)
        await show(
            store, DeviceInfo(f"more-{n}", f"m{n}", Target.EMULATOR, platform="android", pushed_builds_only=True)
        )
    await bench.look(LOOKS - 1)
    await show(store, SIM)
    await bench.look(LONG)
    assert await bench.statuses(1) == [Status.QUEUED]


async def test_a_device_that_is_shown_after_the_last_look_fails_no_job(
    bench: Bench, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that lacks a build as well: the next one may be the one that has it."""
    monkeypatch.setattr(unbuilt, "FLEET_SECONDS", 3600)
    await show(store, EMULATOR)
    await push(store)
    await submit(store, spec(1))
    await bench.look(LOOKS - 1)
    await show(store, DeviceInfo("more", "m", Target.EMULATOR, platform="android", pushed_builds_only=True))
    await bench.look(1)
    assert await bench.statuses(1) == [Status.QUEUED]


async def close(store: Store, agent_id: str) -> None:
    assert await store.sessions.observe(agent_id, 1, -1, "closed")


@pytest.mark.parametrize("away", ["agent", "device"])
async def test_a_device_that_is_away_and_has_a_build_is_waited_for(bench: Bench, store: Store, away: str) -> None:
    await show(store, EMULATOR)
    await show(store, SIM, agent_id="mac-1")
    await push(store)
    await submit(store, spec(1))
    if away == "agent":
        await close(store, "mac-1")
    else:
        await show(store, agent_id="mac-1", gone=("sim-1",))
    await bench.look(LONG)
    assert await bench.statuses(1) == [Status.QUEUED]


async def test_devices_that_are_away_and_have_no_build_are_not_waited_for(bench: Bench, store: Store) -> None:
    await show(store, EMULATOR)
    await close(store, "agent-1")
    await push(store)
    await submit(store, spec(1))
    await bench.look(LOOKS)
    assert await bench.statuses(1) == [Status.FAILED]


async def test_a_target_of_which_no_device_is_known_is_waited_for(bench: Bench, store: Store) -> None:
    await show(store, EMULATOR)
    await push(store)
    pinned = Requirements(device_id="other")
    await submit(store, spec(1, target=Target.DEVICE), spec(2, requirements=pinned))
    await bench.look(LONG)
    assert await bench.statuses(1, 2) == [Status.QUEUED] * 2


HOUR = 3_600_000


async def test_a_job_that_came_a_moment_ago_is_not_ended_yet(
    bench: Bench, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unbuilt, "SETTLED_MS", HOUR)  # so that these looks take no part of it
    await show(store, EMULATOR)
    await push(store)
    await submit(store, spec(1), waited_ms=HOUR)
    await submit(store, spec(2), waited_ms=HOUR // 2)
    await submit(store, spec(3, not_before=wall_ms() - HOUR // 2), waited_ms=HOUR)
    await bench.look(LOOKS)
    await store.jobs.promote("acme", wall_ms())
    await bench.look(LONG)
    assert await bench.statuses(1, 2, 3) == [Status.FAILED, Status.QUEUED, Status.QUEUED]


async def test_a_look_that_failed_proves_nothing(bench: Bench, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await show(store, EMULATOR)
    await push(store)
    await submit(store, spec(1))
    await bench.look(LOOKS - 1)

    async def away(**_: Any) -> Any:
        raise StoreUnavailableError("it is away")

    with monkeypatch.context() as patched:
        patched.setattr(bench.fleet, "devices", away)
        with pytest.raises(StoreUnavailableError, match="it is away"):
            await bench.look(1)
    await bench.look(LOOKS - 1)
    assert await bench.statuses(1) == [Status.QUEUED]
    await bench.look(1)
    assert await bench.statuses(1) == [Status.FAILED]


async def test_in_a_new_life_of_the_store_the_fleet_has_time_to_come_back(
    bench: Bench, store: Store, raw: Redis
) -> None:
    """It lost the fleet's devices, and no jobs: who comes back first is not all that was there."""
    await store.check()
    await show(store, EMULATOR)
    await show(store, SIM, agent_id="mac-1")
    await push(store)
    await submit(store, spec(1))
    await bench.look(LONG)
    raw.delete(*raw.keys(f"{keys.FLEET}*"))
    await store.check()
    await show(store, EMULATOR)
    await bench.look(LONG)
    assert await bench.statuses(1) == [Status.QUEUED]
    bench.loop._quiet_until = 0.0  # its minute is over
    await bench.look(LOOKS - 1)
    assert await bench.statuses(1) == [Status.QUEUED], "what was seen meanwhile proves nothing"
    await bench.look(1)
    assert await bench.statuses(1) == [Status.FAILED]


async def test_a_lost_reply_is_found_as_the_end_that_it_was(
    bench: Bench, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await show(store, EMULATOR)
    await push(store)
    await submit(store, spec(1))
    await bench.look(LOOKS - 1)
    reject = store.jobs.reject

    async def lost(*args: Any) -> Any:
        await reject(*args)
        raise StoreUnavailableError("the reply was lost")

    with monkeypatch.context() as patched:
        patched.setattr(store.jobs, "reject", lost)
        with pytest.raises(StoreUnavailableError):
            await bench.look(1)
    ended = await scenes.get(store, spec(1))
    assert (ended.status, ended.outcome) == (Status.FAILED, Outcome.PROVIDER_ERROR)
    await bench.look(LONG)
    assert await scenes.get(store, spec(1)) == ended
    assert await reject("acme", [without_build(spec(1)), without_build(spec(1), 2)], wall_ms()) == [None, None]


async def test_all_jobs_of_a_queue_end_together(bench: Bench, store: Store) -> None:
    await show(store, EMULATOR)
    await push(store)
    numbers = range(1, 201)
    await submit(store, *[spec(n) for n in numbers])
    await bench.look(LOOKS)
    assert set(await bench.statuses(*numbers)) == {Status.FAILED}


async def test_one_that_may_go_to_a_second_target_waits_and_its_neighbour_does_not(bench: Bench, store: Store) -> None:
    await show(store, EMULATOR, CLOUD)
    await push(store)
    await submit(store, overflowing(1), spec(2))
    await bench.look(LONG)
    assert await bench.statuses(1, 2) == [Status.QUEUED, Status.FAILED]


async def test_those_that_wait_for_a_second_target_keep_back_none_behind_them(bench: Bench, store: Store) -> None:
    await show(store, EMULATOR, CLOUD)
    await push(store)
    await submit(store, *[overflowing(number) for number in range(1, HEADS + 7)], spec(90), spec(91))
    await bench.look(LOOKS)
    assert await bench.statuses(1, HEADS + 6, 90, 91) == [Status.QUEUED] * 2 + [Status.FAILED] * 2


async def test_a_device_of_the_second_target_that_was_just_shown_begins_the_looks_anew(
    bench: Bench, store: Store
) -> None:
    await show(store, EMULATOR)
    await push(store)
    await submit(store, overflowing(1))
    await bench.look(LOOKS - 1)
    await show(store, replace(CLOUD, device_id="browserstack-0", pushed_builds_only=True))
    await bench.look(LOOKS - 1)
    assert await bench.statuses(1) == [Status.QUEUED]
    await show(store, CLOUD)
    await bench.look(LONG)
    assert await bench.statuses(1) == [Status.QUEUED]


async def test_of_two_coordinators_one_ends_it(bench: Bench, store: Store) -> None:
    other = Bench(store)
    await show(store, EMULATOR)
    await push(store)
    await submit(store, spec(1))
    for _ in range(LOOKS + 1):
        await bench.look(1)
        await other.look(1)
    assert bench.telemetry.finished == {("provider_error", "emulator"): 1}
    assert other.telemetry.finished == {}


async def test_a_retry_by_hand_after_the_push_runs(bench: Bench, store: Store) -> None:
    await show(store, EMULATOR)
    await push(store)
    await submit(store, spec(1))
    await bench.look(LOOKS)
    await push(store, APK)
    await store.jobs.retry("acme", [(spec(1).ulid, 1, None)], wall_ms())
    await bench.look(LONG)
    assert (await scenes.claim(store, spec(1))).grants


async def test_a_retry_by_hand_without_it_has_its_time_anew(
    bench: Bench, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unbuilt, "SETTLED_MS", HOUR)
    await show(store, EMULATOR)
    await push(store)
    await submit(store, spec(1), waited_ms=HOUR)
    await bench.look(LOOKS)
    await store.jobs.retry("acme", [(spec(1).ulid, 1, None)], wall_ms())
    await bench.look(LONG)
    job = await scenes.get(store, spec(1))
    assert (job.status, job.error, job.round) == (Status.QUEUED, None, 2)


async def test_it_is_told_which_orgs_have_builds_and_no_other_costs_a_call(
    bench: Bench, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await push(store)
    await push(store, org_id="initech")  # it has no jobs
    for org_id in ("acme", "globex", "initech"):
        await store.mark_active(org_id)
    await submit(store, spec(1))
    await submit(store, spec(1, "globex"))
    asked: list[str] = []
    snapshot = store.snapshots.org

    async def counted(org_id: str, heads: int) -> Any:
        asked.append(org_id)
        return await snapshot(org_id, heads)

    await Timers(store, bench.hub, bench.fleet, Telemetry(), Bonds(store), faults=OrgFaults()).look()
    monkeypatch.setattr(store.snapshots, "org", counted)
    await bench.loop.round()
    assert asked == ["acme"]


async def test_where_all_have_builds_a_look_is_one_snapshot_and_reads_no_job(
    bench: Bench, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await show(store, SIM)
    await push(store)
    await submit(store, *[spec(n) for n in range(1, 50)])
    asked: list[str] = []

    run = store.snapshots._runner.run

    async def counted(script: str, *args: Any) -> Any:
        asked.append(script)
        return await run(script, *args)

    monkeypatch.setattr(store.snapshots._runner, "run", counted)
    await bench.look(LOOKS)
    assert asked == ["snapshot", "fleet"] * LOOKS
