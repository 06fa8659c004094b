"""What a failure leads to: where the next attempt goes, what it is counted as, and what is kept of each attempt."""

from __future__ import annotations

from qgjob import AsyncClient, JobStatus, Outcome
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes.raw_agent import RawAgent
from tests.fakes.stack import Stack
from tests.integration.stack.specs import simulated

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
