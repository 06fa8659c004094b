"""Calls on many jobs: pages of an index that shrinks under them, answers that are bounded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from qgjob_coordinator.errors import NotFoundError, StoreUnavailableError
from qgjob_coordinator.model.enums import Outcome, Status
from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.rpc.shapes import run_out, time_out
from qgjob_coordinator.service.calls.jobs import JobService
from qgjob_coordinator.service.calls.selections import MOST_SHOWN
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.principal import LOCAL_ADMIN, Principal, Role
from qgjob_coordinator.service.views.overview import Overview
from qgjob_coordinator.service.views.pending import Pending
from qgjob_coordinator.store.reads import CHUNK
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry, alone
from tests.fakes import scenes
from tests.fakes.jobs import NOW, ending, spec

MANY = 2 * CHUNK + 200


@pytest.fixture
def service(store: Store) -> JobService:
    pending = Pending(store, FleetReader(store), None, faults=OrgFaults())
    return JobService(store, Hub(), Telemetry(), pending, lambda *_: True, log_transitions=False)


@pytest.fixture
def overview(store: Store) -> Overview:
    return Overview(store, FleetReader(store), alone(Telemetry()), faults=OrgFaults())


@pytest.fixture
def most_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many jobs each read of the store asked for."""
    asked: list[int] = []
    get = store.reads.get

    async def counted(org_id: str, ulids: Sequence[str]) -> list[Job | None]:
        asked.append(len(ulids))
        return await get(org_id, ulids)

    monkeypatch.setattr(store.reads, "get", counted)
    return asked


async def submit_run(store: Store, count: int, run_id: str = "r1") -> None:
    for first in range(0, count, 1000):
        await scenes.submit(store, *(spec(n, run_id=run_id) for n in range(first, min(count, first + 1000))))


async def statuses(store: Store) -> dict[Status, int]:
    counts, _ = await store.reads.counters("acme")
    return {status: n for (status, _), n in counts.items() if n}


@pytest.mark.parametrize("which", [{"run_id": "r1", "statuses": ()}, {"run_id": None, "statuses": [Status.QUEUED]}])
async def test_all_are_cancelled_and_the_first_answered(
    store: Store, service: JobService, most_read: list[int], which: dict[str, Any]
) -> None:
    await submit_run(store, MANY)
    done = await service.cancel_many(LOCAL_ADMIN, "acme", **which)
    assert (done.count, len(done.jobs), done.detached) == (MANY, MOST_SHOWN, 0)
    assert {j.status for j in done.jobs} == {Status.CANCELLED}
    assert await statuses(store) == {Status.CANCELLED: MANY}
    assert max(most_read) <= MOST_SHOWN
    assert (await service.cancel_many(LOCAL_ADMIN, "acme", run_id=None, statuses=[Status.QUEUED])).count == 0


async def test_shared_jobs_leave_the_run_on_every_page(store: Store, service: JobService) -> None:
    await submit_run(store, MANY)
    for first in range(0, MANY, 1000):
        again = [spec(n + 10_000, run_id="r2", test_path=f"tests/t{n}.spec.ts") for n in range(first, first + 1000)]
        await scenes.submit(store, *again[: MANY - first])
    done = await service.cancel_many(LOCAL_ADMIN, "acme", run_id="r1", statuses=())
    assert (done.count, done.detached) == (0, MANY)
    assert (await service.cancel_many(LOCAL_ADMIN, "acme", run_id="r2", statuses=())).count == MANY


async def test_a_status_is_meant_as_it_was_found(store: Store, service: JobService) -> None:
    await scenes.open_session(store)
    running, *waiting = [spec(n) for n in range(4)]
    await scenes.running(store, running)
    await scenes.submit(store, *waiting)
    done = await service.cancel_many(LOCAL_ADMIN, "acme", run_id=None, statuses=[Status.RUNNING, Status.SCHEDULED])
    assert [j.ulid for j in done.jobs] == [running.ulid]
    rest = await service.cancel_many(LOCAL_ADMIN, "acme", run_id=None, statuses=[Status.QUEUED, Status.RUNNING])
    assert {j.ulid for j in rest.jobs} == {j.ulid for j in waiting}


async def test_a_call_that_failed_half_way_can_be_repeated_with_its_id(
    store: Store, service: JobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second call begins with other jobs: the answer for the first ones is not theirs."""
    await submit_run(store, MANY)
    cancel = store.jobs.cancel
    calls = 0

    async def second_fails(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StoreUnavailableError("the store is away")
        return await cancel(*args, **kwargs)

    monkeypatch.setattr(store.jobs, "cancel", second_fails)
    queued = {"run_id": None, "statuses": [Status.QUEUED], "operation_id": "op"}
    with pytest.raises(StoreUnavailableError):
        await service.cancel_many(LOCAL_ADMIN, "acme", **queued)
    done = await service.cancel_many(LOCAL_ADMIN, "acme", **queued)
    assert done.count == MANY
    assert await statuses(store) == {Status.CANCELLED: MANY}


async def test_a_repeated_call_gets_the_first_answer_and_does_nothing(store: Store, service: JobService) -> None:
    await submit_run(store, CHUNK + 1)
    shared = spec(9000, run_id="r2", test_path="tests/t0.spec.ts")
    await scenes.submit(store, shared)
    first = await service.cancel_many(LOCAL_ADMIN, "acme", run_id="r1", statuses=(), operation_id="op")
    assert (first.count, first.detached) == (CHUNK, 1)
    await scenes.submit(store, late := spec(9001, run_id="r1"))
    assert await service.cancel_many(LOCAL_ADMIN, "acme", run_id="r1", statuses=(), operation_id="op") == first
    assert (await scenes.get(store, late)).status is Status.QUEUED
    retried = await service.retry_many(LOCAL_ADMIN, "acme", "r1", failed_only=False, operation_id="op")
    assert retried.count == CHUNK
    assert all(j.pending_reason is not None for j in retried.jobs)  # they wait, and say why as elsewhere
    await service.cancel_many(LOCAL_ADMIN, "acme", run_id="r1", statuses=())
    again = await service.retry_many(LOCAL_ADMIN, "acme", "r1", failed_only=False, operation_id="op")
    assert (again.count, {j.round for j in again.jobs}) == (CHUNK, {2})


async def test_a_whole_run_is_retried_and_counted(
    store: Store, service: JobService, overview: Overview, most_read: list[int]
) -> None:
    await submit_run(store, MANY)
    await service.cancel_many(LOCAL_ADMIN, "acme", run_id="r1", statuses=())
    assert (await service.retry_many(LOCAL_ADMIN, "acme", "r1", failed_only=True)).count == 0
    done = await service.retry_many(LOCAL_ADMIN, "acme", "r1", failed_only=False)
    assert (done.count, len(done.jobs)) == (MANY, MOST_SHOWN)
    assert {(j.status, j.round) for j in done.jobs} == {(Status.QUEUED, 2)}
    assert await statuses(store) == {Status.QUEUED: MANY}
    most_read.clear()
    run = await overview.run(LOCAL_ADMIN, "acme", "r1")
    assert (run.status_counts["queued"], run.completed_at) == (MANY, None)
    assert max(most_read) <= CHUNK


async def test_jobs_whose_equals_are_unfinished_are_not_retried_and_counted(store: Store, service: JobService) -> None:
    await submit_run(store, 3)
    await service.cancel_many(LOCAL_ADMIN, "acme", run_id="r1", statuses=())
    await scenes.submit(store, spec(9, run_id="r2", test_path=spec(1).test_path))
    done = await service.retry_many(LOCAL_ADMIN, "acme", "r1", failed_only=False)
    assert (done.count, done.equal, {j.ulid for j in done.jobs}) == (2, 1, {spec(0).ulid, spec(2).ulid})
    assert (await scenes.get(store, spec(1))).status is Status.CANCELLED


async def test_a_run_is_counted_over_its_pages(store: Store, service: JobService, overview: Overview) -> None:
    await submit_run(store, CHUNK + 1)
    await scenes.open_session(store)
    first, second = spec(0), spec(CHUNK)
    await scenes.claim(store, first, (first.ulid, "t1"), (second.ulid, "t2"))
    await store.leases.finish("acme", [ending(first.ulid, "t1"), ending(second.ulid, "t2", now=NOW + 7)], NOW + 10)
    await service.cancel_many(LOCAL_ADMIN, "acme", run_id="r1", statuses=())
    run = await overview.run(LOCAL_ADMIN, "acme", "r1")
    assert (run.status_counts["completed"], run.status_counts["cancelled"]) == (2, CHUNK - 1)
    assert run.outcome_counts == {Outcome.PASSED.value: 2, Outcome.CANCELLED.value: CHUNK - 1}
    assert run.started_at == NOW
    assert run.completed_at is not None


async def test_a_run_that_was_cancelled_and_has_nothing_left_is_still_known(
    store: Store, service: JobService, overview: Overview
) -> None:
    """A direct submission wants its job too: so a repeated cancel finds nothing to do, and who waits learns of it."""
    await scenes.submit(store, spec(1))
    await scenes.submit(store, spec(2, run_id="r1", test_path=spec(1).test_path))
    counts = []
    for _ in range(2):
        done = await service.cancel_many(LOCAL_ADMIN, "acme", run_id="r1", statuses=())
        counts.append((done.count, done.detached))
    assert counts == [(0, 1), (0, 0)]
    run = await overview.run(LOCAL_ADMIN, "acme", "r1")
    assert (sum(run.status_counts.values()), run.started_at) == (0, None)
    assert run.completed_at is not None
    assert (await service.retry_many(LOCAL_ADMIN, "acme", "r1", failed_only=False)).count == 0
    with pytest.raises(NotFoundError, match="run r1 not found"):
        await overview.run(Principal("ci", Role.MEMBER, "globex"), "acme", "r1")
    assert run_out(run).completed_at == time_out(run.completed_at)


async def test_a_run_that_is_not_there(service: JobService, overview: Overview) -> None:
    with pytest.raises(NotFoundError, match="run r9 not found"):
        await service.cancel_many(LOCAL_ADMIN, "acme", run_id="r9", statuses=())
    with pytest.raises(NotFoundError, match="run r9 not found"):
        await service.retry_many(LOCAL_ADMIN, "acme", "r9", failed_only=False)
    with pytest.raises(NotFoundError, match="run r9 not found"):
        await overview.run(LOCAL_ADMIN, "acme", "r9")
