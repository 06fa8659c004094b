"""A newer run of a key cancels what the older one has unfinished, through real processes."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from qgjob import AsyncClient, ErrorClass, InvalidError, JobStatus, Outcome
from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.model.jobs import JobSpec as StoredSpec
from qgjob_coordinator.service import ulid
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.store.store import Store
from tests.fakes.stack import Stack, alive
from tests.fakes.waiting import until
from tests.integration.stack.specs import again, command, holding, pids, pinned, reach, running, simulated

CLI = "import sys; from qgjob.cli import main; sys.exit(main())"


async def test_p5_whatever_the_older_run_has_unfinished_is_cancelled(
    stack: Stack, org: str, first: AsyncClient, second: AsyncClient, tmp_path: Path
) -> None:
    """Running, scheduled behind it, queued, waiting for a time, waiting for a retry; and a tree that ignores TERM."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    older = {"run_id": "r1", "supersede": "main"}
    stubborn = f"trap '' TERM; setsid sleep 60 & echo $! > {one}/grandchild; {holding(one)}"
    kept = command(org, holding(two), requirements=pinned("cmd-2-1"), **older)
    specs = [
        command(org, stubborn, requirements=pinned("cmd-1-1"), **older),
        command(org, "exit 0", requirements=pinned("cmd-1-1"), **older),
        command(org, "exit 0", not_before=datetime.now(UTC) + timedelta(hours=1), **older),
        command(org, "exit 1", requirements=pinned("cmd-1-2"), **older),
        kept,
    ]
    jobs = await first.submit_many(specs)
    (pid,), (kept_pid,) = await pids(one), await pids(two)
    tree = [pid, int((one / "grandchild").read_text())]

    async def waits_for_its_retry() -> bool:
        return (await first.get(jobs[3].job_id)).retry_count >= 1

    await until(waits_for_its_retry, "it does not fail")
    newer = {"run_id": "r2", "supersede": "main"}
    taken, fresh = await second.submit_many([again(kept, **newer), *simulated(org, **newer)])
    assert (taken.job_id, taken.deduplicated) == (jobs[4].job_id, True)
    for job in jobs[:4]:
        done = await reach(first, job.job_id, JobStatus.CANCELLED)
        assert done.error is not None
        assert (done.error.error_class, done.error.message) == (ErrorClass.CANCELLED, "superseded by run r2")
    await until(lambda: not any(alive(p) for p in tree), "the tree lives")
    assert alive(kept_pid)
    (two / "go").touch()
    (done,) = await first.wait(taken.job_id, timeout_seconds=20)
    assert (done.outcome, done.run_ids, len(done.attempts)) == (Outcome.PASSED, ("r2",), 1)
    (done,) = await first.wait(fresh.job_id, timeout_seconds=20)
    assert done.outcome is Outcome.PASSED


async def test_a_coordinator_that_dies_before_the_cancel_leaves_it_to_the_others(
    stack: Stack, org: str, first: AsyncClient, tmp_path: Path
) -> None:
    """Here it is a process that writes the submission to the store and is gone, while the real ones are stopped."""
    job = await first.submit(command(org, holding(tmp_path), run_id="r1", supersede="main"))
    await running(first, job.job_id)
    (pid,) = await pids(tmp_path)
    now = wall_ms()
    newer = StoredSpec(org, ulid.make(now), "v1", "tests/n.js", Priority.LOW, Target.BROWSERSTACK, 0)
    newer.run_id, newer.supersede = "r2", "main"
    for coordinator in stack.coordinators:
        coordinator.pause()
    store = Store(stack.store.url)
    try:
        await store.jobs.submit(org, [newer], [True], now)
        assert [run.run_id for run in await store.runs.to_cancel(org)] == ["r1"]
    finally:
        await store.close()
    stack.coordinators[0].kill()
    stack.coordinators[1].resume()
    async with stack.client(1) as client:
        done = await reach(client, job.job_id, JobStatus.CANCELLED)
        assert done.error is not None
        assert done.error.message == "superseded by run r2"
        assert (await client.get(newer.job_id)).status is JobStatus.QUEUED
    await until(lambda: not alive(pid), "the tree lives")


async def test_two_runs_at_once_leave_one(stack: Stack, org: str, first: AsyncClient, second: AsyncClient) -> None:
    """Whichever comes first, one of them has all its jobs and the other one none, and no job is lost between them."""
    await first.drain(device_id="cmd-1-1")
    device = {"requirements": pinned("cmd-1-1"), "supersede": "main"}
    shared = command(org, "exit 0", run_id="r1", **device)
    one = [command(org, "exit 0", run_id="r1", **device), shared]
    two = [command(org, "exit 0", run_id="r2", **device), again(shared, run_id="r2")]
    await asyncio.gather(first.submit_many(one), second.submit_many(two))

    async def settled() -> bool:
        runs = [await first.run(org, run_id) for run_id in ("r1", "r2")]
        return sorted(run.status_counts["queued"] for run in runs) == [0, 2]

    await until(settled, "not one of the runs is left")
    with stack.store.client() as redis:
        await until(lambda: not redis.exists(f"qg:o:{{{org}}}:rc"), "a mark is left")


async def test_more_jobs_than_one_call_takes_are_complete_before_anything_is_cancelled(
    stack: Stack, org: str, first: AsyncClient
) -> None:
    """The equal of a running job comes with the last of three calls."""
    await first.drain(device_id="cmd-1-1")
    spec = command(org, "exit 0", requirements=pinned("cmd-1-1"), run_id="r1", supersede="main")
    held, gone = await first.submit_many([spec, again(spec, test_path="tests/gone.js")])
    many = [again(spec, run_id="r2", test_path=f"tests/many-{n}.js") for n in range(2100)]
    *_, taken = await first.submit_many([*many, again(spec, run_id="r2")], view="ids")
    assert taken.job_id == held.job_id
    assert (await reach(first, gone.job_id, JobStatus.CANCELLED)).error is not None
    assert (await first.get(held.job_id)).run_ids == ("r2",)
    await first.submit(again(spec, run_id="r3", test_path="tests/last.js"))

    async def cancelled() -> bool:
        return (await first.run(org, "r2")).status_counts["cancelled"] == 2101

    await until(cancelled, "not all of the run is cancelled")


async def test_a_key_without_a_run_is_refused(org: str, first: AsyncClient) -> None:
    with pytest.raises(InvalidError, match="is required with supersede") as refused:
        await first.submit(simulated(org, supersede="main")[0])
    assert refused.value.field == "run_id"


async def test_the_command_line_makes_a_run_and_ends_the_one_before(stack: Stack, org: str, tmp_path: Path) -> None:
    """The older command waits for its jobs, and exits with 19."""
    shared = ("--org-id", org, "--app-version-id=v1", "--supersede=main", "--target=device")
    script = f"TEST={holding(tmp_path)}"
    older = await _cli(stack, "run", *shared, "--test=tests/old.js", f"--env={script}")
    await pids(tmp_path)
    newer = await _cli(stack, "submit", *shared, "--test=tests/new.js", "--env=TEST=exit 0")
    _, said = await newer.communicate()
    assert newer.returncode == 0, said
    assert b"this is run run-" in said
    _, said = await asyncio.wait_for(older.communicate(), 20)
    assert older.returncode == 19, said
    assert b"superseded by run run-" in said


async def _cli(stack: Stack, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CLI, *arguments, f"--coordinator={stack.address(0)},{stack.address(1)}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=stack.folder,
    )
