"""A start whose report comes together with the result is a transition of its own, written in the same script."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis import Redis

from qgjob_coordinator.model.enums import Outcome, Status
from qgjob_coordinator.store.events import START
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import NOW, ending, spec
from tests.fakes.store_audit import audit


@pytest.mark.parametrize(
    ("outcome", "last"), [(Outcome.PASSED, Status.COMPLETED), (Outcome.TEST_FAILED, Status.QUEUED)]
)
async def test_both_transitions_are_events(store: Store, outcome: Outcome, last: Status) -> None:
    await scenes.open_session(store)
    await scenes.submit(store, job := spec())
    await scenes.claim(store, job)
    both = replace(ending(job.ulid, "t1", outcome), with_start=True)
    assert (await store.leases.finish("acme", [both], NOW + 5))[0].word == "APPLIED"

    seen = [t for _, entry in await store.events.after("acme", START) for t in entry]
    assert [t.status for t in seen] == [Status.QUEUED, Status.SCHEDULED, Status.RUNNING, last]
    assert [t.version for t in seen] == [1, 2, 3, 4]
    after = await scenes.get(store, job)
    assert (after.version, after.attempts[0].started_at) == (4, both.started_at)


async def test_a_start_that_was_reported_before_is_no_event_again(store: Store) -> None:
    await scenes.open_session(store)
    job = await scenes.running(store)
    await store.leases.finish("acme", [replace(ending(job.ulid, "t1"), with_start=True)], NOW)
    seen = [t.status for _, entry in await store.events.after("acme", START) for t in entry]
    assert seen.count(Status.RUNNING) == 1


async def test_counters_stay_right(store: Store, raw: Redis) -> None:
    await scenes.open_session(store)
    await scenes.submit(store, job := spec())
    await scenes.claim(store, job)
    await store.leases.finish("acme", [replace(ending(job.ulid, "t1"), with_start=True)], NOW)
    assert audit(raw) == []
