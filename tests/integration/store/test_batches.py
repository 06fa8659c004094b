"""Many at once: reports of the same attempt in one call, and calls of the largest size."""

from __future__ import annotations

from qgjob_coordinator.model.enums import Outcome
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import NOW, ending, release


async def test_an_ending_twice_in_one_batch_is_a_replay(store: Store) -> None:
    job = await scenes.running(store)
    twice = [ending(job.ulid, "t1", Outcome.TEST_FAILED), ending(job.ulid, "t1", Outcome.PASSED)]
    assert [e.word for e in await store.leases.finish("acme", twice, NOW)] == ["APPLIED", "REPLAYED"]
    assert [a.outcome for a in (await scenes.get(store, job)).attempts] == [Outcome.TEST_FAILED]


async def test_a_release_twice_in_one_batch_is_a_replay(store: Store) -> None:
    job = await scenes.running(store)
    assert await store.leases.release("acme", [release(job.ulid, "t1")] * 2, NOW) == ["APPLIED", "REPLAYED"]
