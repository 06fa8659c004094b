"""The store, or a coordinator, may stop or die at any instant (P9): nothing is acknowledged that is not kept."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

from qgjob import AsyncClient, JobStatus, Outcome, UnavailableError
from tests.chaos.bounds import LOADED
from tests.fakes.stack import Stack, alive
from tests.fakes.waiting import until
from tests.integration.stack.specs import command, holding, pids, pinned, reach, running, simulated


async def trickle(client: AsyncClient, org: str, count: int) -> list[str]:
    """Submits one by one; the ids that were acknowledged."""
    acknowledged = []
    for spec in simulated(org, count):
        acknowledged.append((await client.submit(spec)).job_id)
        await asyncio.sleep(0.01)
    return acknowledged


async def test_p1_a_store_killed_and_restarted_loses_nothing(stack: Stack, org: str, tmp_path: Path) -> None:
    async with stack.client() as client:
        (held,) = await client.submit_many([command(org, holding(tmp_path), requirements=pinned("cmd-1-1"))])
        await running(client, held.job_id)
        (pid,) = await pids(tmp_path)
        acknowledged = [job.job_id for job in await client.submit_many(simulated(org, 20))]
        more = asyncio.create_task(trickle(client, org, 40))
        await reach(client, acknowledged[0], JobStatus.COMPLETED)
        stack.kill_store()
        for i in (0, 1):
            await stack.coordinators[i].says("store_away")
        stack.start_store()
        loaded_at = time.monotonic()
        for i in (0, 1):
            async with stack.client(i) as asked:
                await until(partial(_served, asked, org), f"coordinator {i} does not serve again")
        assert time.monotonic() - loaded_at < LOADED.within(stack.times)
        acknowledged += await more
        assert alive(pid)
        (tmp_path / "go").touch()
        done = await client.wait([held.job_id, *acknowledged], timeout_seconds=40)
    assert {job.outcome for job in done} == {Outcome.PASSED}
    assert {len(job.attempts) for job in done} == {1}


async def test_while_the_store_is_away_nothing_serves_and_nothing_is_acknowledged(stack: Stack, org: str) -> None:
    told: list[UnavailableError] = []
    async with AsyncClient(stack.address(0), on_trouble=told.append) as client:
        stack.kill_store()
        await until(lambda: _not_serving(client), "it goes on serving")
        late = asyncio.create_task(client.submit(simulated(org)[0]))
        await stack.coordinators[0].says("call_refused", error="unavailable")
        await until(lambda: "store" in {error.away for error in told}, "nothing names the store")
        assert not late.done()
        stack.start_store()
        (done,) = await client.wait((await late).job_id, timeout_seconds=20)
        assert done.outcome is Outcome.PASSED
        await until(lambda: _serving(client), "it does not serve again")


async def test_p9_a_store_that_went_back_strands_no_lease(stack: Stack, org: str, tmp_path: Path) -> None:
    """The older state has a lease whose result it wrote and lost: the agent, asked again, does not show it."""
    async with stack.client(0) as client:
        (held,) = await client.submit_many([command(org, holding(tmp_path), requirements=pinned("cmd-1-1"))])
        await running(client, held.job_id)
        stack.store.copy(tmp_path / "copied")
        (tmp_path / "go").touch()
        await reach(client, held.job_id, JobStatus.COMPLETED)
        stack.store.go_back(tmp_path / "copied")
        stack.store_up = False
        for i in (0, 1):
            await stack.coordinators[i].says("store_away")
        stack.start_store()
        for i in (0, 1):
            await stack.coordinators[i].says("store_new_life")
        (done,) = await client.wait(held.job_id, timeout_seconds=40)
    assert [a.outcome for a in done.attempts] == [Outcome.AGENT_LOST, Outcome.PASSED]
    assert done.attempts[0].error is not None
    assert "the store went back to an older state" in done.attempts[0].error.message
    await stack.online(*stack.agents)


async def _serving(client: AsyncClient) -> bool:
    return (await client.health()).serving


async def _served(client: AsyncClient, org: str) -> bool:
    """Whether its coordinator serves, and answers a call from the store."""
    return await _serving(client) and (await client.stats(org)) is not None


async def _not_serving(client: AsyncClient) -> bool:
    return not await _serving(client)


async def test_a_store_that_stops_for_less_than_a_lease_kills_no_test(stack: Stack, org: str, tmp_path: Path) -> None:
    async with stack.client() as client:
        (held,) = await client.submit_many([command(org, holding(tmp_path), requirements=pinned("cmd-1-1"))])
        await running(client, held.job_id)
        (pid,) = await pids(tmp_path)
        jobs = list(await client.submit_many(simulated(org, 20)))
        stack.store.pause()
        paused_at = time.monotonic()
        late = asyncio.create_task(client.submit(simulated(org)[0]))
        await stack.agents["cmd-1"].says("coordinator_silent")
        assert time.monotonic() - paused_at < stack.times.kill
        stack.store.resume()
        jobs.append(await late)
        await stack.online(*stack.agents)
        assert alive(pid)
        (tmp_path / "go").touch()
        done = await client.wait([held.job_id, *(job.job_id for job in jobs)], timeout_seconds=30)
    assert {job.outcome for job in done} == {Outcome.PASSED}
    assert {len(job.attempts) for job in done} == {1}
    assert await pids(tmp_path) == [pid]


async def test_p3_a_coordinator_that_hung_changes_nothing_when_it_wakes(
    stack: Stack, org: str, second: AsyncClient, tmp_path: Path
) -> None:
    """Stopped for longer than a lease: its agents went to the other one, which finished their jobs."""
    (held,) = await second.submit_many([command(org, holding(tmp_path), requirements=pinned("cmd-1-1"))])
    await running(second, held.job_id)
    jobs = await second.submit_many(simulated(org, 40))
    await reach(second, jobs[0].job_id, JobStatus.COMPLETED)
    stack.coordinators[0].pause()
    try:
        paused_at = time.monotonic()
        await until(lambda: {stack.at(a) for a in stack.agents} == {1}, "the agents do not move")
        done = await second.wait([job.job_id for job in jobs], timeout_seconds=30)
        left = stack.times.give_up + stack.times.session - (time.monotonic() - paused_at)
        await asyncio.sleep(max(0.0, left))
    finally:
        stack.coordinators[0].resume()
    async with stack.client(0) as first:
        await until(lambda: _serving(first), "it does not wake")
        (after,) = await first.submit_many(simulated(org))
        await first.wait(after.job_id, timeout_seconds=20)
        (tmp_path / "go").touch()
        (last,) = await first.wait(held.job_id, timeout_seconds=20)
        assert [await first.get(job.job_id) for job in done] == list(done)
    assert {job.outcome for job in (*done, last)} == {Outcome.PASSED}
    assert {len(job.attempts) for job in (*done, last)} == {1}


async def test_p9_a_coordinator_that_is_told_to_stop_costs_no_attempt(stack: Stack, org: str, tmp_path: Path) -> None:
    async with stack.client() as client:
        (held,) = await client.submit_many([command(org, holding(tmp_path), requirements=pinned("cmd-1-1"))])
        await running(client, held.job_id)
        jobs = await client.submit_many(simulated(org, 40))
        more = asyncio.create_task(trickle(client, org, 40))
        stack.coordinators[0].terminate()
        assert await stack.coordinators[0].exit_code() == 0
        assert stack.coordinators[0].events("coordinator_stopped")
        ids = [held.job_id, *(job.job_id for job in jobs), *await more]
        await until(lambda: {stack.at(a) for a in stack.agents} == {1}, "the agents do not move")
        (tmp_path / "go").touch()
        done = await client.wait(ids, timeout_seconds=30)
    assert {job.outcome for job in done} == {Outcome.PASSED}
    assert {len(job.attempts) for job in done} == {1}
