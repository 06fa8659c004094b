"""Reads that look at many jobs."""

from __future__ import annotations

import asyncio

from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import NOW, ending, spec


async def test_the_oldest_waiting_job_is_found_behind_any_number_that_run(store: Store) -> None:
    jobs = [spec(n) for n in range(700)]
    await scenes.submit(store, *jobs[:600], now=NOW)
    await scenes.submit(store, *jobs[600:], now=NOW + 5000)
    assert await store.reads.oldest_waiting_at("acme") == NOW
    await scenes.claim(store, jobs[0], *((j.ulid, f"t{j.ulid}") for j in jobs[:600]))
    assert await store.reads.oldest_waiting_at("acme") == NOW + 5000
    await scenes.claim(store, jobs[0], *((j.ulid, f"t{j.ulid}") for j in jobs[600:]))
    assert await store.reads.oldest_waiting_at("acme") is None


async def test_jobs_are_answered_in_the_order_asked_for(store: Store) -> None:
    await scenes.submit(store, *(spec(n) for n in range(3)))
    found = await store.reads.get("acme", [spec(2).ulid, "01JUNKNOWN", spec(0).ulid, spec(2).ulid])
    assert [j and j.ulid for j in found] == [spec(2).ulid, None, spec(0).ulid, spec(2).ulid]
    assert await store.reads.get("acme", []) == []


async def test_ids_lead_to_their_jobs_aliases_to_those_they_stand_for(store: Store) -> None:
    job, equal = spec(1), spec(2, test_path=spec(1).test_path)
    await scenes.submit(store, job)
    await scenes.submit(store, equal)
    asked = [equal.ulid, spec(9).ulid, job.ulid]
    assert await store.reads.resolve("acme", asked) == [job.ulid, None, job.ulid]
    assert await store.reads.resolve("globex", asked) == [None, None, None]
    assert await store.reads.resolve("acme", []) == []
    await store.jobs.cancel("acme", [(job.ulid, 1)], NOW, reason="x")
    await store.jobs.retire("acme", Status.CANCELLED, NOW + 1, 0, 100)
    assert await store.reads.resolve("acme", asked) == [None, None, None], "the alias outlives its job"


async def test_one_org_sees_nothing_of_another(store: Store) -> None:
    await scenes.submit(store, spec(1, "acme"))
    await scenes.submit(store, spec(2, "globex"))
    assert await store.reads.get("globex", [spec(1).ulid]) == [None]
    assert [j.ulid for j in (await store.reads.page("globex", None, None, 10, None)).jobs] == [spec(2).ulid]
    assert (await store.snapshots.org("initech", 8)).groups == ()
    assert await store.events.after("initech", "0-0") == []


async def test_a_walk_over_pages_goes_on_while_jobs_come_and_end(store: Store) -> None:
    """Each job that was there all the time is seen once."""
    jobs = [spec(n) for n in range(30)]
    await scenes.submit(store, *jobs)
    seen: list[str] = []
    cursor = None
    for n in range(100, 140):
        page = await store.reads.page("acme", None, None, 2, cursor)
        seen += [j.ulid for j in page.jobs]
        cursor = page.next_
        if cursor is None:
            break
        await scenes.submit(store, spec(n))
        await store.jobs.cancel("acme", [(jobs[n - 100].ulid, 1)], NOW, reason="x")
    assert cursor is None
    assert seen == [j.ulid for j in reversed(jobs)]


async def test_pages_of_running_jobs_follow_their_order(store: Store) -> None:
    jobs = [spec(n) for n in range(5)]
    await scenes.submit(store, *jobs)
    await scenes.claim(store, jobs[0], *((j.ulid, f"t{j.ulid}") for j in jobs))
    await store.leases.start("acme", [(j.ulid, f"t{j.ulid}", NOW) for j in jobs[1:]], NOW)
    first = await store.reads.page("acme", Status.RUNNING, None, 3, None)
    rest = await store.reads.page("acme", Status.RUNNING, None, 3, first.next_)
    assert [j.ulid for j in first.jobs + rest.jobs] == [j.ulid for j in reversed(jobs[1:])]
    assert rest.next_ is None


async def test_events_tell_every_transition_in_order_and_go_on_from_any_of_them(store: Store) -> None:
    job = await scenes.running(store)
    middle = await store.events.last_id("acme")
    await store.leases.finish("acme", [ending(job.ulid, "t1")], NOW)
    told = [t for _, ts in await store.events.after("acme", "0-0") for t in ts]
    assert [(t.version, t.status) for t in told] == [
        (1, Status.QUEUED), (2, Status.SCHEDULED), (3, Status.RUNNING), (4, Status.COMPLETED),
    ]  # fmt: skip
    ((_, later),) = await store.events.after("acme", middle)
    assert [t.outcome for t in later] == ["passed"]
    assert await store.events.first_id("acme") < middle < await store.events.last_id("acme")


async def test_a_hint_reaches_listeners_and_says_how_many(store: Store) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = asyncio.create_task(store.listen(heard.put_nowait))
    async with asyncio.timeout(10):
        while await store.publish("work acme") == 0:
            pass
        assert await heard.get() == "work acme"
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)
