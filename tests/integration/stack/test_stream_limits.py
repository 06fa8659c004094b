"""What goes over an agent's stream when there is much of it, or when one side is newer than the other."""

from __future__ import annotations

from typing import Any

import pytest

from qgjob import AsyncClient, TooLargeError
from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes.raw_agent import RawAgent, now_ms
from tests.fakes.stack import Stack
from tests.integration.stack.specs import simulated

HELD = 4_000
LONGEST_ID = 128
UNHEARD_OF = b"\xfa\x01\x00"
"""A field of number 31, empty."""


class NewerAgent(RawAgent):
    """Says more of its devices than this version knows."""

    def device(self, device_id: str, **changes: Any) -> pb.DeviceInfo:
        known = super().device(device_id, **changes)
        known.MergeFromString(UNHEARD_OF)
        return known


async def test_what_a_newer_agent_says_is_passed_over(stack: Stack, org: str, first: AsyncClient) -> None:
    async with NewerAgent(stack.address(0), f"{org}-raw") as agent:
        assert UNHEARD_OF in agent.device("d").SerializeToString()
        await agent.hello()
        newer = pb.ConnectRequest.FromString(UNHEARD_OF)
        newer.epoch = agent.epoch
        for _ in range(2):
            async with agent._writing:
                await agent._call.write(newer)
        await first.submit_many(simulated(org, target="browserstack"))
        (a,) = await agent.assigned(1)
        unknown = pb.Report.FromString(UNHEARD_OF)
        unknown.report_id, unknown.job_id, unknown.token = 99, a.job_id, a.token
        done = pb.Finished(outcome=types.OUTCOME_PASSED, started_at_ms=now_ms(), ended_at_ms=now_ms())
        agent.held.pop(a.token)
        known = pb.Report(report_id=98, job_id=a.job_id, token=a.token, finished=done)
        await agent.send_reports([unknown, known])
        assert await agent.verdict(98) == "APPLIED"
        assert 99 not in {e.report_id for m in agent.all("report_ack") for e in m.entries}
        said = [line for line in stack.coordinators[0].events("unknown_message") if line["agent_id"] == f"{org}-raw"]
        assert len(said) == 1


async def test_an_agent_that_holds_thousands_is_welcomed_and_heard(stack: Stack, org: str) -> None:
    """4,000 attempts with ids of the greatest length, and more than 1 MB of reports at once."""
    async with RawAgent(stack.address(0), f"{org}-raw") as agent:
        long = "o" * LONGEST_ID
        held = [
            pb.HeldAttempt(
                job_id=f"{long}~01ARZ3NDEKTSV4RRFFQ69{n:05}",
                token=f"{n:032}",
                attempt=1,
                phase=pb.ATTEMPT_PHASE_SPOOLED,
                device_id="d" * LONGEST_ID,
            )
            for n in range(HELD)
        ]
        welcome = await agent.hello(held=held, credit=HELD)
        assert set(welcome.released) == {h.token for h in held}
        agent.held = {h.token: h for h in held}
        await agent.message("heartbeat_ack", times=2)
        agent.held = {}
        failed = pb.Finished(outcome=types.OUTCOME_TEST_FAILED, error="e" * 450, started_at_ms=1, ended_at_ms=2)
        reports = [
            pb.Report(report_id=n, job_id=h.job_id, token=h.token, finished=failed) for n, h in enumerate(held, 1)
        ]
        await agent.send_reports(reports)
        assert [await agent.verdict(n) for n in (1, HELD)] == ["STALE", "STALE"]


async def test_a_request_over_1_mb_is_refused_with_the_limit(org: str, first: AsyncClient) -> None:
    (spec,) = simulated(org, env={f"V{n}": "x" * 30_000 for n in range(40)})
    with pytest.raises(TooLargeError, match="bytes and may have 1048576") as refused:
        await first.submit(spec)
    assert refused.value.field == "body"


async def test_a_message_over_4_mb_is_refused_by_grpc_itself(org: str, first: AsyncClient) -> None:
    (spec,) = simulated(org, env={f"V{n}": "x" * 30_000 for n in range(150)})
    with pytest.raises(TooLargeError, match="larger than max") as refused:
        await first.submit(spec)
    assert refused.value.field is None


async def test_agents_of_a_coordinator_that_stops_are_sent_away(stack: Stack, org: str) -> None:
    async with RawAgent(stack.address(1), f"{org}-raw") as agent:
        await agent.hello()
        stack.coordinators[1].terminate()
        refused = await agent.message("refused")
        assert refused.reason == pb.REFUSED_REASON_GOING_AWAY
        await stack.coordinators[1].exit_code()
