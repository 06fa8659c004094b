"""What goes over an agent's stream when there is much of it, or when one side is newer than the other."""

from __future__ import annotations

from qgjob import AsyncClient
from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes.raw_agent import RawAgent, now_ms
from tests.fakes.stack import Stack
from tests.integration.stack.specs import simulated

UNHEARD_OF = b"\xfa\x01\x00"
"""A field of number 31, empty."""


async def test_what_a_newer_agent_says_is_passed_over(stack: Stack, org: str, first: AsyncClient) -> None:
    async with RawAgent(stack.address(0), f"{org}-raw") as agent:
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


async def test_agents_of_a_coordinator_that_stops_are_sent_away(stack: Stack, org: str) -> None:
    async with RawAgent(stack.address(1), f"{org}-raw") as agent:
        await agent.hello()
        stack.coordinators[1].terminate()
        refused = await agent.message("refused")
        assert refused.reason == pb.REFUSED_REASON_GOING_AWAY
        await stack.coordinators[1].exit_code()
