"""Many at once: reports of the same attempt in one call, and calls of the largest size."""

from __future__ import annotations

from redis import Redis

from qgjob_coordinator.model.enums import ErrorClass, Outcome, Status
from qgjob_coordinator.model.jobs import JobError
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import NOW, ending, release, spec
from tests.fakes.store_audit import audit, leftovers


async def test_an_ending_twice_in_one_batch_is_a_replay(store: Store) -> None:
    job = await scenes.running(store)
    twice = [ending(job.ulid, "t1", Outcome.TEST_FAILED), ending(job.ulid, "t1", Outcome.PASSED)]
    assert [e.word for e in await store.leases.finish("acme", twice, NOW)] == ["APPLIED", "REPLAYED"]
    assert [a.outcome for a in (await scenes.get(store, job)).attempts] == [Outcome.TEST_FAILED]


async def test_a_release_twice_in_one_batch_is_a_replay(store: Store) -> None:
    job = await scenes.running(store)
    assert (await store.leases.release("acme", [release(job.ulid, "t1")] * 2, NOW))[0] == ["APPLIED", "REPLAYED"]


THOUSAND = 1000


async def test_a_thousand_jobs_a_call_go_through_their_whole_life(store: Store, raw: Redis) -> None:
    jobs = [spec(n, run_id="run-1", queue_timeout_ms=60_000, max_retries=0) for n in range(THOUSAND)]
    ids = [j.ulid for j in jobs]
    assert {s.word for s in await scenes.submit(store, *jobs)} == {"NEW"}
    assert {s.word for s in await scenes.submit(store, *jobs)} == {"REPLAYED"}
    claims = [
        scenes.device_claim(jobs[0], *((u, f"a{u}") for u in ids[i : i + 8]), device_id=f"emulator-{i}")
        for i in range(0, THOUSAND, 8)
    ]
    assert sum(len(c.grants) for c in await store.leases.claim("acme", claims, NOW, None, None)) == THOUSAND
    assert set(await store.leases.start("acme", [(u, f"a{u}", NOW) for u in ids], NOW)) == {"APPLIED"}
    endings = [ending(u, f"a{u}", Outcome.TEST_FAILED) for u in ids]
    assert {e.word for e in await store.leases.finish("acme", endings, NOW)} == {"APPLIED"}
    assert {e.word for e in await store.leases.finish("acme", endings, NOW)} == {"REPLAYED"}
    assert {r.word for r in await store.jobs.retry("acme", [(u, 1, None) for u in ids], NOW)} == {"QUEUED"}
    assert {c.word for c in await store.jobs.cancel("acme", [(u, 2) for u in ids], NOW, reason="x")} == {"CANCELLED"}
    assert audit(raw) == []
    assert await store.jobs.retire("acme", Status.CANCELLED, NOW + 1, 0, THOUSAND) == (THOUSAND, THOUSAND)
    assert audit(raw) == []


async def test_thousands_of_leases_of_one_agent_are_adopted_and_swept_at_once(store: Store, raw: Redis) -> None:
    jobs = [spec(n) for n in range(3 * THOUSAND)]
    for i in range(0, len(jobs), THOUSAND):
        await scenes.submit(store, *jobs[i : i + THOUSAND])
    leases = [(j.ulid, f"t{j.ulid}") for j in jobs]
    assert len((await scenes.claim(store, jobs[0], *leases)).grants) == len(jobs)
    await store.leases.start("acme", [(u, t, NOW) for u, t in leases], NOW)
    await store.jobs.cancel("acme", [(u, 1) for u, _ in leases[:500]], NOW, reason="x")
    released, words = await store.leases.adopt("acme", "agent-1", 2, leases[:THOUSAND], NOW, 0.0)
    assert (len(released), words.count("REVOKED"), words.count("ADOPTED")) == (2 * THOUSAND, 500, 500)
    assert len(await store.leases.sweep("acme", "agent-1", 2, NOW, 1.0)) == THOUSAND
    assert audit(raw) == []
    assert len(await store.jobs.promote("acme", NOW + 300_000)) == 500
    assert (await store.snapshots.org("acme", 64)).groups[0].waiting == 2500


async def test_a_thousand_deadlines_come_at_once(store: Store, raw: Redis) -> None:
    jobs = [spec(n, queue_timeout_ms=1000, idempotency_key=f"k{n}") for n in range(THOUSAND)]
    await scenes.submit(store, *jobs)
    due = await store.reads.due_deadlines("acme", NOW + 1000, 2 * THOUSAND)
    assert sorted(due) == [j.ulid for j in jobs]
    error = JobError(ErrorClass.QUEUE_TIMEOUT, "waited too long")
    assert all(await store.jobs.expire("acme", [(u, error) for u in due], NOW + 1000))
    assert audit(raw) == []


async def test_pages_of_thousands_are_walked_without_loss(store: Store) -> None:
    jobs = [spec(n, run_id="run-1") for n in range(1500)]
    for i in range(0, len(jobs), THOUSAND):
        await scenes.submit(store, *jobs[i : i + THOUSAND])
    await store.jobs.cancel("acme", [(j.ulid, 1) for j in jobs[::2]], NOW, reason="x")
    for status, run_id, expected in (
        (None, None, jobs),
        (None, "run-1", jobs),
        (Status.QUEUED, None, jobs[1::2]),
        (Status.CANCELLED, "run-1", jobs[::2]),
    ):
        found, cursor = [], None
        while True:
            page = await store.reads.page("acme", status, run_id, 400, cursor)
            found += [j.ulid for j in page.jobs]
            cursor = page.next_
            if cursor is None:
                break
        assert found == [j.ulid for j in reversed(expected)]


async def test_orders_go_on_when_the_clock_goes_back(store: Store) -> None:
    await scenes.submit(store, spec(1), now=NOW)
    await scenes.submit(store, spec(2), now=NOW - 3_600_000)
    page = await store.reads.page("acme", None, None, 10, None)
    assert [j.ulid for j in page.jobs] == [spec(2).ulid, spec(1).ulid]


async def test_retention_removes_the_logs_of_any_number_of_attempts(store: Store, raw: Redis) -> None:
    await scenes.submit(store, job := spec())
    await store.jobs.cancel("acme", [(job.ulid, 1)], NOW, reason="x")
    tried = 12_345
    raw.hset(f"{keys.org('acme')}j:{job.ulid}", "n", tried)
    raw.rpush(f"{keys.org('acme')}lg:{job.ulid}:{tried}", "the last")
    assert await store.jobs.retire("acme", Status.CANCELLED, NOW + 1, 0, 10) == (1, 1)
    assert leftovers(raw, "acme") == []
