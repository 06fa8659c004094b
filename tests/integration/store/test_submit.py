"""Submissions that meet earlier ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from qgjob_coordinator.model.enums import Outcome, Priority, Status, Target
from qgjob_coordinator.model.jobs import Requirements
from qgjob_coordinator.store import names
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.submissions import SubmitConflictError
from tests.fakes import scenes
from tests.fakes.jobs import NOW, ending, spec
from tests.fakes.store_audit import audit

PATH = "tests/the-one.spec.ts"
OTHER_CONTENT: list[dict[str, object]] = [
    {"test_path": "other.spec.ts"},
    {"app_version_id": "v2"},
    {"target": Target.DEVICE},
    {"requirements": Requirements(platform="ios")},
    {"env": {"A": "1"}},
    {"suite_digest": "ab" * 32},
    {"priority": Priority.HIGH},
    {"max_retries": 9},
    {"not_before": NOW + 1},
    {"timeout_ms": 5},
    {"queue_timeout_ms": 5},
    {"no_dedup": True},
]


async def test_a_late_replay_of_a_deduplicated_submit_does_not_put_the_job_back_on_its_run(store: Store) -> None:
    first, equal = spec(1, run_id="run-1"), spec(2, test_path=spec(1).test_path, run_id="run-2")
    await scenes.submit(store, first)
    assert [s.word for s in await scenes.submit(store, equal)] == ["DEDUP"]
    await store.jobs.cancel("acme", [(first.ulid, 1)], NOW, reason="superseded", run_id="run-2")
    assert [(s.word, s.ulid) for s in await scenes.submit(store, equal)] == [("DEDUP", first.ulid)]
    assert (await scenes.get(store, first)).run_ids == ["run-1"]


async def test_an_id_that_was_deduplicated_makes_no_job_later_in_the_same_call(store: Store) -> None:
    first, equal = spec(1), spec(2, test_path=spec(1).test_path)
    answers = await scenes.submit(store, first, equal, equal)
    assert [(s.word, s.ulid) for s in answers] == [("NEW", first.ulid), ("DEDUP", first.ulid), ("DEDUP", first.ulid)]


async def test_an_id_with_another_content_is_a_conflict_and_changes_nothing(store: Store) -> None:
    await scenes.submit(store, spec(1))
    with pytest.raises(SubmitConflictError) as e:
        await scenes.submit(store, spec(2), spec(3), spec(1, priority=Priority.HIGH))
    assert e.value.index == 2
    assert await store.reads.get("acme", [spec(2).ulid, spec(3).ulid]) == [None, None]


@pytest.mark.parametrize("changes", [{"test_path": "other.spec.ts"}, {"priority": Priority.HIGH}], ids=str)
async def test_an_id_that_was_deduplicated_is_not_free_for_another_content(
    store: Store, changes: dict[str, object]
) -> None:
    equal = {"test_path": spec(1).test_path}
    await scenes.submit(store, spec(1), spec(2, **equal))
    with pytest.raises(SubmitConflictError) as e:
        await scenes.submit(store, spec(3), spec(2, **equal | changes))
    assert e.value.index == 1
    with pytest.raises(SubmitConflictError):
        await scenes.submit(store, spec(4), spec(5, test_path=spec(4).test_path), spec(5, **changes))
    assert (await scenes.get(store, spec(2, **equal))).ulid == spec(1).ulid


async def test_other_defaults_than_the_first_time_are_no_conflict(store: Store) -> None:
    left_out = {"own_priority": False, "own_max_retries": False}
    await scenes.submit(store, spec(1, **left_out))
    again = spec(1, **left_out, priority=Priority.HIGH, max_retries=9)
    assert [s.word for s in await scenes.submit(store, again)] == ["REPLAYED"]


async def test_each_queue_of_a_group_is_known_to_plans_whenever_a_job_comes(store: Store, raw: Redis) -> None:
    """Also one that came to a group that was there, and one that was empty and forgotten."""

    async def waiting() -> list[int]:
        groups = (await store.snapshots.org("acme", 8)).groups
        return sorted(queue.waiting for group in groups for queue in group.queues)

    await scenes.submit(store, spec(1), spec(2))
    assert await waiting() == [2]
    await scenes.submit(store, spec(3, requirements=Requirements(platform="ios")))
    assert await waiting() == [1, 2]
    await scenes.claim(store, spec(1), *((spec(n).ulid, f"t{n}") for n in (1, 2)))
    assert await store.snapshots.tidy("acme") == 1
    assert await waiting() == [1]
    await scenes.submit(store, spec(4), spec(5, app_version_id="v2"))
    assert await waiting() == [1, 1, 1]
    assert audit(raw) == []


async def test_an_equal_job_gets_the_higher_priority_and_moves_up_its_queue(store: Store) -> None:
    await scenes.submit(store, spec(1), spec(2))
    await scenes.submit(store, spec(3, test_path=spec(2).test_path, priority=Priority.HIGH))
    assert await store.reads.positions("acme", [spec(1).ulid, spec(2).ulid]) == [2, 1]
    await scenes.submit(store, spec(4, test_path=spec(2).test_path, priority=Priority.LOW))
    assert (await scenes.get(store, spec(2))).priority is Priority.HIGH


@pytest.mark.parametrize("in_one_call", [True, False])
async def test_equals_of_one_call_each_bring_the_job_what_is_theirs(
    in_one_call: bool, store: Store, raw: Redis
) -> None:
    job = spec(1, run_id="a", priority=Priority.LOW)
    equals = [
        spec(2, test_path=job.test_path, run_id="b", priority=Priority.HIGH),
        spec(3, test_path=job.test_path, run_id="c", priority=Priority.MEDIUM, idempotency_key="k1"),
        spec(4, test_path=job.test_path, run_id="d", priority=Priority.MEDIUM, idempotency_key="k2"),
    ]
    for call in [[job, *equals]] if in_one_call else [[job], equals]:
        await scenes.submit(store, *call)
    found = await scenes.get(store, job)
    assert (found.run_ids, found.priority, found.version) == (["a", "b", "c", "d"], Priority.HIGH, 4)
    assert [s.word for s in await scenes.submit(store, *equals)] == ["DEDUP"] * len(equals)
    assert audit(raw) == []


async def test_leaving_one_of_two_runs_keeps_the_job_and_leaving_the_last_cancels_it(store: Store) -> None:
    await scenes.submit(store, spec(1, run_id="a"))
    await scenes.submit(store, spec(2, test_path=spec(1).test_path, run_id="b"))

    async def leave(run_id: str) -> tuple[str, Status]:
        word = (await store.jobs.cancel("acme", [(spec(1).ulid, 1)], NOW, reason="", run_id=run_id))[0].word
        return word, (await scenes.get(store, spec(1))).status

    assert await leave("c") == ("OUTSIDE", Status.QUEUED)
    assert await leave("a") == ("DETACHED", Status.QUEUED)
    assert await leave("a") == ("OUTSIDE", Status.QUEUED)
    assert await leave("b") == ("CANCELLED", Status.CANCELLED)


async def test_a_direct_submission_holds_a_job_that_its_run_leaves(store: Store) -> None:
    await scenes.submit(store, spec(1, run_id="a"))
    await scenes.submit(store, spec(2, test_path=spec(1).test_path))
    answer = await store.jobs.cancel("acme", [(spec(1).ulid, 1)], NOW, reason="", run_id="a")
    assert answer[0].word == "DETACHED"


# Idempotency keys.


def entry_of(key: str) -> str:
    """Where the store keeps what a key stands for."""
    return f"qg:o:{{acme}}:ik:{names.digest_key(key)}"


async def pass_(store: Store, ulid: str) -> None:
    """A job that runs passes."""
    await store.leases.finish("acme", [ending(ulid, scenes.TOKEN, Outcome.PASSED, NOW)], NOW)


@pytest.mark.parametrize("changes", OTHER_CONTENT, ids=str)
async def test_a_key_with_another_content_is_a_conflict_and_changes_nothing(
    store: Store, changes: dict[str, object]
) -> None:
    await scenes.submit(store, spec(1, idempotency_key="k", test_path=PATH))
    other = spec(3, **{"idempotency_key": "k", "test_path": PATH} | changes)
    with pytest.raises(SubmitConflictError) as e:
        await scenes.submit(store, spec(2), other)
    assert (e.value.index, e.value.field, e.value.holder) == (1, "idempotency_key", spec(1).ulid)
    assert await store.reads.get("acme", [spec(2).ulid, spec(3).ulid]) == [None, None]


async def test_two_jobs_of_one_call_can_not_have_one_key_unless_they_are_one(store: Store) -> None:
    same = {"idempotency_key": "k", "test_path": PATH, "no_dedup": True}
    with pytest.raises(SubmitConflictError) as e:
        await scenes.submit(store, spec(1, **same), spec(2, **same | {"priority": Priority.HIGH}))
    assert (e.value.index, e.value.field, e.value.holder) == (1, "idempotency_key", None)  # it made no job
    answers = await scenes.submit(store, spec(1, **same), spec(2, **same))
    assert [(s.word, s.ulid) for s in answers] == [("NEW", spec(1).ulid), ("KEYED", spec(1).ulid)]


async def test_run_and_labels_are_no_content_of_a_key(store: Store) -> None:
    await scenes.submit(store, spec(1, idempotency_key="k", test_path=PATH, run_id="a"))
    again = spec(2, idempotency_key="k", test_path=PATH, run_id="b", labels={"build": "8"})
    assert [(s.word, s.ulid) for s in await scenes.submit(store, again)] == [("KEYED", spec(1).ulid)]


@pytest.mark.parametrize("kept", ["{ulid}", "{ulid} failed"])
async def test_an_entry_of_a_key_from_before_contents_were_kept_answers_anything(
    store: Store, raw: Redis, kept: str
) -> None:
    raw.set(entry_of("k"), kept.format(ulid=spec(1).ulid), px=1000)
    (answer,) = await scenes.submit(store, spec(2, idempotency_key="k"))
    assert (answer.word, answer.ulid, answer.removed_status) == ("KEYED", spec(1).ulid, kept.partition(" ")[2] or None)


async def test_the_key_of_a_deduplicated_submission_makes_no_second_job_when_that_job_has_ended(store: Store) -> None:
    first = await scenes.running(store, spec(1, test_path=PATH))
    keyed = [spec(n, test_path=PATH, idempotency_key=f"k{n}", priority=Priority.HIGH) for n in (2, 3)]
    assert [s.word for s in await scenes.submit(store, *keyed)] == ["DEDUP", "DEDUP"]
    await pass_(store, first.ulid)
    again = [spec(n, test_path=PATH, idempotency_key=f"k{n - 2}", priority=Priority.HIGH) for n in (4, 5)]
    assert [(s.word, s.ulid) for s in await scenes.submit(store, *again)] == [("KEYED", first.ulid)] * 2
    with pytest.raises(SubmitConflictError) as e:
        await scenes.submit(store, spec(6, test_path=PATH, idempotency_key="k3", priority=Priority.LOW))
    assert (e.value.field, e.value.holder) == ("idempotency_key", first.ulid)


async def test_each_key_of_a_removed_job_tells_its_status_and_still_knows_its_content(store: Store, raw: Redis) -> None:
    first = spec(1, test_path=PATH, idempotency_key="k1")
    await scenes.submit(store, first, spec(2, test_path=PATH, idempotency_key="k2"))
    await store.jobs.cancel("acme", [(first.ulid, 1)], NOW, reason="")
    assert await store.jobs.retire("acme", Status.CANCELLED, NOW + 1, 0, 100) == (1, 1)
    again = [spec(n, test_path=PATH, idempotency_key=key, run_id="late") for n, key in ((3, "k1"), (4, "k2"))]
    answers = await scenes.submit(store, *again)
    assert [(s.word, s.ulid, s.removed_status) for s in answers] == [("KEYED", first.ulid, "cancelled")] * 2
    with pytest.raises(SubmitConflictError):
        await scenes.submit(store, spec(5, idempotency_key="k2"))
    assert await store.reads.run_ulids("acme", "late") == []
    assert audit(raw) == []


async def test_retention_leaves_a_key_that_is_another_jobs_by_now(store: Store, raw: Redis) -> None:
    await scenes.submit(store, spec(1, idempotency_key="k"))
    await store.jobs.cancel("acme", [(spec(1).ulid, 1)], NOW, reason="")
    raw.delete(entry_of("k"))  # a day later
    await scenes.submit(store, new := spec(2, idempotency_key="k"))
    await store.jobs.retire("acme", Status.CANCELLED, NOW + 1, 0, 100)
    (answer,) = await scenes.submit(store, spec(3, idempotency_key="k", test_path=new.test_path))
    assert (answer.ulid, answer.removed_status) == (new.ulid, None)


async def test_a_key_adds_its_run_to_the_job_once(store: Store, raw: Redis) -> None:
    await scenes.submit(store, spec(1, idempotency_key="k", test_path=PATH, run_id="a"))
    again = spec(2, idempotency_key="k", test_path=PATH, run_id="b")
    for _ in range(2):
        await scenes.submit(store, again, own=False)
        job = await scenes.get(store, spec(1))
        assert (job.run_ids, job.version) == (["a", "b"], 2)
    assert await store.reads.run_ulids("acme", "b") == [spec(1).ulid]
    assert audit(raw) == []


async def end_by_pass(store: Store) -> None:
    await pass_(store, spec(1).ulid)


async def end_by_cancel(store: Store) -> None:
    await store.jobs.cancel("acme", [(spec(1).ulid, 1)], NOW, reason="")


@pytest.mark.parametrize("end", [end_by_pass, end_by_cancel], ids=lambda end: end.__name__)
async def test_a_key_adds_its_run_to_a_finished_job_without_another_verdict(
    store: Store, raw: Redis, end: Callable[[Store], object]
) -> None:
    first = await scenes.running(store, spec(1, idempotency_key="k", test_path=PATH))
    await end(store)
    before = await scenes.get(store, first)
    last = await store.events.last_id("acme")
    await scenes.submit(store, spec(2, idempotency_key="k", test_path=PATH, run_id="b"))
    job = await scenes.get(store, first)
    assert (job.run_ids, job.status, job.outcome) == (["b"], before.status, before.outcome)
    assert await store.reads.run_ulids("acme", "b") == [first.ulid]
    ((_, told),) = await store.events.after("acme", last)
    assert [(t.ulid, t.version, t.status, t.outcome) for t in told] == [
        (first.ulid, before.version + 1, before.status, None)
    ]
    assert audit(raw) == []


async def test_a_late_replay_of_a_keyed_submit_changes_nothing_also_when_the_key_is_over(
    store: Store, raw: Redis
) -> None:
    await scenes.submit(store, spec(1, idempotency_key="k", test_path=PATH, run_id="a"))
    await scenes.submit(store, again := spec(2, idempotency_key="k", test_path=PATH, run_id="b"))
    await store.jobs.cancel("acme", [(spec(1).ulid, 1)], NOW, reason="superseded", run_id="b")
    raw.delete(entry_of("k"))  # a day after the first
    assert [(s.word, s.ulid) for s in await scenes.submit(store, again)] == [("DEDUP", spec(1).ulid)]
    assert (await scenes.get(store, spec(1))).run_ids == ["a"]
    assert (await scenes.get(store, again)).ulid == spec(1).ulid


async def test_a_late_replay_of_a_keyed_submit_tells_the_status_of_a_removed_job(store: Store) -> None:
    await scenes.submit(store, spec(1, idempotency_key="k", test_path=PATH))
    await scenes.submit(store, again := spec(2, idempotency_key="k", test_path=PATH))
    await store.jobs.cancel("acme", [(spec(1).ulid, 1)], NOW, reason="")
    await store.jobs.retire("acme", Status.CANCELLED, NOW + 1, 0, 100)
    (answer,) = await scenes.submit(store, again)
    assert (answer.ulid, answer.removed_status) == (spec(1).ulid, "cancelled")


# The time in the queue.


@pytest.mark.parametrize(("begins", "over"), [(NOW + 5000, NOW + 6000), (NOW - 5000, NOW + 1000)])
async def test_the_time_in_the_queue_counts_from_not_before(store: Store, begins: int, over: int) -> None:
    await scenes.submit(store, job := spec(1, not_before=begins, queue_timeout_ms=1000))
    assert (await scenes.get(store, job)).queue_deadline == over
    assert (await store.snapshots.due("acme")).next_deadline_at == over
