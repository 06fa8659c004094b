"""The clock of the store is put an hour ahead and back: nothing that waits or runs ends early (docs/adr/022)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from qgjob import AsyncClient, JobSpec, JobStatus
from tests.fakes.shifted_store import NEEDS_COMPILER, NO_COMPILER, ShiftedStore
from tests.fakes.stack import AgentPlan, Stack
from tests.fakes.waiting import until

HOUR_SECONDS = 3600


def job(name: str, target: str, **fields: object) -> JobSpec:
    return JobSpec(org_id="acme", app_version_id="v1", test_path=f"{name}.py", target=target, **fields)  # type: ignore[arg-type]


@pytest.mark.skipif(NO_COMPILER, reason=NEEDS_COMPILER)
async def test_a_step_of_the_stores_clock_ends_nothing_early(tmp_path: Path) -> None:
    go = tmp_path / "go"
    waits = f'["sh", "-c", "while [ ! -e {go} ]; do sleep 0.05; done"]'
    agents = [
        AgentPlan("cmd-1", 1, "device", runner="command", settings={"COMMAND_ARGV": waits}),
        AgentPlan("sim-1", 1, "browserstack"),
    ]
    store = ShiftedStore(tmp_path / "store", "--appendonly", "yes")
    stack = Stack(tmp_path / "stack", agents=agents, store=store)
    try:
        await stack.start()
        async with stack.client() as client:
            running = await client.submit(job("running", "device"))
            patient = await client.submit(job("patient", "emulator", queue_timeout_seconds=300))
            await until(lambda: is_in(client, running.job_id, JobStatus.RUNNING), "it does not run")

            await shifted(stack, store, HOUR_SECONDS, times=1)
            ahead = datetime.now(UTC) + timedelta(hours=1)
            # What becomes ready now is found by the look that finds what is over.
            soon = await client.submit(job("soon", "browserstack", not_before=ahead + timedelta(seconds=2)))
            assert abs(soon.created_at - ahead) < timedelta(minutes=1)  # the clock of the store is what counts
            (ended,) = await client.wait(soon.job_id, timeout_seconds=30)
            assert ended.outcome == "passed"
            assert await is_in(client, patient.job_id, JobStatus.QUEUED)
            assert await is_in(client, running.job_id, JobStatus.RUNNING)

            await shifted(stack, store, 0, times=2)
            hasty = await client.submit(job("hasty", "emulator", queue_timeout_seconds=1))
            (ended,) = await client.wait(hasty.job_id, timeout_seconds=30)
            assert ended.outcome == "expired"
            assert await is_in(client, patient.job_id, JobStatus.QUEUED)

            go.touch()
            (ended,) = await client.wait(running.job_id, timeout_seconds=30)
            assert (ended.outcome, len(ended.attempts)) == ("passed", 1)
    finally:
        go.touch()
        await stack.stop()


async def is_in(client: AsyncClient, job_id: str, status: JobStatus) -> bool:
    return (await client.get(job_id)).status is status


async def shifted(stack: Stack, store: ShiftedStore, seconds: int, *, times: int) -> None:
    """Puts the clock off, and returns when each coordinator has seen that `times` times in all."""
    store.shift(seconds)
    await asyncio.gather(*(c.says("store_clock_stepped", times=times) for c in stack.coordinators))
