"""What the store does with a job that has a second target: it goes there once, or is claimed where it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from qgjob_coordinator.model.enums import Outcome, Priority, Status, Target
from qgjob_coordinator.model.jobs import JobSpec, Overflow
from qgjob_coordinator.store import names
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.asked import CancelWord, RetryWord
from qgjob_coordinator.store.types.claims import Claimed
from qgjob_coordinator.store.types.submissions import SubmitWord
from qgjob_coordinator.store.types.waiting import OverflowWord
from tests.fakes import scenes
from tests.fakes.jobs import NOW, ending, judged, overflowing, release, spec, unresolvable
from tests.fakes.store_audit import audit

THERE = names.group_id("v1", Target.BROWSERSTACK)
MOVED, STAYS, CHANGED, GONE = OverflowWord.MOVED, OverflowWord.STAYS, OverflowWord.CHANGED, OverflowWord.GONE


@pytest.fixture(autouse=True)
def sound(raw: Redis) -> Iterator[None]:
    """Indexes, counters and queues agree with the jobs when a test ends."""
    yield
    assert audit(raw) == []


async def move(store: Store, *jobs: JobSpec, now: int = NOW, **how: Any) -> list[OverflowWord]:
    return await store.jobs.overflow("acme", [judged(job, **how) for job in jobs], now)


async def claim_there(store: Store, job: JobSpec, token: str = "t1") -> Claimed:  # noqa: S107 - a lease's
    return await scenes.claim(store, job, (job.ulid, token), gid=THERE, device_id="browserstack-1")


async def waiting(store: Store) -> dict[tuple[Target, str], list[str]]:
    """The ULIDs that wait, by target and requirements."""
    seen = await store.snapshots.org("acme", 64)
    return {
        (group.target, names.signature(queue.requirements)): [head.ulid for head in queue.heads]
        for group in seen.groups
        for queue in group.queues
    }


async def due(store: Store, now: int) -> list[str]:
    return await store.reads.due_overflows("acme", now, 100)


async def test_a_job_that_goes_is_of_its_second_target_and_tells_why(store: Store) -> None:
    job = overflowing()
    await scenes.submit(store, job)
    assert await move(store, job, now=NOW + 70_000) == [MOVED]
    found = await scenes.get(store, job)
    assert (found.status, found.target, found.version, found.updated_at) == (
        Status.QUEUED,
        Target.BROWSERSTACK,
        2,
        NOW + 70_000,
    )
    assert found.overflow == Overflow(
        Target.BROWSERSTACK, 60_000, None, Target.EMULATOR, NOW + 70_000, expected_wait_ms=340_000
    )
    assert await due(store, NOW * 2) == []


async def test_the_reason_may_be_that_no_start_was_to_be_expected(store: Store) -> None:
    await scenes.submit(store, overflowing())
    await move(store, overflowing(), wait=None)
    found = (await scenes.get(store, overflowing())).overflow
    assert found is not None
    assert found.moved_at == NOW
    assert found.expected_wait_ms is None


async def test_it_stands_there_by_its_class_and_age_as_what_was_submitted_for_it(store: Store) -> None:
    there = [spec(n, target=Target.BROWSERSTACK) for n in (1, 4)]
    old, young = overflowing(2), overflowing(5)
    high = overflowing(6, priority=Priority.HIGH)
    for job in (there[0], old, there[1], young, high):
        await scenes.submit(store, job)
    assert await move(store, young, high, old) == [MOVED] * 3
    assert await waiting(store) == {(Target.BROWSERSTACK, ""): [j.ulid for j in (high, there[0], old, there[1], young)]}
    assert await store.reads.positions("acme", [high.ulid, young.ulid]) == [1, 5]


async def test_it_takes_its_requirements_along_and_groups_that_are_left_end(store: Store) -> None:
    job = overflowing(requirements=scenes_requirements())
    await scenes.submit(store, job)
    await move(store, job)
    (group,) = (await store.snapshots.org("acme", 8)).groups
    assert (group.gid, group.app_version_id, group.target, group.unfinished) == (THERE, "v1", Target.BROWSERSTACK, 1)
    assert [queue.requirements for queue in group.queues] == [job.requirements]


def scenes_requirements() -> Any:
    return names.parse_signature('{"p":"android"}')[0]


async def test_what_is_expected_of_it_is_what_its_test_took_there(store: Store) -> None:
    await scenes.open_session(store)
    for n, target, took in ((1, Target.EMULATOR, 1000), (2, Target.BROWSERSTACK, 9000)):
        known = spec(n, target=target, test_path="tests/same.spec.ts", no_dedup=True)
        await scenes.running(store, known, gid=names.group_id("v1", target))
        await store.leases.finish("acme", [ending(known.ulid, "t1", duration_ms=took)], NOW)
    job = overflowing(3, test_path="tests/same.spec.ts")
    await scenes.submit(store, job)
    await move(store, job)
    (group,) = (await store.snapshots.org("acme", 8)).groups
    assert [head.seconds for head in group.queues[0].heads] == [9.0]


async def test_its_device_is_told_the_target_that_it_went_to(store: Store) -> None:
    await scenes.open_session(store)
    await scenes.submit(store, overflowing())
    await move(store, overflowing())
    (grant,) = (await claim_there(store, overflowing())).grants
    assert grant.spec["g"] == "browserstack"


async def test_a_claim_that_was_first_wins(store: Store) -> None:
    await scenes.open_session(store)
    job = overflowing()
    await scenes.submit(store, job)
    assert (await scenes.claim(store, job)).grants
    assert await move(store, job) == [GONE]
    assert (await scenes.get(store, job)).target is Target.EMULATOR
    assert (await scenes.claim(store, job)).grants  # its answer was lost: the same token is granted again


async def test_a_claim_that_comes_after_it_gets_nothing(store: Store) -> None:
    await scenes.open_session(store)
    job = overflowing()
    await scenes.submit(store, job)
    assert await move(store, job) == [MOVED]
    assert not (await scenes.claim(store, job)).grants
    assert (await claim_there(store, job, "t2")).grants


async def test_of_two_that_decide_at_once_one_moves_it(store: Store) -> None:
    job = overflowing()
    await scenes.submit(store, job)
    assert await move(store, job, now=NOW + 1) == [MOVED]
    assert await move(store, job, now=NOW + 2, moves=False) == [GONE]
    assert await move(store, job, now=NOW + 3, version=2) == [GONE]
    found = (await scenes.get(store, job)).overflow
    assert found is not None
    assert found.moved_at == NOW + 1


async def test_one_that_changed_since_it_was_judged_is_judged_anew(store: Store) -> None:
    job = overflowing()
    await scenes.submit(store, job)
    again = replace(job, ulid=spec(9).ulid, priority=Priority.HIGH)
    assert [s.word for s in await scenes.submit(store, again)] == [SubmitWord.DEDUP]
    assert await move(store, job) == [CHANGED]
    assert await due(store, NOW) == [job.ulid]
    assert await move(store, job, version=2) == [MOVED]


async def test_one_that_stays_is_due_at_the_time_that_was_named(store: Store) -> None:
    job = overflowing()
    await scenes.submit(store, job)
    assert await due(store, NOW) == [job.ulid]
    assert await move(store, job, moves=False, again=NOW + 7000) == [STAYS]
    assert await due(store, NOW + 6999) == []
    assert (await store.snapshots.due("acme")).next_overflow_at == NOW + 7000
    assert (await scenes.get(store, job)).version == 1


async def test_one_that_waits_for_its_time_is_due_then(store: Store) -> None:
    job = overflowing(not_before=NOW + 10_000)
    await scenes.submit(store, job)
    assert await due(store, NOW + 9999) == []
    assert await move(store, job, again=NOW + 20_000) == [STAYS]
    await store.jobs.promote("acme", NOW + 10_000)
    assert await move(store, job, version=2) == [MOVED]


async def test_a_cancel_that_was_first_wins_and_one_after_it_finds_the_job_where_it_went(store: Store) -> None:
    first, second = overflowing(1), overflowing(2)
    await scenes.submit(store, first, second)
    await store.jobs.cancel("acme", [(first.ulid, 1)], NOW, reason="no need")
    assert await due(store, NOW) == [second.ulid]
    assert await move(store, first, second) == [GONE, MOVED]
    (cancelled,) = await store.jobs.cancel("acme", [(second.ulid, 1)], NOW, reason="no need")
    assert (cancelled.word, cancelled.target) == (CancelWord.CANCELLED, Target.BROWSERSTACK)
    assert await waiting(store) == {}


async def test_one_that_is_given_back_unstarted_may_go_and_one_that_was_tried_may_not(store: Store) -> None:
    await scenes.open_session(store)
    fresh, tried = overflowing(1), overflowing(2)
    await scenes.submit(store, fresh, tried)
    await scenes.claim(store, fresh, (fresh.ulid, "t1"), (tried.ulid, "t2"))
    assert await move(store, fresh, tried) == [GONE, GONE]
    assert await due(store, NOW) == []
    await store.leases.start("acme", [(tried.ulid, "t2", NOW)], NOW)
    await store.leases.finish("acme", [ending(tried.ulid, "t2", Outcome.TEST_FAILED)], NOW)
    await store.leases.release("acme", [release(fresh.ulid, "t1")], NOW)
    assert await due(store, NOW) == [fresh.ulid]
    versions = [(await scenes.get(store, job)).version for job in (fresh, tried)]
    rows = [judged(job, version) for job, version in zip((fresh, tried), versions, strict=True)]
    assert await store.jobs.overflow("acme", rows, NOW) == [MOVED, GONE]


async def test_a_retry_stays_where_the_job_went(store: Store) -> None:
    await scenes.open_session(store)
    job = overflowing()
    await scenes.submit(store, job)
    await move(store, job)
    await claim_there(store, job)
    await store.leases.finish("acme", [unresolvable(job.ulid, "t1")], NOW)
    assert [r.word for r in await store.jobs.retry("acme", [(job.ulid, 1, None)], NOW)] == [RetryWord.QUEUED]
    (group,) = (await store.snapshots.org("acme", 8)).groups
    assert (group.gid, group.target) == (THERE, Target.BROWSERSTACK)
    assert (await claim_there(store, job, "t2")).grants


async def test_a_round_begun_by_hand_before_any_attempt_waits_from_then_on(store: Store) -> None:
    job = overflowing()
    await scenes.submit(store, job)
    await store.jobs.cancel("acme", [(job.ulid, 1)], NOW, reason="later")
    for round_, now in ((1, NOW + 5000), (2, NOW + 9000)):
        await store.jobs.retry("acme", [(job.ulid, round_, None)], now)
        found = (await scenes.get(store, job)).overflow
        assert found is not None
        assert (found.after_ms, found.since) == (60_000, now)
        assert await due(store, now) == [job.ulid]
        await store.jobs.cancel("acme", [(job.ulid, round_ + 1)], now, reason="later")


async def test_retention_removes_one_that_went_from_the_counts_of_its_second_target(store: Store) -> None:
    await scenes.open_session(store)
    job = overflowing()
    await scenes.submit(store, job)
    await move(store, job)
    await claim_there(store, job)
    await store.leases.finish("acme", [ending(job.ulid, "t1")], NOW)
    assert (await store.reads.counters("acme"))[0][Status.COMPLETED, Target.BROWSERSTACK] == 1
    await store.jobs.retire("acme", Status.COMPLETED, NOW + 1, 0, 10)
    assert not any((await store.reads.counters("acme"))[0].values())


async def test_one_that_may_go_elsewhere_is_no_equal_of_one_that_may_not(store: Store) -> None:
    one, other, longer = (
        overflowing(1),
        spec(2, test_path=spec(1).test_path),
        overflowing(3, test_path=spec(1).test_path),
    )
    longer.overflow = Overflow(Target.BROWSERSTACK, 90_000)
    words = [s.word for s in await scenes.submit(store, one, other, longer)]
    assert words == [SubmitWord.NEW, SubmitWord.NEW, SubmitWord.DEDUP]


async def test_jobs_without_a_second_target_are_never_due(store: Store) -> None:
    await scenes.submit(store, spec(1), spec(2))
    assert (await store.snapshots.due("acme")).next_overflow_at is None
    assert await move(store, spec(1), overflowing(3)) == [GONE, GONE]


async def test_two_ways_at_once_leave_both_groups_as_they_should_be(store: Store) -> None:
    out = overflowing(1)
    back = spec(2, target=Target.BROWSERSTACK, overflow=Overflow(Target.EMULATOR, 60_000))
    await scenes.submit(store, out, back)
    assert await move(store, out, back) == [MOVED, MOVED]
    assert await waiting(store) == {(Target.BROWSERSTACK, ""): [out.ulid], (Target.EMULATOR, ""): [back.ulid]}
