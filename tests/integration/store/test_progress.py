"""Progress of running attempts, and their log tails."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import pytest
from redis import Redis

from qgjob_coordinator.model.enums import Outcome, Phase, Status, Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.service.agents.messages import PROTOCOL_VERSION, Held, Hello
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.endings import Release, ReleaseCharge
from tests.fakes import scenes
from tests.fakes.jobs import NOW, ending, spec
from tests.fakes.planner import Planner
from tests.fakes.scenes import AGENT, DEVICE


async def test_progress_is_shown_and_the_same_again_is_no_news(store: Store) -> None:
    job = await scenes.running(store)
    for _ in range(2):
        await store.leases.progress("acme", [(job.ulid, "t1", 40)], NOW + 5)
        shown = await scenes.get(store, job)
        assert (shown.progress, shown.version, shown.updated_at) == (40, 4, NOW + 5)


async def test_progress_of_an_old_token_is_dropped(store: Store) -> None:
    job = await scenes.running(store)
    await store.leases.progress("acme", [(job.ulid, "t0", 40), ("01JUNKNOWN", "t1", 40)], NOW)
    assert (await scenes.get(store, job)).progress == 0


async def test_a_log_is_kept_by_offset_so_that_what_comes_twice_is_cut_off(store: Store) -> None:
    job = await scenes.running(store)
    pieces = [(job.ulid, "t1", 0, b"abc"), (job.ulid, "t1", 2, b"cde\xff"), (job.ulid, "t1", 1, b"bcd")]
    assert await store.logs.append("acme", pieces) == ["APPLIED", "APPLIED", "REPLAYED"]
    assert await store.logs.read("acme", job.ulid, 1) == [(0, b"abc"), (3, b"de\xff")]


async def test_a_log_keeps_its_tail_and_its_gaps(store: Store) -> None:
    job = await scenes.running(store)
    kilobyte = b"x" * 1024
    pieces = [(job.ulid, "t1", i * 1024, kilobyte) for i in range(100) if i != 90]
    await store.logs.append("acme", pieces)
    kept = await store.logs.read("acme", job.ulid, 1)
    assert [offset // 1024 for offset, _ in kept] == [i for i in range(35, 100) if i != 90]


async def ends_in(raw: Redis, *attempts: int) -> list[float]:
    """Hours until the tails of the attempts are forgotten, rounded up."""
    return [math.ceil(raw.pttl(f"{keys.org('acme')}lg:{spec(1).ulid}:{n}") / keys.LOG_TTL_MS) for n in attempts]


async def failed_with_a_log(store: Store) -> None:
    await store.logs.append("acme", [(spec(1).ulid, "t1", 0, b"abc")])
    await store.leases.finish("acme", [ending(spec(1).ulid, "t1", Outcome.TEST_FAILED, has_log=True)], NOW)


async def test_the_log_of_each_attempt_is_kept_until_an_hour_after_the_verdict(store: Store, raw: Redis) -> None:
    await scenes.running(store)
    await failed_with_a_log(store)
    assert await ends_in(raw, 1) == [720], "the job waits for its retry"
    await store.jobs.promote("acme", NOW + 3_600_000)
    assert (await scenes.claim(store, spec(1), (spec(1).ulid, "t2"))).grants
    await store.logs.append("acme", [(spec(1).ulid, "t2", 0, b"def")])
    assert await ends_in(raw, 1, 2) == [720, 720]
    await store.leases.finish("acme", [ending(spec(1).ulid, "t2", has_log=True)], NOW)
    assert await ends_in(raw, 1, 2) == [1, 1]


async def test_a_cancel_before_the_retry_is_a_verdict_for_the_log_too(store: Store, raw: Redis) -> None:
    await scenes.running(store)
    await failed_with_a_log(store)
    await store.jobs.cancel("acme", [(spec(1).ulid, 1)], NOW, reason="x")
    assert await ends_in(raw, 1) == [1]


async def cancelled_and_dead(store: Store) -> None:
    await store.jobs.cancel("acme", [(spec(1).ulid, 1)], NOW, reason="x")
    await store.logs.append("acme", [(spec(1).ulid, "t1", 3, b"killed")])
    dead = Release(spec(1).ulid, "t1", NOW, ReleaseCharge.NOBODY, "", 0.0)
    assert (await store.leases.release("acme", [dead], NOW))[0] == ["APPLIED"]


async def lost_with_its_session(store: Store) -> None:
    await store.leases.sweep("acme", AGENT, 1, NOW, 0.0)


async def not_shown_again(store: Store) -> None:
    await store.leases.adopt("acme", AGENT, 2, [], NOW, 0.0)


@pytest.mark.parametrize(
    ("end", "hours"), [(cancelled_and_dead, 1), (lost_with_its_session, 720), (not_shown_again, 720)]
)
async def test_the_log_of_an_attempt_without_an_outcome_ends_after_the_verdict_too(
    store: Store, raw: Redis, end: Callable[[Store], Awaitable[None]], hours: int
) -> None:
    await scenes.running(store)
    await store.logs.append("acme", [(spec(1).ulid, "t1", 0, b"abc")])
    await end(store)
    assert await ends_in(raw, 1) == [hours], "a job that is to be retried has no verdict"


@pytest.mark.parametrize("end", [lost_with_its_session, not_shown_again])
async def test_the_log_of_the_attempt_with_which_a_job_is_given_up_ends_after_the_verdict(
    store: Store, raw: Redis, end: Callable[[Store], Awaitable[None]]
) -> None:
    await scenes.running(store)
    raw.hset(f"{keys.org('acme')}j:{spec(1).ulid}", "pz", "another-agent")
    await store.logs.append("acme", [(spec(1).ulid, "t1", 0, b"abc")])
    await end(store)
    assert (await scenes.get(store, spec(1))).status is Status.FAILED
    assert await ends_in(raw, 1) == [1]


async def test_a_session_that_takes_an_attempt_over_ends_its_log_too(store: Store, raw: Redis, redis_url: str) -> None:
    await scenes.running(store)
    await store.logs.append("acme", [(spec(1).ulid, "t1", 0, b"abc")])
    held = Held("acme", spec(1).ulid, "t1", 1, Phase.RUNNING, DEVICE)
    infos = (DeviceInfo(DEVICE, DEVICE, Target.EMULATOR),)
    async with Planner(Store(redis_url), "c1") as planner:
        live = await planner._sessions.open(Hello(PROTOCOL_VERSION, AGENT, "h.1", 2, "v", "host", infos, (held,), 100))
        planner._lives.append(live)
        await planner.finish_one(DEVICE)
    assert (await scenes.get(store, spec(1))).status is Status.COMPLETED
    assert await ends_in(raw, 1) == [1]


async def test_a_log_that_comes_after_the_lease_is_late_and_what_was_kept_ends_by_itself(store: Store) -> None:
    job = await scenes.running(store)
    await store.logs.append("acme", [(job.ulid, "t1", 0, b"abc")])
    await store.leases.finish("acme", [ending(job.ulid, "t1", has_log=True)], NOW)
    assert await store.logs.append("acme", [(job.ulid, "t1", 3, b"def")]) == ["LATE"]
    assert await store.logs.read("acme", job.ulid, 1) == [(0, b"abc")]
