"""Limits that are settings of a coordinator: each on a small stack of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from qgjob import AsyncClient, Job, NotFoundError, Outcome, PendingCode
from tests.fakes.program import Program
from tests.fakes.stack import PATIENT, AgentPlan, Stack
from tests.fakes.store_audit import audit, leftovers
from tests.fakes.waiting import until
from tests.integration.stack.conftest import keeps_promises
from tests.integration.stack.specs import command, holding, pids, simulated

DAY_SECONDS = 86_400
AGENTS = (
    AgentPlan("sim-1", 3, "emulator"),
    AgentPlan("cmd-1", 4, "device", runner="command"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def limited(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """One device a group, two attempts an org."""
    stack = Stack(
        tmp_path_factory.mktemp("limited"),
        coordinators=1,
        agents=AGENTS,
        times=PATIENT,
        GROUP_MAX_DEVICES=1,
        MAX_RUNNING_PER_ORG=2,
    )
    try:
        await stack.start()
        yield stack
    finally:
        await stack.stop()


@pytest.fixture
async def client(limited: Stack, org: str) -> AsyncIterator[AsyncClient]:
    async with limited.client(0) as client:
        yield client
    await keeps_promises(limited, org)


async def test_a_group_is_pinned_to_one_device(client: AsyncClient, org: str) -> None:
    jobs = await client.submit_many(simulated(org, 12))
    done = await client.wait([job.job_id for job in jobs], timeout_seconds=20)
    assert {job.outcome for job in done} == {Outcome.PASSED}
    assert len({job.device_id for job in done}) == 1
    assert sum(a.install_ms is not None for job in done for a in job.attempts) == 1


async def test_an_org_runs_as_many_attempts_as_it_may_and_no_more(
    client: AsyncClient, org: str, tmp_path: Path
) -> None:
    """Four groups, four devices, room for two."""
    jobs = await client.submit_many([command(org, holding(tmp_path), app_version_id=f"v{i}") for i in range(4)])
    await pids(tmp_path, 2)

    async def over_quota() -> bool:
        reasons = [(await client.get(job.job_id)).pending_reason for job in jobs]
        return [r.code for r in reasons if r is not None] == [PendingCode.QUOTA] * 2

    await until(over_quota, "the others do not wait for the quota")
    queue = (await client.stats(org)).queue
    assert (queue.scheduled + queue.running, queue.queued) == (2, 2)
    (waiting, _) = [job.job_id for job in jobs if (await client.get(job.job_id)).pending_reason is not None]
    found = await client.explain(waiting)
    kept = f"is free, but org {org} holds as many attempts as it may (MAX_RUNNING_PER_ORG)"
    assert [device.message for device in found.devices if device.feasible and device.code is None] == [kept] * 2
    assert "2 are free (org is at its quota)" in found.summary
    other = await client.submit(simulated(f"{org}-other")[0])
    await client.wait(other.job_id, timeout_seconds=20)
    assert len(await pids(tmp_path, 2)) == 2
    (tmp_path / "go").touch()
    done = await client.wait([job.job_id for job in jobs], timeout_seconds=20)
    assert max(_at_once(done)) == 2


async def test_the_quota_holds_exactly_while_work_moves_fast(client: AsyncClient, org: str) -> None:
    specs = [spec for version in ("v1", "v2", "v3") for spec in simulated(org, 8, app_version_id=version)]
    jobs = await client.submit_many(specs)
    done = await client.wait([job.job_id for job in jobs], timeout_seconds=20)
    assert {job.outcome for job in done} == {Outcome.PASSED}
    assert max(_at_once(done)) <= 2


def _at_once(jobs: tuple[Job, ...]) -> list[int]:
    """How many attempts ran at each start."""
    spans = [(a.started_at, a.ended_at) for job in jobs for a in job.attempts if a.started_at and a.ended_at]
    return [sum(begin <= at < end for begin, end in spans) for at, _ in spans]


async def test_retention_removes_what_is_old_enough_with_every_trace(
    limited: Stack, client: AsyncClient, org: str, tmp_path: Path
) -> None:
    jobs = await client.submit_many(simulated(org, 3, run_id="ci-1", labels={"a": "b"}, idempotency_key=None))
    held = await client.submit(command(org, holding(tmp_path)))
    await client.wait([job.job_id for job in jobs], timeout_seconds=20)
    keyed = simulated(org, idempotency_key="once")[0]
    first = await client.submit(keyed)
    await client.wait(first.job_id, timeout_seconds=20)
    # A second coordinator of the same store, which keeps nothing.
    settings = limited.coordinator_settings() | {"RETENTION_DAYS": 0.001 / DAY_SECONDS}
    cleaner = Program("cleaner", "qgjob_coordinator", limited.folder / "cleaner", settings)
    cleaner.start()
    try:
        await cleaner.says("jobs_retired", org_id=org, count=4)
    finally:
        await cleaner.end()
    for job in (*jobs, first):
        with pytest.raises(NotFoundError):
            await client.get(job.job_id)
    assert [job.job_id async for job in client.list(org)] == [held.job_id]
    # The key still answers with the first job, of which a tombstone is left: it joins no run.
    again = await client.submit(replace(keyed, run_id="ci-2"))
    assert (again.job_id, again.deduplicated, again.status, again.run_ids) == (first.job_id, True, "completed", ())
    with pytest.raises(NotFoundError):
        await client.wait_run(org, "ci-2", timeout_seconds=20)
    (tmp_path / "go").touch()
    await client.wait(held.job_id, timeout_seconds=20)
    with limited.store.client() as raw:
        assert audit(raw, org) == []
        assert not [key for key in leftovers(raw, org) if held.job_id.partition("~")[2] not in key and "ix:" not in key]
