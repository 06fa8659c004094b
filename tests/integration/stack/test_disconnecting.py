"""A command that goes away cancels what it asked to be cancelled, and nothing else does; through real processes."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

import pytest

from qgjob import AsyncClient, Bond, InvalidError, Job, JobStatus, Outcome
from tests.fakes.stack import Stack, alive
from tests.fakes.waiting import until
from tests.integration.stack.specs import again, command, holding, pids, pinned, reach, running, simulated

CLI = "import sys; from qgjob.cli import main; sys.exit(main())"
AFTER_SECONDS = 3
LOOK_SECONDS = 2.0
"""So late an observer may be: it looks once a second, and sees a bond first when it looks."""
BUSY_SECONDS = 5.0
"""So late on a machine that does much else."""
Process = asyncio.subprocess.Process


async def run(stack: Stack, org: str, folder: Path, *more: str, after: int = AFTER_SECONDS) -> tuple[Process, Job, int]:
    """A `qgjob run` whose job holds its device; the command, the job when it runs, and the pid of its tree."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CLI, "run", f"--org-id={org}", "--app-version-id=v1", "--target=device", "--run-id=r1"),
        *("--test=tests/a.js", f"--env=TEST={holding(folder)}", "--cancel-on-disconnect"),
        *(f"--disconnect-after={after}s", f"--coordinator={stack.address(0)},{stack.address(1)}", *more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=stack.folder,
    )
    (pid,) = await pids(folder)
    async with stack.client() as client:
        (job,) = [each async for each in client.list(org)]
        return process, await running(client, job.job_id), pid


async def bonds(stack: Stack, org: str) -> dict[str, str]:
    with stack.store.client() as redis:
        found: dict[str, str] = redis.hgetall(f"qg:o:{{{org}}}:bo")
        return found


async def test_p5_a_killed_command_takes_its_run_along_and_no_other_job(
    stack: Stack, org: str, first: AsyncClient, second: AsyncClient, tmp_path: Path
) -> None:
    process, job, pid = await run(stack, org, tmp_path)
    (other,) = await first.submit_many(simulated(org, run_id="r2", requirements=pinned("nowhere")))
    await asyncio.sleep(AFTER_SECONDS + LOOK_SECONDS)  # it lives, and shows it
    assert (await first.get(job.job_id)).status is JobStatus.RUNNING
    process.kill()
    died_at = time.monotonic()
    await process.communicate()
    done = await reach(second, job.job_id, JobStatus.CANCELLED)
    took = time.monotonic() - died_at
    await until(lambda: not alive(pid), "the tree lives")
    assert AFTER_SECONDS * 2 / 3 - 0.5 <= took <= AFTER_SECONDS + LOOK_SECONDS + BUSY_SECONDS
    assert done.error is not None
    assert done.error.message == "the client of run r1 has gone: nothing was heard of it for 3 s"
    assert (await first.get(other.job_id)).status is JobStatus.QUEUED
    assert await bonds(stack, org) == {}


async def test_p9_killed_coordinators_cancel_nothing(stack: Stack, org: str, tmp_path: Path) -> None:
    """First the one that the command talks to, then both, for longer than the command may be silent."""
    process, job, pid = await run(stack, org, tmp_path)
    stack.coordinators[0].kill()
    await asyncio.sleep(AFTER_SECONDS + LOOK_SECONDS)
    stack.coordinators[1].kill()
    await asyncio.sleep(AFTER_SECONDS)
    for i, coordinator in enumerate(stack.coordinators):
        coordinator.start()
        await stack.serving(i)
    await asyncio.sleep(AFTER_SECONDS + LOOK_SECONDS)
    async with stack.client() as client:
        now = await client.get(job.job_id)
        assert now.status is not JobStatus.CANCELLED, now.error
        (tmp_path / "go").touch()
        (done,) = await client.wait(job.job_id, timeout_seconds=20)
    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, done.outcome) == (0, Outcome.PASSED), said
    await until(lambda: not alive(pid), "the tree lives")


async def test_stopped_coordinators_and_a_stopped_store_cancel_nothing(stack: Stack, org: str, tmp_path: Path) -> None:
    """They stand still for longer than the command may be silent, and less than costs attempts."""
    process, job, _ = await run(stack, org, tmp_path, after=1)
    for coordinator in stack.coordinators:
        coordinator.pause()
    await asyncio.sleep(1.5)
    for coordinator in stack.coordinators:
        coordinator.resume()
    stack.store.pause()
    await asyncio.sleep(1.5)
    stack.store.resume()
    await asyncio.sleep(1 + LOOK_SECONDS)
    async with stack.client() as client:
        now = await client.get(job.job_id)
        assert now.status is not JobStatus.CANCELLED, now.error
        (tmp_path / "go").touch()
        await client.wait(job.job_id, timeout_seconds=20)
    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, said


async def test_an_interrupted_command_cancels_at_once_and_leaves_no_bond(
    stack: Stack, org: str, first: AsyncClient, tmp_path: Path
) -> None:
    process, job, pid = await run(stack, org, tmp_path, after=60)
    process.send_signal(signal.SIGTERM)
    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 130, said
    assert (await first.get(job.job_id)).status is JobStatus.CANCELLED
    await until(lambda: not alive(pid), "the tree lives")
    assert await bonds(stack, org) == {}


async def test_a_command_that_has_waited_long_enough_lets_its_jobs_go_on(
    stack: Stack, org: str, first: AsyncClient, tmp_path: Path
) -> None:
    process, job, _ = await run(stack, org, tmp_path, "--timeout=2s", after=1)
    _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 124, said
    assert await bonds(stack, org) == {}
    await asyncio.sleep(1 + LOOK_SECONDS)
    assert (await first.get(job.job_id)).status is JobStatus.RUNNING
    (tmp_path / "go").touch()
    await first.wait(job.job_id, timeout_seconds=20)


async def test_p5_jobs_that_another_run_shares_survive_the_client(
    stack: Stack, org: str, first: AsyncClient, tmp_path: Path
) -> None:
    process, job, _ = await run(stack, org, tmp_path)
    wanted = command(org, holding(tmp_path), run_id="r2")
    (shared,) = await first.submit_many([again(wanted, test_path="tests/a.js")])
    assert shared.job_id == job.job_id
    process.kill()
    await process.communicate()

    async def left() -> bool:
        return (await first.get(job.job_id)).run_ids == ("r2",)

    await until(left, "the job stays in the run")
    assert (await first.get(job.job_id)).status is JobStatus.RUNNING
    (tmp_path / "go").touch()
    await first.wait(job.job_id, timeout_seconds=20)


async def test_a_bond_without_a_run_is_refused(org: str, first: AsyncClient) -> None:
    with pytest.raises(InvalidError, match="is required with cancel_on_disconnect") as refused:
        await first.submit_many(simulated(org), bond=Bond(5))
    assert refused.value.field == "jobs[0].run_id"
    for seconds in (0.5, 90_000, float("nan")):
        with pytest.raises(InvalidError) as refused:
            await first.submit_many(simulated(org, run_id="r1"), bond=Bond(seconds))
        assert refused.value.field == "cancel_on_disconnect.after_seconds"
