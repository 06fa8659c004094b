"""Estimated starts against real ones: what is remembered, when it is compared, and what is let go."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from qgjob_coordinator.loops import start_check
from qgjob_coordinator.loops.start_check import MOST_NAMED, MOST_REMEMBERED, StartCheck
from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.policy.reasons.pending import StartEstimate
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.views.forecast import NoForecast
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import NOW, release, spec


class World(NoForecast):
    """A clock, and a forecast that expects every job in so many ms."""

    def __init__(self) -> None:
        self.now = NOW
        self.expected_in: int | None = 60_000
        self.asked: list[str] = []

    async def starts(
        self, org_id: str, jobs: Sequence[Job], places: Sequence[int | None], *, fresh: bool = False
    ) -> Sequence[StartEstimate | None]:
        assert fresh
        self.asked += [job.ulid for job in jobs]
        if self.expected_in is None:
            return [None] * len(jobs)
        at = self.now + self.expected_in
        return [StartEstimate(at, at, at)] * len(jobs)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(start_check, "wall_ms", lambda: made.now)
    return made


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
async def check(store: Store, world: World, telemetry: Telemetry) -> StartCheck:
    """A check that has estimated one waiting job."""
    await scenes.open_session(store)
    await scenes.submit(store, job := spec())
    made = StartCheck(store, world, telemetry, faults=OrgFaults(telemetry))
    made.accepted([job])
    await made.round()
    assert world.asked == [job.ulid]
    return made


async def start(store: Store, now: int, token: str = scenes.TOKEN) -> None:
    job = spec()
    assert (await scenes.claim(store, job, (job.ulid, token), now=now)).grants
    assert await store.leases.start("acme", [(job.ulid, token, now)], now) == ["APPLIED"]


def counted(telemetry: Telemetry) -> int:
    return sum(telemetry.start_error.counts)


@pytest.mark.parametrize(
    ("started_in", "error"),
    [(60_000, 0.0), (40_000, 0.5), (120_000, 0.5), (200, 59.8)],
    ids=["as told", "earlier", "later", "at once: shares of a second"],
)
async def test_an_error_is_a_share_of_the_wait(
    store: Store, world: World, telemetry: Telemetry, check: StartCheck, started_in: int, error: float
) -> None:
    await start(store, NOW + started_in)
    world.now = NOW + 130_000
    await check.round()
    assert counted(telemetry) == 1
    assert telemetry.start_error.sum == pytest.approx(error)
    await check.round()
    assert counted(telemetry) == 1


async def test_a_job_is_compared_when_it_should_have_started_and_again_until_it_has(
    store: Store, world: World, telemetry: Telemetry, check: StartCheck
) -> None:
    world.now = NOW + 60_000
    await check.round()
    assert counted(telemetry) == 0
    await start(store, NOW + 61_000)
    world.now = NOW + 65_000  # a tenth of 60 s is not over
    await check.round()
    assert counted(telemetry) == 0
    world.now = NOW + 66_000
    await check.round()
    assert telemetry.start_error.sum == pytest.approx(1 / 61)


async def test_an_attempt_that_never_started_is_no_start(
    store: Store, world: World, telemetry: Telemetry, check: StartCheck
) -> None:
    job = spec()
    await scenes.claim(store, job, (job.ulid, "t0"), now=NOW + 1000)
    released = release(job.ulid, "t0", now=NOW + 2000)
    await store.leases.release("acme", [released], NOW + 2000)
    await start(store, NOW + 120_000, "t1")
    world.now = NOW + 120_000
    await check.round()
    assert telemetry.start_error.sum == pytest.approx(0.5)


async def test_a_job_that_ended_without_a_start_is_let_go(
    store: Store, world: World, telemetry: Telemetry, check: StartCheck
) -> None:
    await store.jobs.cancel("acme", [(spec().ulid, None)], NOW + 1000, reason="not needed")
    world.now = NOW + 60_000
    await check.round()
    assert not check._remembered
    assert counted(telemetry) == 0


async def test_what_does_not_wait_or_has_no_estimate_is_not_remembered(
    store: Store, world: World, telemetry: Telemetry
) -> None:
    check = StartCheck(store, world, telemetry, faults=OrgFaults(telemetry))
    check.accepted([spec(8)])  # deduplicated: no such job
    await scenes.open_session(store)
    check.accepted([await scenes.running(store, spec(2))])
    await check.round()
    assert world.asked == []
    world.expected_in = None
    await scenes.submit(store, job := spec(3))
    check.accepted([job])
    await check.round()
    assert world.asked == [job.ulid]
    assert not check._remembered


async def test_only_so_many_are_named_and_remembered(store: Store, world: World, telemetry: Telemetry) -> None:
    check = StartCheck(store, world, telemetry, faults=OrgFaults(telemetry))
    jobs = [spec(i) for i in range(1, MOST_REMEMBERED + 200)]
    for begin in range(0, len(jobs), MOST_NAMED + 1):
        some = jobs[begin : begin + MOST_NAMED + 1]
        await scenes.submit(store, *some)
        for job in some:
            check.accepted([job])
        await check.round()
        if begin == 0:
            assert len(check._remembered) == MOST_NAMED
    assert len(check._remembered) == MOST_REMEMBERED


def test_one_job_of_a_submission_of_many_is_named(store: Store, world: World, telemetry: Telemetry) -> None:
    check = StartCheck(store, world, telemetry, faults=OrgFaults(telemetry))
    jobs = [spec(i) for i in range(1, 1001)]
    for _ in range(8):
        check.accepted(jobs)
    named = {ulid for _, ulid in check._named}
    assert len(check._named) == 8
    assert len(named) > 1  # not always the first, which starts first
