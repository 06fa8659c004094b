"""Submissions that meet earlier ones."""

from __future__ import annotations

import pytest

from qgjob_coordinator.model.enums import Priority, Status
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types import SubmitConflictError
from tests.fakes import scenes
from tests.fakes.jobs import NOW, spec


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


async def test_an_equal_job_gets_the_higher_priority_and_moves_up_its_queue(store: Store) -> None:
    await scenes.submit(store, spec(1), spec(2))
    await scenes.submit(store, spec(3, test_path=spec(2).test_path, priority=Priority.HIGH))
    assert await store.reads.positions("acme", [spec(1).ulid, spec(2).ulid]) == [2, 1]
    await scenes.submit(store, spec(4, test_path=spec(2).test_path, priority=Priority.LOW))
    assert (await scenes.get(store, spec(2))).priority is Priority.HIGH


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


@pytest.mark.parametrize(("begins", "over"), [(NOW + 5000, NOW + 6000), (NOW - 5000, NOW + 1000)])
async def test_the_time_in_the_queue_counts_from_not_before(store: Store, begins: int, over: int) -> None:
    await scenes.submit(store, job := spec(1, not_before=begins, queue_timeout_ms=1000))
    assert (await scenes.get(store, job)).queue_deadline == over
    assert (await store.snapshots.due("acme")).next_deadline_at == over
