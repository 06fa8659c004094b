"""Several coordinators serve one fleet: each plans for the devices of its own sessions, and of those of others it knows
what the store tells. What that gives over all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest

from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.model.jobs import JobSpec, Requirements
from qgjob_coordinator.policy.planning.fanout import LEAST_FACTOR
from qgjob_coordinator.policy.planning.switching import TURN_INSTALLS
from qgjob_coordinator.policy.rank import OLDER_SECONDS
from qgjob_coordinator.policy.snapshot import INSTALL_SECONDS, TYPICAL_SECONDS, Limits
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import spec
from tests.fakes.planner import Planner

ANDROID, IOS = Requirements(platform="android"), Requirements(platform="ios")


class Fleet:
    """Any number of coordinators on one store, each with connections of its own."""

    def __init__(self, redis_url: str, closing: AsyncExitStack) -> None:
        self._url = redis_url
        self._closing = closing
        self._submitted = 0

    async def of(self, *devices: int, **limits: Any) -> list[Planner]:
        """A coordinator for each number of devices, which are emulators of one agent: `agent-1-1`, …, `agent-2-1`, …"""
        planners = []
        for n, count in enumerate(devices, start=1):
            planner = Planner(Store(self._url), f"c{n}", **limits)
            planners.append(await self._closing.enter_async_context(planner))
            if count:
                await planner.connect(f"agent-{n}", count)
        return planners

    async def submit(self, count: int, org_id: str = "acme", age_seconds: int = 0, **fields: Any) -> list[JobSpec]:
        """So many tests of one group, expected to take `TYPICAL_SECONDS` each."""
        first, self._submitted = self._submitted + 1, self._submitted + count
        specs = [spec(n, org_id, **fields) for n in range(first, first + count)]
        store = Store(self._url)
        await scenes.submit(store, *specs, now=wall_ms() - 1000 * age_seconds)
        await store.close()
        return specs


@pytest.fixture
async def fleet(redis_url: str) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as closing:
        yield Fleet(redis_url, closing)


def busy(planners: Sequence[Planner]) -> list[str]:
    """All devices that hold attempts."""
    return [device_id for planner in planners for device_id in planner.busy]


def installs(planners: Sequence[Planner]) -> int:
    """Of all devices."""
    return sum(planner.installs for planner in planners)


def by_org(planners: Sequence[Planner]) -> Counter[str]:
    """How many devices hold attempts of each org."""
    return sum((planner.orgs() for planner in planners), Counter())


def before_its_claim(monkeypatch: pytest.MonkeyPatch, planner: Planner, act: Callable[[], Awaitable[None]]) -> None:
    """This happens once, when the coordinator has made its next plan and not yet claimed."""
    claim = planner.store.leases.claim

    async def late(*args: Any) -> Any:
        monkeypatch.setattr(planner.store.leases, "claim", claim)
        await act()
        return await claim(*args)

    monkeypatch.setattr(planner.store.leases, "claim", late)


async def begin(monkeypatch: pytest.MonkeyPatch, planners: Sequence[Planner], *org_ids: str, at_once: bool) -> None:
    """Both plan: one after the other, or the first one while the second one makes up its mind."""
    first, second = planners
    if at_once:
        before_its_claim(monkeypatch, second, partial(first.plan, *org_ids))
    else:
        await first.plan(*org_ids)
    await second.plan(*org_ids)


async def play(planners: Sequence[Planner], *org_ids: str) -> AsyncIterator[None]:
    """To the end: devices finish in turns, and all plan, first whoever's device it was. Yields after each such step."""
    while busy(planners):
        for planner in planners:
            for device_id in planner.busy:
                await planner.finish_one(device_id)
                for each in (planner, *planners):
                    await each.plan(*org_ids)
                yield


both_orders = pytest.mark.parametrize("at_once", [False, True], ids=["in turns", "at once"])


# ---- fan-out ----


async def worth(fleet: Fleet, planner: Planner, jobs: int) -> int:
    """How many of eight devices of its own a coordinator puts to a group; they are of another target."""
    if not planner.slots:
        await planner.connect("alone", 8, target=Target.DEVICE)
    await fleet.submit(jobs, target=Target.DEVICE)
    await planner.plan("acme")
    return len(planner.busy)


@pytest.mark.parametrize("jobs", [4, 8, 12, 20, 40])
async def test_a_group_gets_no_more_devices_of_two_coordinators_than_one_would_give_it(fleet: Fleet, jobs: int) -> None:
    """Nor fewer than the first one to plan has, as far as they are worth it. The second takes those that it doesn't see
    to be free at once.
    """
    alone, *planners = await fleet.of(0, 4, 4)
    devices = await worth(fleet, alone, jobs)
    assert devices > 1
    await fleet.submit(jobs)
    for planner in planners:
        await planner.plan("acme")
    assert min(devices, 4) <= len(busy(planners)) <= devices
    steps = [step async for step in play(planners, "acme")]
    assert len(steps) == jobs
    assert installs(planners) <= devices


async def test_devices_that_another_coordinator_puts_to_a_group_meanwhile_are_not_put_there_twice(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More urgent jobs come, which only the other one has seen; so they don't plan for the same ones."""
    alone, one, two = await fleet.of(0, 4, 4)
    devices = await worth(fleet, alone, 12)
    await fleet.submit(8)

    async def another_plans() -> None:
        await fleet.submit(4, priority=Priority.HIGH)
        await one.plan("acme")

    before_its_claim(monkeypatch, two, another_plans)
    await two.plan("acme")
    assert devices < 8, "or the plan that is refused would be one that may be"
    assert 0 < len(one.busy) <= len(busy([one, two])) <= devices


async def test_a_coordinator_whose_few_devices_idle_joins_where_one_that_saw_all_would_not(fleet: Fleet) -> None:
    """Where all idled for a moment only. And where each that serves has less than `LEAST_FACTOR` of the fan-out before
    it, nobody joins.
    """
    alone, *planners = await fleet.of(0, *[1] * 8)
    await alone.connect("alone", 8, target=Target.DEVICE)
    for slot in alone.slots.values():
        slot.idle_since = wall_ms()
        slot.changed()
    devices = await worth(fleet, alone, 20)
    await fleet.submit(20)
    for planner in planners:
        await planner.plan("acme")
    served = len(busy(planners))
    least = LEAST_FACTOR * Limits().fan_out * INSTALL_SECONDS
    assert devices < served < 8
    assert (20 - served + 1) * TYPICAL_SECONDS / (served - 1) >= least > (20 - served) * TYPICAL_SECONDS / served


@pytest.mark.parametrize(
    ("requirements", "devices"), [(Requirements(), 1), (ANDROID, 2)], ids=["any device", "android"]
)
async def test_who_serves_at_another_coordinator_counts_for_jobs_that_any_device_may_serve(
    fleet: Fleet, requirements: Requirements, devices: int
) -> None:
    planners = await fleet.of(0, 0)
    await fleet.submit(3, requirements=requirements)
    for n, planner in enumerate(planners):
        await planner.connect(f"android-{n}", 1, platform="android")
        await planner.plan("acme")
    assert len(busy(planners)) == devices


# ---- limits ----


@both_orders
@pytest.mark.parametrize(
    ("limits", "versions"),
    [({"quota": 3}, ("v1", "v2")), ({"limits": Limits(group_max_devices=3)}, ("v1", "v1"))],
    ids=["a quota", "a cap"],
)
async def test_a_limit_holds_over_all_coordinators(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any], versions: tuple[str, str], at_once: bool
) -> None:
    """Also where none takes the jobs of another one. Each device holds one attempt: jobs take long."""
    one, two = planners = await fleet.of(0, 0, **limits)
    await one.connect("android", 4, platform="android")
    await two.connect("ios", 4, platform="ios")
    for version, requirements in zip(versions, (ANDROID, IOS), strict=True):
        await fleet.submit(9, app_version_id=version, requirements=requirements)
    await begin(monkeypatch, planners, "acme", at_once=at_once)
    held = [len(busy(planners)), *[len(busy(planners)) async for _ in play(planners, "acme")]]
    assert (len(held), held[0], max(held)) == (19, 3, 3)


async def test_a_device_that_has_left_a_capped_group_comes_back_only_to_a_place(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was given more while it served; before that was claimed it was done, and a device of another coordinator came,
    for jobs that it may not serve.
    """
    one, two = planners = await fleet.of(0, 0, limits=Limits(group_max_devices=1))
    await one.connect("android", 1, platform="android")
    await two.connect("ios", 1, platform="ios")
    await fleet.submit(5, requirements=ANDROID)
    await fleet.submit(5, requirements=IOS)
    await one.plan("acme")

    async def another_comes() -> None:
        await one.finish_one("android-1")
        await two.plan("acme")

    one.slots["android-1"].free_at = wall_ms()  # so it is given the next job ahead
    one.slots["android-1"].changed()
    before_its_claim(monkeypatch, one, another_comes)
    await one.plan("acme")
    assert busy(planners) == ["ios-1"]


# ---- shares ----


@pytest.mark.parametrize("devices", [(4, 4), (3, 3), (5, 2), (1, 1, 1, 1)])
async def test_equal_orgs_get_equal_shares_but_for_one_device_of_each_coordinator(
    fleet: Fleet, devices: Sequence[int]
) -> None:
    planners = await fleet.of(*devices)
    for org_id in ("acme", "globex"):
        for version in ("v1", "v2"):
            await fleet.submit(60, org_id, app_version_id=version)
    for planner in planners:
        await planner.plan("acme", "globex")
    has = by_org(planners)
    assert has.total() == sum(devices)
    for planner, count in zip(planners, devices, strict=True):
        assert abs(planner.orgs()["acme"] - planner.orgs()["globex"]) == count % 2
    assert abs(has["acme"] - has["globex"]) <= sum(count % 2 for count in devices)


async def test_an_org_that_comes_late_gets_its_half_of_the_devices_of_each_coordinator(fleet: Fleet) -> None:
    planners = await fleet.of(4, 4)
    await fleet.submit(200)
    for planner in planners:
        await planner.plan("acme")
    assert by_org(planners) == {"acme": 8}
    await fleet.submit(200, "globex")
    for planner in planners:
        for device_id in planner.busy:
            await planner.finish_one(device_id)
            planner.slots[device_id].home_since -= round(1000 * TURN_INSTALLS * INSTALL_SECONDS)
            planner.slots[device_id].changed()
            await planner.plan("acme", "globex")
    assert [planner.orgs() for planner in planners] == [{"acme": 2, "globex": 2}] * 2


async def test_an_org_that_only_the_devices_of_one_coordinator_may_serve_has_its_share_of_those(fleet: Fleet) -> None:
    """One that saw all devices would give each org four."""
    one, two = planners = await fleet.of(0, 4)
    await one.connect("android", 4, platform="android")
    await fleet.submit(100, requirements=ANDROID)
    await fleet.submit(100, "globex")
    for planner in planners:
        await planner.plan("acme", "globex")
    assert one.orgs() == {"acme": 2, "globex": 2}
    assert two.orgs() == {"globex": 4}


@pytest.mark.parametrize("limits", [{"quota": 1}, {"limits": Limits(group_max_devices=1)}], ids=["quota", "cap"])
async def test_the_last_place_is_left_to_a_device_of_another_coordinator(fleet: Fleet, limits: dict[str, Any]) -> None:
    """A flow without end would keep the older job from it for ever."""
    one, two = planners = await fleet.of(1, 1, **limits)
    await fleet.submit(5)
    await one.plan("acme")
    await fleet.submit(1, age_seconds=2 * OLDER_SECONDS, requirements=Requirements(device_id="agent-2-1"))
    await two.plan("acme")
    assert busy(planners) == ["agent-1-1"]
    await one.finish_one("agent-1-1")
    for planner in planners:
        await planner.plan("acme")
    assert busy(planners) == ["agent-2-1"]
    await two.finish_one("agent-2-1")
    for planner in planners:
        await planner.plan("acme")
    assert busy(planners) == ["agent-1-1"]
