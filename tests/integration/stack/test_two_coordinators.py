"""Two coordinators on one store: any of them serves any call, whoever holds the agent's session."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

from qgjob import AsyncClient, DeviceState, Job, JobStatus, Outcome, WatchEventKind
from tests.fakes.stack import Stack, alive
from tests.fakes.waiting import until
from tests.integration.stack.specs import command, holding, pids, pinned, reach, running, simulated


async def test_what_is_submitted_at_one_is_watched_at_the_other(
    org: str, first: AsyncClient, second: AsyncClient
) -> None:
    seen: list[JobStatus] = []
    async with aclosing(second.watch(org)) as events, asyncio.timeout(20):
        async for event in events:
            if event.event is WatchEventKind.READY:
                await first.submit_many(simulated(org))
            if event.job is not None:
                seen.append(event.job.status)
                if event.job.final:
                    break
    # A job is told as it stands when it is read, so quick moves may come as one.
    moves = [JobStatus.QUEUED, JobStatus.SCHEDULED, JobStatus.RUNNING, JobStatus.COMPLETED]
    assert seen == sorted(seen, key=moves.index)
    assert seen[-1] is JobStatus.COMPLETED


async def test_p5_a_cancel_at_one_kills_what_an_agent_of_the_other_runs(
    stack: Stack, org: str, first: AsyncClient, second: AsyncClient, tmp_path: Path
) -> None:
    script = f"setsid sleep 60 & echo $! > {tmp_path}/grandchild; {holding(tmp_path)}"
    (job,) = await first.submit_many([command(org, script, requirements=pinned("cmd-1-1"))])
    (after,) = await first.submit_many([command(org, "exit 0", requirements=pinned("cmd-1-1"))])
    tree = [*await pids(tmp_path), int((tmp_path / "grandchild").read_text())]
    assert stack.at("cmd-1") == 0
    verdict = await second.cancel(job.job_id)
    assert (verdict.status, verdict.outcome) == (JobStatus.CANCELLED, Outcome.CANCELLED)
    await first.wait(after.job_id, timeout_seconds=20)
    assert not any(alive(pid) for pid in tree)
    killed = await first.get(job.job_id)
    ended_at, completed_at = killed.attempts[0].ended_at, killed.completed_at
    assert killed.attempts[0].outcome is Outcome.CANCELLED
    assert ended_at is not None
    assert completed_at is not None
    assert ended_at >= completed_at


async def test_a_drain_at_one_holds_for_an_agent_of_the_other_when_it_returns(
    stack: Stack, org: str, first: AsyncClient, second: AsyncClient
) -> None:
    jobs = await first.submit_many(simulated(org, 24, requirements=pinned("sim-1-1")))
    await reach(first, jobs[0].job_id, JobStatus.COMPLETED)
    assert stack.at("sim-1") == 0
    (device,) = await second.drain(device_id="sim-1-1")
    returned = datetime.now(UTC)
    assert device.state is DeviceState.DRAINING

    async def idle() -> bool:
        found = [job async for job in first.list(org)]
        return not any(job.status in (JobStatus.SCHEDULED, JobStatus.RUNNING) for job in found)

    await until(idle, "the drained device does not come to rest")
    found = [job async for job in first.list(org)]
    started = [a.started_at for job in found for a in job.attempts if a.started_at is not None]
    assert 1 <= len(started) < len(jobs)
    assert max(started) <= returned
    assert all(job.attempts == () for job in found if job.status is JobStatus.QUEUED)
    await second.resume(device_id="sim-1-1")
    done = await first.wait([job.job_id for job in jobs], timeout_seconds=30)
    assert {job.outcome for job in done} == {Outcome.PASSED}


async def test_p9_agents_of_a_killed_coordinator_move_and_nothing_is_lost(stack: Stack, org: str) -> None:
    async with stack.client(0, 1) as client:
        acknowledged = list(await client.submit_many(simulated(org, 60)))
        more = asyncio.create_task(_trickle(client, org, acknowledged))
        await reach(client, acknowledged[5].job_id, JobStatus.COMPLETED)
        stack.coordinators[0].kill()
        await more
        await until(lambda: {stack.at(a) for a in stack.agents} == {1}, "the agents do not move")
        done = await client.wait([job.job_id for job in acknowledged], timeout_seconds=30)
    assert {job.outcome for job in done} == {Outcome.PASSED}
    assert {len(job.attempts) for job in done} == {1}


async def _trickle(client: AsyncClient, org: str, acknowledged: list[Job]) -> None:
    """Submits one by one while coordinators come and go."""
    for spec in simulated(org, 60):
        acknowledged.append(await client.submit(spec))
        await asyncio.sleep(0.01)


async def test_a_killed_coordinator_comes_back_and_serves_what_it_left(
    stack: Stack, org: str, second: AsyncClient, tmp_path: Path
) -> None:
    (job,) = await second.submit_many([command(org, holding(tmp_path), requirements=pinned("cmd-1-1"))])
    await running(second, job.job_id)
    (pid,) = await pids(tmp_path)
    stack.coordinators[0].kill()
    stack.coordinators[0].start()
    await stack.serving(0)
    await stack.online("cmd-1")
    assert alive(pid)
    (tmp_path / "go").touch()
    async with stack.client(0) as again:
        (done,) = await again.wait(job.job_id, timeout_seconds=20)
    assert done.outcome is Outcome.PASSED
    assert await pids(tmp_path) == [pid]
    assert len(done.attempts) == 1
