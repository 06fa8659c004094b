"""What a script does to no other job than it should, nor twice: submissions, ends, retention. See test_guards.py."""

from __future__ import annotations

from redis import Redis

from qgjob_coordinator.model.enums import ErrorClass, Outcome, Priority, Status, Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.model.jobs import JobError
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.sessions import Opened, OpenWord
from tests.fakes import scenes
from tests.fakes.jobs import NOW, ending, release, spec

WAITED = JobError(ErrorClass.QUEUE_TIMEOUT, "waited too long")
ORG = keys.org("acme")


async def waiting(store: Store) -> int:
    return sum(g.waiting for g in (await store.snapshots.org("acme", 8)).groups)


# Submissions.


async def test_an_equal_of_what_runs_raises_its_priority_and_puts_it_on_no_queue(store: Store) -> None:
    for n, starts in ((1, True), (3, False)):
        await scenes.submit(store, job := spec(n, priority=Priority.LOW))
        await scenes.claim(store, job, (job.ulid, f"t{n}"))
        if starts:
            await store.leases.start("acme", [(job.ulid, f"t{n}", NOW)], NOW)
        await scenes.submit(store, spec(n + 1, test_path=job.test_path, priority=Priority.HIGH))
        assert (await scenes.get(store, job)).priority is Priority.HIGH
    assert await waiting(store) == 0


async def test_an_id_that_was_not_chosen_is_no_alias_and_is_deduplicated(store: Store, raw: Redis) -> None:
    await scenes.submit(store, first := spec(1))
    (again,) = await scenes.submit(store, spec(2, test_path=first.test_path), own=False)
    assert (again.word, again.ulid) == ("DEDUP", first.ulid)
    assert raw.keys(f"{ORG}al:*") == []


async def test_a_job_whose_time_has_come_waits_for_nothing(store: Store) -> None:
    await scenes.submit(store, job := spec(not_before=NOW - 1))
    assert await waiting(store) == 1
    assert (await scenes.claim(store, job)).grants


async def test_a_call_without_an_operation_is_not_kept(store: Store, raw: Redis) -> None:
    await scenes.submit(store, job := spec())
    await store.jobs.cancel("acme", [(job.ulid, 1)], NOW, reason="by hand")
    assert raw.keys(f"{ORG}op:*") == []


# Ends.


async def test_failures_of_the_infrastructure_have_an_end(store: Store) -> None:
    await scenes.submit(store, job := spec(max_retries=0))
    for n in range(6):
        assert (await scenes.claim(store, job, (job.ulid, f"t{n}"))).grants
        await store.leases.finish("acme", [ending(job.ulid, f"t{n}", Outcome.DEVICE_ERROR)], NOW)
    assert (await scenes.get(store, job)).status is Status.FAILED


async def test_what_comes_back_to_its_queue_has_its_deadline_again(store: Store) -> None:
    await scenes.submit(store, job := spec(queue_timeout_ms=1000))
    await scenes.claim(store, job)
    await store.jobs.expire("acme", [(job.ulid, WAITED)], NOW)
    assert (await store.snapshots.due("acme")).next_deadline_at is None
    await store.leases.release("acme", [release(job.ulid, "t1")], NOW)
    assert (await store.snapshots.due("acme")).next_deadline_at == NOW + 1000


async def test_a_retry_has_the_deadline_that_it_is_given(store: Store) -> None:
    await scenes.submit(store, job := spec())
    await store.jobs.cancel("acme", [(job.ulid, 1)], NOW, reason="by hand")
    await store.jobs.retry("acme", [(job.ulid, 1, NOW + 5000)], NOW)
    assert (await store.snapshots.due("acme")).next_deadline_at == NOW + 5000


async def test_progress_of_a_revoked_lease_changes_nothing(store: Store) -> None:
    job = await scenes.running(store)
    await store.jobs.cancel("acme", [(job.ulid, 1)], NOW, reason="by hand")
    before = await scenes.get(store, job)
    await store.leases.progress("acme", [(job.ulid, "t1", 50)], NOW + 1)
    assert await scenes.get(store, job) == before


async def test_output_of_another_token_is_not_kept(store: Store) -> None:
    job = await scenes.running(store)
    assert await store.logs.append("acme", [(job.ulid, "t9", 0, b"x")]) == ["LATE"]


# Retention.


async def test_what_was_submitted_long_ago_and_ended_lately_is_kept(store: Store) -> None:
    await scenes.submit(store, job := spec(), now=NOW - 60_000)
    await scenes.claim(store, job)
    await store.leases.finish("acme", [ending(job.ulid, "t1")], NOW)
    assert await store.jobs.retire("acme", Status.COMPLETED, NOW - 1000, 0, 10) == (1, 0)


async def test_what_has_a_living_tree_is_kept(store: Store) -> None:
    job = await scenes.running(store)
    await store.jobs.cancel("acme", [(job.ulid, 1)], NOW, reason="by hand")
    assert await store.jobs.retire("acme", Status.CANCELLED, NOW + 1, 0, 10) == (1, 0)
    await store.leases.release("acme", [release(job.ulid, "t1")], NOW)
    assert await store.jobs.retire("acme", Status.CANCELLED, NOW + 1, 0, 10) == (1, 1)


async def test_a_group_keeps_its_name_when_its_queues_are_forgotten(store: Store) -> None:
    job = await scenes.running(store)
    await store.snapshots.tidy("acme")
    groups = (await store.snapshots.org("acme", 8)).groups
    assert [g.app_version_id for g in groups] == [job.app_version_id]


async def test_a_mark_that_was_taken_away_is_taken_away(store: Store) -> None:
    assert await store.jobs._runner.run("cancelled", ORG, ["run-1", "mark reason"]) == ["OK"]


# Epochs.


async def test_an_open_is_the_same_only_with_its_epoch_and_its_life(store: Store) -> None:
    def opens(epoch: int, life: str = "h.1") -> object:
        return store.sessions.open("agent-1", life, epoch, {}, "c-1", ["d"], NOW)

    assert (await opens(1)).word is OpenWord.OPENED  # type: ignore[attr-defined]
    await store.fleet.inventory("agent-1", 1, [DeviceInfo("d", "udid", Target.EMULATOR)], [], NOW, complete=True)
    assert await opens(1, "h.2") == Opened(OpenWord.STALE, 1, "")  # type: ignore[misc]
    assert await opens(2) == Opened(OpenWord.OPENED, 2, "")  # type: ignore[misc]
    assert [row.epoch for row in (await store.sessions.watch())[1]] == [2]
    await store.sessions.observe("agent-1", 2, -1, "timed_out")
    assert await opens(2) == Opened(OpenWord.STALE, 2, "")  # type: ignore[misc]


async def test_an_agent_whose_stream_broke_is_alive(store: Store) -> None:
    await scenes.open_session(store)
    await store.sessions.observe("agent-1", 1, -1, "detached")
    other = await store.sessions.open("agent-1", "twin.1", 9, {}, "c-1", [], NOW)
    assert other.word is OpenWord.IN_USE
