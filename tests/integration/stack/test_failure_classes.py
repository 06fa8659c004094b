"""What a failure leads to: where the next attempt goes, what it is counted as, and what is kept of each attempt."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from qgjob import AsyncClient, JobStatus, Outcome
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes.raw_agent import RawAgent
from tests.fakes.stack import Stack
from tests.integration.stack.specs import command, simulated

CLI = "import sys; from qgjob.cli import main; sys.exit(main())"
BROWSER = {"target": "browserstack", "max_retries": 0}


async def test_a_lost_attempt_goes_to_another_host_and_not_to_the_next_device_of_its_own(
    stack: Stack, org: str, first: AsyncClient
) -> None:
    async with (
        RawAgent(stack.address(0), f"{org}-raw1", devices=3) as one,
        RawAgent(stack.address(0), f"{org}-raw2") as two,
    ):
        await one.hello()
        (job,) = await first.submit_many(simulated(org, **BROWSER))
        a = (await one.assigned(1))[-1]
        await one.verdict(await one.start(a))
        await two.hello()
        assert {f"{org}-raw2"} <= {d.agent_id async for d in first.devices()}
        one.held.clear()
        await one.hello()
        b = (await two.assigned(1))[-1]
        assert (b.job_id, b.attempt) == (job.job_id, 2)
        await two.passes(b)
        done = await first.get(job.job_id)
    assert [(x.agent_id, x.outcome) for x in done.attempts] == [
        (f"{org}-raw1", Outcome.AGENT_LOST),
        (f"{org}-raw2", Outcome.PASSED),
    ]
    assert (done.status, done.outcome, done.retry_count) == (JobStatus.COMPLETED, Outcome.PASSED, 0)


async def test_where_there_is_one_host_a_lost_attempt_goes_to_another_device_of_it(
    stack: Stack, org: str, first: AsyncClient
) -> None:
    async with RawAgent(stack.address(0), f"{org}-raw1", devices=2) as one:
        await one.hello()
        (job,) = await first.submit_many(simulated(org, **BROWSER))
        a = (await one.assigned(1))[-1]
        await one.verdict(await one.start(a))
        one.held.clear()
        await one.hello()
        (b,) = await one.assigned(1)
        assert (b.job_id, b.attempt) == (job.job_id, 2)
        assert b.device_id != a.device_id
        await one.passes(b)
        done = await first.get(job.job_id)
    assert [x.device_id for x in done.attempts] == [a.device_id, b.device_id]


async def test_a_device_error_leaves_the_other_devices_of_its_host_in_play(
    stack: Stack, org: str, first: AsyncClient
) -> None:
    async with RawAgent(stack.address(0), f"{org}-raw1", devices=2) as one:
        await one.hello()
        (job,) = await first.submit_many(simulated(org, **BROWSER))
        a = (await one.assigned(1))[-1]
        await one.start(a)
        await one.verdict(await one.finish(a, types.OUTCOME_DEVICE_ERROR, error="no cable"))
        b = (await one.assigned(2))[-1]
        assert (b.job_id, b.device_id != a.device_id) == (job.job_id, True)
        await one.passes(b)


async def test_each_attempt_keeps_its_own_log_result_and_times(
    stack: Stack, org: str, first: AsyncClient, tmp_path: Path
) -> None:
    script = (
        f"if [ -e {tmp_path}/again ]; then echo second try; else touch {tmp_path}/again; echo first try; exit 3; fi"
    )
    (job,) = await first.submit_many([command(org, script)])
    (done,) = await first.wait(job.job_id, timeout_seconds=20)
    assert (done.status, done.outcome, done.retry_count) == (JobStatus.COMPLETED, Outcome.FLAKY, 1)
    failed, passed = done.attempts
    assert (failed.outcome, passed.outcome) == (Outcome.TEST_FAILED, Outcome.PASSED)
    assert failed.result is not None
    assert passed.result is not None
    assert (failed.result.failed, passed.result.failed) == (1, 0)
    assert done.result == passed.result
    assert failed.error is not None
    assert passed.error is None
    times = [failed.scheduled_at, failed.started_at, failed.ended_at, passed.scheduled_at, passed.started_at]
    assert None not in times
    assert times == sorted(times)  # type: ignore[type-var]
    logs = [b"".join([c.data async for c in first.logs(job.job_id, attempt=n)]) for n in (1, 2)]
    assert logs == [b"first try\n", b"second try\n"]
    again = await first.get(job.job_id)
    assert again.attempts == done.attempts


@pytest.mark.parametrize(("more", "code"), [((), 0), (("--fail-on-flaky",), 10)])
async def test_a_run_tells_flaky_apart_from_passed(
    stack: Stack, org: str, first: AsyncClient, tmp_path: Path, more: tuple[str, ...], code: int
) -> None:
    script = f"case $QGJOB_TEST_PATH in *flaky*) [ -e {tmp_path}/a ] || {{ touch {tmp_path}/a; exit 1; }};; esac"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CLI, "run", f"--org-id={org}", "--app-version-id=v1", "--target=device"),
        *("--run-id=r1", "--test=tests/flaky.js", "--test=tests/sound.js", f"--env=TEST={script}", *more),
        f"--coordinator={stack.address(0)}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=stack.folder,
    )
    _, said = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode == code, said
    counts, _, installs = said.decode().splitlines()[-1].partition("; ")
    assert counts in ("2 jobs: 1 flaky, 1 passed", "2 jobs: 1 passed, 1 flaky")
    assert installs in ("1 install", "2 installs", "3 installs")  # by how many devices its three attempts had
    counted = (await first.run(org, "r1")).outcome_counts
    assert {k: v for k, v in counted.items() if v} == {"passed": 1, "flaky": 1}


async def test_a_retry_of_the_failed_leaves_the_cancelled_and_the_passed_alone(
    stack: Stack, org: str, first: AsyncClient
) -> None:
    await first.drain(agent_id="cmd-2")
    fields = {"run_id": "r1", "max_retries": 0}
    failed, passed = await first.submit_many([command(org, "exit 1", **fields), command(org, "exit 0", **fields)])
    await first.wait([failed.job_id, passed.job_id], timeout_seconds=20)
    (cancelled,) = await first.submit_many(simulated(org, target="browserstack", **fields))
    await first.cancel(cancelled.job_id)
    done = await first.retry_many(org, "r1", failed_only=True)
    assert ([j.job_id for j in done.jobs], done.count) == ([failed.job_id], 1)
    assert (await first.get(cancelled.job_id)).status is JobStatus.CANCELLED
    (again,) = await first.wait(failed.job_id, timeout_seconds=20)
    assert (again.round, [a.round for a in again.attempts]) == (2, [1, 2])
    assert (await first.get(passed.job_id)).round == 1
