"""Watchers that read nothing cost their coordinator no memory, and are told from where to go on."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from qgjob import AsyncClient, Outcome
from qgjob_proto.v1 import jobs_pb2, jobs_pb2_grpc
from tests.chaos.bounds import CANCELLED, MOST_MIB
from tests.chaos.memory import Growth, resident
from tests.fakes import impatient_coordinator
from tests.fakes.small_windows import SMALL_WINDOWS
from tests.fakes.stack import PATIENT, AgentPlan, Stack, alive
from tests.fakes.waiting import DEADLINE_SECONDS, until
from tests.integration.stack.specs import command, holding, pids, simulated

WATCHERS = 20
JOBS = 4_000
AT_ONCE = 500
TEXT = "x" * 1_000
"""In each job, so that what the watchers do not read is some 16 MB for each of them."""
CUT_SECONDS = 3.0


async def watches(channel: grpc.aio.Channel) -> list[Any]:
    """Calls of which nothing more is read than that they began."""
    stub: Any = jobs_pb2_grpc.JobServiceStub(channel)
    calls = [stub.WatchJobs(jobs_pb2.WatchJobsRequest(org_id="watched")) for _ in range(WATCHERS)]
    for call in calls:
        assert (await call.read()).event == jobs_pb2.WATCH_EVENT_READY
    return calls


async def load(client: AsyncClient, org: str) -> None:
    """Jobs that come and go: two changes of each."""
    for _ in range(JOBS // AT_ONCE):
        await client.submit_many(simulated(org, AT_ONCE, env={"TEXT": TEXT}))
    await client.cancel_many(org, statuses=["queued"])


async def how_it_ended(call: Any) -> grpc.aio.AioRpcError:
    """Of a stream that is read to its end. Raises AssertionError where that was a good one."""
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the watch had an end")


async def test_watchers_that_read_nothing_are_cut_and_cost_no_memory(tmp_path: Path) -> None:
    stack = Stack(tmp_path, coordinators=1, agents=(), times=PATIENT)
    coordinator = stack.coordinators[0]
    coordinator._command = [sys.executable, "-P", impatient_coordinator.__file__, str(CUT_SECONDS)]
    try:
        await stack.start()
        async with (
            stack.client() as client,
            grpc.aio.insecure_channel(stack.address(0), options=SMALL_WINDOWS) as channel,
        ):
            await load(client, "before")  # what such a load costs by itself, and what is loaded only now
            calls = await watches(channel)
            growth = Growth(partial(resident, coordinator.pid))
            looking = asyncio.create_task(growth.watch(DEADLINE_SECONDS))
            await load(client, "watched")
            cut = partial(coordinator.events, "call_refused", method="WatchJobs", error="slow_reader")
            await until(lambda: len(cut()) == WATCHERS or growth.mib >= MOST_MIB, "the watchers are not cut")
            looking.cancel()
            assert growth.mib < MOST_MIB
            ends = [await how_it_ended(call) for call in calls]
    finally:
        await stack.stop()
    assert not growth.ended
    assert {end.code() for end in ends} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    said = f"its reader took nothing for {CUT_SECONDS:g} s; go on after cursor "
    assert all(said in (end.details() or "") for end in ends)


async def test_a_cancel_gets_through_beside_watchers_that_read_nothing(tmp_path: Path) -> None:
    """Of what a test runs that is watched by them: neither the agent's stream nor the caller waits for a reader."""
    stack = Stack(tmp_path, coordinators=1, agents=[AgentPlan("cmd-1", 1, "device", runner="command")], times=PATIENT)
    try:
        await stack.start()
        async with (
            stack.client() as client,
            grpc.aio.insecure_channel(stack.address(0), options=SMALL_WINDOWS) as channel,
        ):
            calls = await watches(channel)
            job = await client.submit(command("watched", holding(tmp_path)))
            (pid,) = await pids(tmp_path)
            await load(client, "watched")
            cancelled = await client.cancel(job.job_id)
            assert cancelled.outcome is Outcome.CANCELLED
            await until(lambda: not alive(pid), "its test runs on", seconds=CANCELLED.within(stack.times))
            assert all(not call.done() for call in calls), "nobody hung any more"
            for call in calls:
                call.cancel()
    finally:
        await stack.stop()


async def test_watchers_that_go_while_something_waits_for_them_leave_no_traceback(tmp_path: Path) -> None:
    """A client that hung was killed: no fault of the coordinator, which would tell it for each of the watches."""
    stack = Stack(tmp_path, coordinators=1, agents=(), times=PATIENT)
    try:
        await stack.start()
        async with (
            stack.client() as client,
            grpc.aio.insecure_channel(stack.address(0), options=SMALL_WINDOWS) as channel,
        ):
            calls = await watches(channel)
            await load(client, "watched")
            for call in calls:
                call.cancel()
    finally:
        await stack.stop()
    (log,) = tmp_path.glob("coordinator-0/*.log")
    said = log.read_text(encoding="utf-8")
    assert "coordinator_stopped" in said
    assert "Traceback" not in said
    assert "exception" not in said
