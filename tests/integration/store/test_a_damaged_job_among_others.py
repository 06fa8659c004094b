"""A job that can't be used ends a script before it has changed anything of the others, which are served without it.

Redis takes back nothing of a script that fails in its middle. What was changed of a job by then, and not yet in the
indexes, counts as done when the same is asked for again: nobody would look for that job any more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from qgjob_coordinator.errors import StoreRightsError
from qgjob_coordinator.model.enums import ErrorClass, Outcome, Status, Target
from qgjob_coordinator.model.jobs import JobError
from qgjob_coordinator.store import keys, names
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.damage import damaged, unusable
from tests.fakes.jobs import NOW, ending, overflowing, release, spec, without_build
from tests.fakes.store_audit import audit

JOBS = [spec(n) for n in (1, 2, 3)]
LATER = NOW + 3_600_000
GROUP = names.group_id("v1", Target.EMULATOR)

Call = Callable[[Store], Awaitable[object]]


def token(ulid: str) -> str:
    return f"t{ulid}"


async def submitted(store: Store) -> None:
    await scenes.open_session(store)
    await scenes.submit(store, *JOBS)


async def claimed(store: Store) -> None:
    await submitted(store)
    answer = await scenes.claim(store, JOBS[0], *((job.ulid, token(job.ulid)) for job in JOBS))
    assert len(answer.grants) == len(JOBS)


async def started(store: Store) -> None:
    await claimed(store)
    await store.leases.start("acme", [(job.ulid, token(job.ulid), NOW) for job in JOBS], NOW)


async def delayed(store: Store) -> None:
    await started(store)
    ends = [ending(job.ulid, token(job.ulid), Outcome.TEST_FAILED, share=1.0) for job in JOBS]
    assert all(e.not_before for e in await store.leases.finish("acme", ends, NOW))


async def cancelled(store: Store) -> None:
    await submitted(store)
    await store.jobs.cancel("acme", [(job.ulid, 1) for job in JOBS], NOW, reason="x")


async def with_deadline(store: Store) -> None:
    await scenes.open_session(store)
    await scenes.submit(store, *(spec(n, queue_timeout_ms=1000) for n in (1, 2, 3)))


async def claim(store: Store) -> object:
    claims = [scenes.device_claim(job, (job.ulid, token(job.ulid)), device_id=f"d{n}") for n, job in enumerate(JOBS)]
    return await store.leases.claim("acme", claims, NOW, None, None)


async def start(store: Store) -> object:
    return await store.leases.start("acme", [(job.ulid, token(job.ulid), NOW) for job in JOBS], NOW)


async def finish(store: Store) -> object:
    return await store.leases.finish("acme", [ending(job.ulid, token(job.ulid)) for job in JOBS], NOW)


async def fail(store: Store) -> object:
    ends = [ending(job.ulid, token(job.ulid), Outcome.TEST_FAILED) for job in JOBS]
    return await store.leases.finish("acme", ends, NOW)


async def give_back(store: Store) -> object:
    return await store.leases.release("acme", [release(job.ulid, token(job.ulid)) for job in JOBS], NOW)


async def sweep(store: Store) -> object:
    return await store.leases.sweep("acme", scenes.AGENT, 1, NOW, 0.0)


async def adopt_nothing(store: Store) -> object:
    return await store.leases.adopt("acme", scenes.AGENT, 2, [], NOW, 0.0)


async def promote(store: Store) -> object:
    return await store.jobs.promote("acme", LATER)


async def expire(store: Store) -> object:
    error = JobError(ErrorClass.QUEUE_TIMEOUT, "too long")
    return await store.jobs.expire("acme", [(job.ulid, error) for job in JOBS], LATER)


async def reject(store: Store) -> object:
    return await store.jobs.reject("acme", [without_build(job) for job in JOBS], LATER)


async def cancel(store: Store) -> object:
    return await store.jobs.cancel("acme", [(job.ulid, 1) for job in JOBS], NOW, reason="x")


async def retry(store: Store) -> object:
    return await store.jobs.retry("acme", [(job.ulid, 1, None) for job in JOBS], NOW)


CASES: dict[str, tuple[Call, Call]] = {
    "claim": (submitted, claim),
    "start": (claimed, start),
    "finish": (started, finish),
    "fail": (started, fail),
    "release": (claimed, give_back),
    "release started": (started, give_back),
    "sweep": (claimed, sweep),
    "sweep started": (started, sweep),
    "adopt": (claimed, adopt_nothing),
    "promote": (delayed, promote),
    "expire": (with_deadline, expire),
    "reject": (submitted, reject),
    "cancel": (submitted, cancel),
    "cancel started": (started, cancel),
    "retry": (cancelled, retry),
}


def state(raw: Redis) -> dict[str, bytes | None]:
    """All of the org but the lowest epochs that may claim: raising one again changes nothing."""
    prefix = keys.org("acme")
    found = {str(key).removeprefix(prefix): str(key) for key in raw.keys(f"{prefix}*")}
    return {name: raw.dump(key) for name, key in sorted(found.items()) if name != "fl"}


@pytest.mark.parametrize("case", CASES)
async def test_what_can_not_be_used_of_a_job_changes_nothing_of_another_one(
    case: str, store: Store, raw: Redis
) -> None:
    prepare, call = CASES[case]
    await prepare(store)
    for broken in JOBS:  # a script may take them in any order, and some other one has to be before it
        with damaged(raw, f"j:{broken.ulid}"):
            before = state(raw)
            with pytest.raises(ResponseError, match="WRONGTYPE"):
                await call(store)
            assert state(raw) == before
    await call(store)
    assert audit(raw) == []


@pytest.mark.parametrize("case", ["claim", "start", "finish"])
async def test_a_record_that_lacks_what_each_job_has_changes_nothing_of_another_one(
    case: str, store: Store, raw: Redis
) -> None:
    prepare, call = CASES[case]
    await prepare(store)
    for broken in JOBS:
        with unusable(raw, "lacks a field", {broken.ulid}):
            before = state(raw)
            with pytest.raises(ResponseError):
                await call(store)
            assert state(raw) == before
    await call(store)
    assert audit(raw) == []


@pytest.mark.parametrize(("field", "value"), [("s", "?"), ("s", "s"), ("s", "r"), ("l", "no lease")])
async def test_a_job_that_can_not_be_used_waits_for_its_time_until_it_is_mended(
    field: str, value: str, store: Store, raw: Redis
) -> None:
    """It was taken for one that does not wait."""
    await delayed(store)
    broken = JOBS[1].ulid
    record = f"{keys.org('acme')}j:{broken}"
    kept = raw.dump(record)
    raw.hset(record, field, value)
    assert await store.reads.unusable("acme", [job.ulid for job in JOBS]) == {broken}
    before = state(raw)
    with pytest.raises(ResponseError, match="a record lacks what each job has"):
        await promote(store)
    assert state(raw) == before
    raw.restore(record, 0, kept, replace=True)
    await promote(store)
    assert audit(raw) == []


@pytest.mark.parametrize(("field", "value"), [("i", "?"), ("n", "x"), ("n", "0000007"), ("n", "9" * 18)])
async def test_a_job_that_can_not_be_used_is_left_by_retention_as_it_is_and_no_other_one(
    field: str, value: str, store: Store, raw: Redis
) -> None:
    """It goes over all attempts of a job: more than there can be would stop the store."""
    await cancelled(store)
    ulids = [job.ulid for job in JOBS]
    record = f"{keys.org('acme')}j:{ulids[1]}"
    kept = raw.dump(record)
    raw.hset(record, field, value)
    assert await store.reads.unusable("acme", ulids) == {ulids[1]}
    assert await store.jobs.retire("acme", Status.CANCELLED, LATER, 0, 100) == (3, 2)
    assert [job is not None for job in await store.reads.get("acme", [ulids[0], ulids[2]])] == [False, False]
    raw.restore(record, 0, kept, replace=True)
    assert audit(raw) == []
    assert await store.jobs.retire("acme", Status.CANCELLED, LATER, 0, 100) == (1, 1)
    assert audit(raw) == []


@pytest.mark.parametrize(("field", "value"), [("s", "?"), ("l", "no lease")])
async def test_one_that_left_its_queue_while_it_was_damaged_is_queued_by_a_cancel_and_a_retry(
    field: str, value: str, store: Store, raw: Redis
) -> None:
    """As docs/operations.md has it, when its record is mended."""
    await submitted(store)
    broken = JOBS[1].ulid
    record = f"{keys.org('acme')}j:{broken}"
    kept = raw.dump(record)
    raw.hset(record, field, value)
    await claim(store)
    raw.restore(record, 0, kept, replace=True)
    await store.jobs.cancel("acme", [(broken, 1)], NOW, reason="x")
    await store.jobs.retry("acme", [(broken, 1, None)], NOW)
    (job,) = await store.reads.get("acme", [broken])
    assert job is not None
    assert job.status is Status.QUEUED
    assert audit(raw) == []
    assert (await scenes.claim(store, JOBS[1], (broken, "again"))).grants


async def test_all_jobs_that_can_not_be_used_are_named_at_once(store: Store, raw: Redis) -> None:
    """By their records, of another type or without what each job has, or by their texts."""
    jobs = [spec(n) for n in range(1, 8)]
    ulids = [job.ulid for job in jobs]
    await scenes.submit(store, *jobs)
    assert await store.reads.unusable("acme", [*ulids, spec(99).ulid]) == set(), "one that is not there is not damaged"
    raw.set(f"{keys.org('acme')}d:{ulids[0]}", "no JSON")
    with (
        unusable(raw, "another type", {ulids[1], ulids[2]}),
        unusable(raw, "lacks a field", {ulids[4]}),
    ):
        raw.delete(f"{keys.org('acme')}d:{ulids[5]}")
        raw.rpush(f"{keys.org('acme')}d:{ulids[5]}", "of another type")
        assert await store.reads.unusable("acme", ulids) == {ulids[n] for n in (0, 1, 2, 4, 5)}


async def test_a_right_that_lacks_is_no_damage_of_a_job(store: Store, raw: Redis) -> None:
    await submitted(store)
    raw.execute_command("ACL", "SETUSER", "default", "-hgetall")
    try:
        with pytest.raises(StoreRightsError):
            await store.reads.unusable("acme", [JOBS[0].ulid])
    finally:
        raw.execute_command("ACL", "SETUSER", "default", "+hgetall")


async def test_a_job_that_two_devices_claim_at_once_is_granted_once(store: Store, raw: Redis) -> None:
    await submitted(store)
    job = JOBS[0]
    claims = [scenes.device_claim(job, (job.ulid, f"t{n}"), device_id=f"d{n}") for n in range(2)]
    answers = await store.leases.claim("acme", claims, NOW, None, None)
    assert [len(answer.grants) for answer in answers] == [1, 0]
    assert audit(raw) == []


async def test_a_start_that_is_reported_twice_at_once_counts_once(store: Store, raw: Redis) -> None:
    await claimed(store)
    row = (JOBS[0].ulid, token(JOBS[0].ulid), NOW)
    assert await store.leases.start("acme", [row, row], NOW) == ["APPLIED", "REPLAYED"]
    assert audit(raw) == []


async def test_an_end_that_is_reported_twice_at_once_counts_once(store: Store, raw: Redis) -> None:
    await started(store)
    ends = [ending(JOBS[0].ulid, token(JOBS[0].ulid), Outcome.TEST_FAILED)] * 2
    assert [e.word for e in await store.leases.finish("acme", ends, NOW)] == ["APPLIED", "REPLAYED"]
    assert audit(raw) == []


async def test_a_text_that_can_not_be_read_leaves_the_other_jobs_as_they_were(store: Store, raw: Redis) -> None:
    """A retry takes the name of the group from it."""
    await cancelled(store)
    text = f"{keys.org('acme')}d:{JOBS[1].ulid}"
    kept = raw.getset(text, "no JSON")
    before = state(raw)
    with pytest.raises(ResponseError):
        await retry(store)
    assert state(raw) == before
    raw.set(text, kept)
    await retry(store)
    assert audit(raw) == []


async def test_an_end_whose_lesson_can_not_be_kept_changes_nothing_and_is_told_again_as_new(
    store: Store, raw: Redis
) -> None:
    await started(store)
    with damaged(raw, "est"):
        before = state(raw)
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await finish(store)
        assert state(raw) == before
    ends = [ending(job.ulid, token(job.ulid)) for job in JOBS]
    assert [e.word for e in await store.leases.finish("acme", ends, NOW)] == ["APPLIED"] * len(JOBS)
    assert audit(raw) == []


async def test_an_end_that_teaches_nothing_needs_no_place_for_it(store: Store, raw: Redis) -> None:
    await started(store)
    ends = [ending(job.ulid, token(job.ulid), Outcome.DEVICE_ERROR) for job in JOBS]
    with damaged(raw, "est"):
        assert [e.word for e in await store.leases.finish("acme", ends, NOW)] == ["APPLIED"] * len(JOBS)


@pytest.mark.parametrize("text", ["x", "1", "1 x", "1 1 1 1", "-1 1", ""])
async def test_what_was_learned_and_can_not_be_read_is_as_if_it_were_not_there(
    text: str, store: Store, raw: Redis
) -> None:
    org = keys.org("acme")
    learned = org + "est"
    await scenes.running(store, JOBS[0])
    await store.leases.finish("acme", [ending(JOBS[0].ulid, "t1")], NOW)
    fresh = raw.hgetall(learned)
    for field in fresh:
        raw.hset(learned, field, text)
    await scenes.running(store, replace(JOBS[0], ulid=JOBS[1].ulid))
    assert len(str(raw.hget(f"{org}j:{JOBS[1].ulid}", "i")).split(" ")) == len(("gid", "order", "priority", "retries"))
    raw.hset(f"{org}g:{GROUP}", "m", text)
    await store.leases.finish("acme", [ending(JOBS[1].ulid, "t1")], NOW)
    assert raw.hgetall(learned) == fresh
    assert audit(raw) == []


@pytest.mark.parametrize(
    "suffix", ["ix:a", "gs", "ct", f"g:{GROUP}", f"q:{GROUP}:", "dd", "est", "dl", "qx", "ov", "rj:r1"]
)
async def test_a_job_that_can_not_be_queued_is_not_there_when_it_is_submitted_again(
    suffix: str, store: Store, raw: Redis
) -> None:
    """What is there counts as accepted before."""
    seldom = overflowing(1, not_before=LATER, queue_timeout_ms=1000, run_id="r1")
    job = seldom if suffix in ("dl", "qx", "ov", "rj:r1") else spec(1)
    with damaged(raw, suffix):
        before = state(raw)
        for _ in range(2):
            with pytest.raises(ResponseError, match="WRONGTYPE"):
                await scenes.submit(store, job)
        assert state(raw) == before
    await scenes.submit(store, job)
    assert audit(raw) == []
