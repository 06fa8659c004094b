"""The coordinator's look ahead: how old it may be, who shares it, and what of the store, the fleet and the settings it
goes by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.jobs import Requirements
from qgjob_coordinator.policy.reasons.pending import StartEstimate
from qgjob_coordinator.policy.reasons.verdict import TAKES
from qgjob_coordinator.policy.snapshot import DeviceView, Limits
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.views.looking_ahead import LookAhead
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import spec
from tests.fakes.waiting import until


class FreeDevices:
    """Sessions with free emulators."""

    def __init__(self, *devices: DeviceView) -> None:
        self._devices = devices

    def serving(self) -> list[DeviceView]:
        return []

    def wanting(self, refill_at: int, now: int) -> list[DeviceView]:
        return list(self._devices)


def emulator(device_id: str, platform: str = "android") -> DeviceView:
    return DeviceView(device_id, scenes.AGENT, Target.EMULATOR, platform=platform)


def looking(store: Store, *devices: DeviceView, quota: int | None = None, cap: int | None = None) -> LookAhead:
    sessions: Any = FreeDevices(*devices)
    return LookAhead(store, sessions, FleetReader(store), Limits(group_max_devices=cap), {}, quota, faults=OrgFaults())


@pytest.fixture
async def ahead(store: Store) -> AsyncIterator[LookAhead]:
    ahead = looking(store, emulator("e1"))
    yield ahead
    await ahead.close()


async def start_of(store: Store, ahead: LookAhead, number: int, **how: Any) -> StartEstimate | None:
    job = await scenes.get(store, spec(number, app_version_id=f"v{number}"))
    places = await store.reads.positions("acme", [job.ulid])
    return (await ahead.starts("acme", [job], places, **how))[0]


async def submitted(store: Store, number: int) -> None:
    await scenes.submit(store, spec(number, app_version_id=f"v{number}"))


async def test_a_job_of_a_new_group_has_an_estimate_at_once(store: Store, ahead: LookAhead) -> None:
    await submitted(store, 1)
    assert await start_of(store, ahead, 1) is not None
    await submitted(store, 2)
    assert await start_of(store, ahead, 2) is None  # lists may be a moment behind
    found = await start_of(store, ahead, 2, fresh=True)
    assert found is not None
    assert found.at > wall_ms()
    assert await start_of(store, ahead, 2) == found  # and have it from now on


async def test_all_who_ask_while_a_look_is_under_way_share_the_next_one(
    store: Store, ahead: LookAhead, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submitted(store, 1)
    look, go, looks = store.active_orgs, asyncio.Event(), []

    async def slow() -> set[str]:
        looks.append(wall_ms())
        await go.wait()
        return await look()

    monkeypatch.setattr(store, "active_orgs", slow)
    askers = [asyncio.create_task(start_of(store, ahead, 1, fresh=True))]
    await until(lambda: looks, "nobody looks")
    askers += [asyncio.create_task(start_of(store, ahead, 1, fresh=True)) for _ in range(20)]
    await until(lambda: len(ahead._looking._waiters or ()) == 20, "not all wait")
    go.set()
    found = await asyncio.gather(*askers)
    assert len(looks) == 2
    assert None not in found
    assert len(set(found)) <= 2


async def test_an_org_that_can_not_be_reached_is_left_out_for_a_while(
    store: Store, ahead: LookAhead, monkeypatch: pytest.MonkeyPatch
) -> None:
    for org_id in ("aaa", "zzz"):
        await scenes.submit(store, spec(9, org_id))
    await submitted(store, 1)
    asked, read = [], store.snapshots.org

    async def two_away(org_id: str, heads: int) -> Any:
        if heads:  # else it is asked beside the looks
            asked.append(org_id)
        if org_id == "aaa":
            raise StoreUnavailableError("its slot moves")
        if org_id == "zzz":
            await asyncio.Event().wait()
        return await read(org_id, heads)

    with monkeypatch.context() as patch:
        patch.setattr(store.snapshots, "org", two_away)
        patch.setattr("qgjob_coordinator.service.views.org_looks.PATIENCE_SECONDS", 0.05)
        patch.setattr("qgjob_coordinator.service.beside.PAUSE_SECONDS", 0.05)
        for _ in range(2):
            assert await start_of(store, ahead, 1, fresh=True) is not None
        assert await ahead.starts("aaa", [await scenes.get(store, spec(9, "aaa"))], [1]) == [None]
        assert await ahead.group_ends("aaa") == {}
        assert sorted(asked) == ["aaa", "acme", "acme", "zzz"]

    async def told() -> bool:
        await start_of(store, ahead, 1, fresh=True)
        return ahead._last is not None and "aaa" in {org_id for org_id, _ in ahead._last.forecast.groups()}

    await until(told, "it is left out for ever")


async def test_all_orgs_are_read_at_once(store: Store, ahead: LookAhead, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everyone who asks meanwhile waits: a round trip for each org would be theirs."""
    await submitted(store, 1)
    await scenes.submit(store, spec(9, "globex"))
    asked, all_, read = set(), asyncio.Event(), store.snapshots.org

    async def when_all_ask(org_id: str, heads: int) -> Any:
        asked.add(org_id)
        if len(asked) == 2:
            all_.set()
        async with asyncio.timeout(10):
            await all_.wait()
        return await read(org_id, heads)

    monkeypatch.setattr(store.snapshots, "org", when_all_ask)
    assert await start_of(store, ahead, 1) is not None


async def test_the_plan_is_asked_as_the_scheduler_makes_it(store: Store) -> None:
    """With the quota of orgs: what has no room is not about to be taken."""
    await submitted(store, 1)
    job = await scenes.get(store, spec(1, app_version_id="v1"))
    open_ = looking(store, emulator("e1"))
    assert (await open_.judge(job))("e1") == TAKES
    assert (await open_.judge(job))("e2") is None
    full = looking(store, emulator("e1"), quota=0)
    verdict = (await full.judge(job))("e1")
    assert verdict is not None
    assert "MAX_RUNNING_PER_ORG" in verdict.why


JOBS, JOB_SECONDS, INSTALL_SECONDS = 100, 30, 45
"""What a fleet expects that has measured nothing."""
EMULATORS = [emulator(f"e{n}") for n in range(10)]
IOS = Requirements(platform="ios")


async def end_in(ahead: LookAhead) -> float | None:
    """Seconds until the only group of the org is expected to end; None if nothing is told."""
    begun = wall_ms()
    ends = await ahead.group_ends("acme")
    return next(((at - begun) / 1000 for at in ends.values()), None)


async def test_ends_are_those_of_as_many_devices_as_the_settings_let_serve_it(store: Store) -> None:
    await scenes.submit(store, *(spec(i) for i in range(1, JOBS + 1)))
    alone = INSTALL_SECONDS + JOBS * JOB_SECONDS
    assert await end_in(looking(store, *EMULATORS, cap=1)) == pytest.approx(alone, abs=5)
    assert await end_in(looking(store, *EMULATORS, quota=1)) == pytest.approx(alone, abs=5)
    by_two = INSTALL_SECONDS + JOBS * JOB_SECONDS / 2
    assert await end_in(looking(store, *EMULATORS, quota=2)) == pytest.approx(by_two, abs=5)


async def test_starts_are_those_of_the_devices_that_may_serve_the_job(store: Store) -> None:
    """Of a matrix of two platforms: 20 jobs on one device, as many on nine."""
    jobs = [spec(i, requirements=IOS if i % 2 else Requirements(platform="android")) for i in range(1, 41)]
    await scenes.submit(store, *jobs)
    ahead = looking(store, emulator("i1", "ios"), *EMULATORS[1:])
    found = [await scenes.get(store, job) for job in jobs[-2:]]
    places = await store.reads.positions("acme", [job.ulid for job in found])
    ios, android = await ahead.starts("acme", found, places)
    assert ios is not None
    assert android is not None
    assert (ios.at - wall_ms()) / 1000 == pytest.approx(INSTALL_SECONDS + 18.5 * JOB_SECONDS, abs=JOB_SECONDS)
    assert (android.at - wall_ms()) / 1000 < INSTALL_SECONDS + 10 * JOB_SECONDS
    assert await end_in(ahead) == pytest.approx(INSTALL_SECONDS + 20 * JOB_SECONDS, abs=5)


async def test_a_job_that_no_device_could_serve_has_no_start_and_its_group_no_end(store: Store) -> None:
    await scenes.submit(store, spec(1), ios := spec(2, requirements=IOS))
    ahead = looking(store, *EMULATORS)
    found = [await scenes.get(store, job) for job in (spec(1), ios)]
    places = await store.reads.positions("acme", [job.ulid for job in found])
    starts = await ahead.starts("acme", found, places)
    assert [start is not None for start in starts] == [True, False]
    assert await end_in(ahead) is None
    await store.jobs.cancel("acme", [(ios.ulid, None)], wall_ms(), reason="not needed")
    assert await end_in(looking(store, *EMULATORS)) == pytest.approx(INSTALL_SECONDS + JOB_SECONDS, abs=5)


async def test_a_group_of_which_nothing_waits_ends_with_what_devices_hold(store: Store) -> None:
    await scenes.running(store)
    gid = next(g.gid for g in (await store.snapshots.org("acme", 0)).groups)
    holder = emulator("e1")._replace(held=1, holds_for=("acme", gid), free_at=wall_ms() + 20_000)
    assert await end_in(looking(store, holder)) == pytest.approx(20, abs=2)
    assert await end_in(looking(store, emulator("e9"))) is not None, "a device of another coordinator"
