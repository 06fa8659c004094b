"""The attempt that passed stays in its job, where its lease stood: nothing that comes late may take it for a lease."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis import Redis

from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.model.jobs import TestResult
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import NOW, ending, release, spec
from tests.fakes.store_audit import audit

JOB = spec()
LATER = NOW + 60_000


async def claimed(store: Store) -> Any:
    answer = await scenes.claim(store, JOB)
    return [g.token for g in answer.grants]


LATE: dict[str, tuple[Callable[[Store], Awaitable[Any]], Any]] = {
    "a claim": (claimed, []),
    "a start": (lambda s: s.leases.start("acme", [(JOB.ulid, "t1", LATER)], LATER), ["STALE"]),
    "progress": (lambda s: s.leases.progress("acme", [(JOB.ulid, "t1", 50)], LATER), None),
    "a log": (lambda s: s.logs.append("acme", [(JOB.ulid, "t1", 0, b"x")]), ["LATE"]),
    "a release": (lambda s: s.leases.release("acme", [release(JOB.ulid, "t1")], LATER), (["REPLAYED"], [None])),
    "a release with another token": (
        lambda s: s.leases.release("acme", [release(JOB.ulid, "t9")], LATER),
        (["STALE"], [None]),
    ),
    "a new session that shows it": (
        lambda s: s.leases.adopt("acme", scenes.AGENT, 2, [(JOB.ulid, "t1")], LATER, 0.5),
        ([], ["GONE"]),
    ),
    "the sweep of its session": (lambda s: s.leases.sweep("acme", scenes.AGENT, 1, LATER, 0.5), []),
}


@pytest.mark.parametrize("summary", ["1 passed", "passed " * 20], ids=["in its job", "in its text"])
@pytest.mark.parametrize("late", LATE)
async def test_what_comes_late_changes_nothing(store: Store, raw: Redis, late: str, summary: str) -> None:
    await scenes.running(store, JOB)
    result = TestResult(passed=1, duration_ms=7, summary=summary)
    done = ending(JOB.ulid, "t1", result=result, install_ms=40)
    assert (await store.leases.finish("acme", [done], NOW + 9))[0].word == "APPLIED"
    assert raw.hexists(f"{keys.org('acme')}j:{JOB.ulid}", "en") == (summary == "1 passed")
    before = await scenes.get(store, JOB)
    assert (before.result, before.attempts[0].install_ms) == (result, 40)

    call, answer = LATE[late]
    assert await call(store) == answer
    assert await scenes.get(store, JOB) == before
    assert (await store.leases.finish("acme", [done], LATER))[0].word == "REPLAYED"
    assert audit(raw) == []


async def test_retention_removes_it(store: Store, raw: Redis) -> None:
    await scenes.running(store, JOB)
    await store.leases.finish("acme", [ending(JOB.ulid, "t1")], NOW)
    assert await store.jobs.retire("acme", Status.COMPLETED, LATER, 0, 10) == (1, 1)
    assert not raw.keys(f"*{JOB.ulid}*")
