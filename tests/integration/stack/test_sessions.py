"""What a coordinator accepts of an agent's stream: identities, epochs, tokens, replays; all said by the test."""

from __future__ import annotations

import pytest

from qgjob import AsyncClient, ConflictError, Device, DeviceState, ErrorClass, JobStatus, Outcome
from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes.history import transitions
from tests.fakes.raw_agent import PROTOCOL_VERSION, RawAgent, now_ms
from tests.fakes.stack import Stack
from tests.fakes.waiting import until
from tests.integration.stack.specs import pinned, reach, simulated

STRAY = "stray"


async def test_p3_a_report_sent_twice_has_one_effect(stack: Stack, org: str, first: AsyncClient) -> None:
    async with RawAgent(stack.address(0), f"{org}-raw") as agent:
        await agent.hello()
        (job,) = await first.submit_many(simulated(org, target="browserstack"))
        (a,) = await agent.assigned(1)
        body = pb.Finished(outcome=types.OUTCOME_PASSED, started_at_ms=now_ms(), ended_at_ms=now_ms(), duration_ms=0)
        again = pb.Finished(outcome=types.OUTCOME_TEST_FAILED, started_at_ms=1, ended_at_ms=2, duration_ms=1)
        agent.held.pop(a.token)
        reports = [
            pb.Report(report_id=1, job_id=a.job_id, token=a.token, finished=body),
            pb.Report(report_id=2, job_id=a.job_id, token=a.token, finished=again),
        ]
        await agent.send_reports(reports)
        await agent.send_reports([pb.Report(report_id=3, job_id=a.job_id, token=a.token, finished=again)])
        assert [await agent.verdict(i) for i in (1, 2, 3)] == ["APPLIED", "REPLAYED", "REPLAYED"]
    done = await first.get(job.job_id)
    assert (done.status, done.outcome, len(done.attempts)) == (JobStatus.COMPLETED, Outcome.PASSED, 1)


@pytest.mark.parametrize("begun", [True, False])
async def test_a_result_stands_for_the_start_that_was_not_reported(
    stack: Stack, org: str, first: AsyncClient, begun: bool
) -> None:
    async with RawAgent(stack.address(0), f"{org}-raw") as agent:
        assert (await agent.hello()).joined_reports
        (job,) = await first.submit_many(simulated(org, target="browserstack"))
        (a,) = await agent.assigned(1)
        assert await agent.verdict(await agent.finish(a, begun=begun)) == "APPLIED"
        assert await agent.verdict(await agent.finish(a, begun=begun)) == "REPLAYED"
    with stack.store.client() as raw:
        letters = [t.letter for t in transitions(raw, org) if t.job_id == job.job_id]
    assert letters == (["q", "s", "r", "c"] if begun else ["q", "s", "c"])


async def test_installations_that_come_with_reports_are_counted_and_known(
    stack: Stack, org: str, first: AsyncClient
) -> None:
    async with RawAgent(stack.address(0), f"{org}-raw") as agent:
        await agent.hello()
        (job,) = await first.submit_many(simulated(org, target="browserstack"))
        (a,) = await agent.assigned(1)
        agent.held.pop(a.token)
        told = {"device_id": a.device_id, "org_id": org, "app_version_id": a.app_version_id}
        installed = pb.Installed(**told, outcome=types.OUTCOME_PASSED, install_ms=700, job_id=a.job_id, token=a.token)
        times = {"started_at_ms": now_ms(), "ended_at_ms": now_ms(), "install_ms": 700}
        finished = pb.Finished(outcome=types.OUTCOME_PASSED, **times, begun=True)
        report = pb.Report(report_id=1, job_id=a.job_id, token=a.token, finished=finished)
        await agent.send(reports=pb.Reports(reports=[report], installed=[installed]))
        assert await agent.verdict(1) == "APPLIED"

        async def known() -> bool:
            (device,) = [d async for d in first.devices() if d.device_id == a.device_id]
            return device.app_version_id == a.app_version_id

        await until(known, "the device does not show the build")
        assert (await first.get(job.job_id)).attempts[0].install_ms == 700


async def test_p3_wrong_tokens_change_nothing(stack: Stack, org: str, first: AsyncClient) -> None:
    async with RawAgent(stack.address(0), f"{org}-raw") as agent:
        await agent.hello()
        (job,) = await first.submit_many(simulated(org, target="browserstack"))
        (a,) = await agent.assigned(1)
        assert await agent.verdict(await agent.start(a)) == "APPLIED"
        before = await first.get(job.job_id)
        finished = pb.Finished(outcome=types.OUTCOME_TEST_FAILED, started_at_ms=now_ms(), ended_at_ms=now_ms())
        dead = pb.TreeDead(cause=pb.DEATH_CAUSE_REVOKED, ended_at_ms=now_ms(), started=True)
        for body in ({"finished": finished}, {"tree_dead": dead}, {"started": pb.Started(started_at_ms=now_ms())}):
            stranger = await agent.report(a, token=STRAY, **body)
            assert await agent.verdict(stranger) == "STALE"
        unknown = pb.Assignment(job_id=f"{org}~01ARZ3NDEKTSV4RRFFQ69G5FAV", token=a.token)
        assert await agent.verdict(await agent.report(unknown, finished=finished)) == "STALE"
        assert await first.get(job.job_id) == before
        await agent.passes(a)
    assert (await reach(first, job.job_id, JobStatus.COMPLETED)).outcome is Outcome.PASSED


async def test_p3_messages_of_another_epoch_are_not_heard(stack: Stack, org: str, first: AsyncClient) -> None:
    async with RawAgent(stack.address(0), f"{org}-raw") as agent:
        await agent.hello()
        await agent.hello()
        (job,) = await first.submit_many(simulated(org, target="browserstack"))
        (a,) = await agent.assigned(1)
        finished = pb.Finished(outcome=types.OUTCOME_TEST_FAILED, started_at_ms=now_ms(), ended_at_ms=now_ms())
        old = await agent.report(a, epoch=agent.epoch - 1, finished=finished)
        # What comes after it is answered, so it has been passed over.
        assert await agent.verdict(await agent.start(a)) == "APPLIED"
        assert old not in {e.report_id for m in agent.all("report_ack") for e in m.entries}
        assert (await first.get(job.job_id)).status is JobStatus.RUNNING
        await agent.passes(a)
    assert (await reach(first, job.job_id, JobStatus.COMPLETED)).outcome is Outcome.PASSED


async def test_a_lower_epoch_is_refused_with_the_stored_one(stack: Stack, org: str) -> None:
    async with RawAgent(stack.address(0), f"{org}-raw") as agent:
        await agent.hello(epoch=7)
        await agent.leave()
        refused = await agent.refused(epoch=6)
        assert (refused.reason, refused.stored_epoch) == (pb.REFUSED_REASON_STALE_EPOCH, 7)
        assert "epoch 6 is not above 7" in refused.message
        await agent.hello(epoch=refused.stored_epoch + 1)


async def test_a_second_instance_is_refused_until_the_first_has_timed_out(stack: Stack, org: str) -> None:
    async with (
        RawAgent(stack.address(0), f"{org}-raw") as agent,
        RawAgent(stack.address(1), f"{org}-raw") as twin,
    ):
        await agent.hello()
        refused = await twin.refused(epoch=10)
        assert refused.reason == pb.REFUSED_REASON_AGENT_ID_IN_USE
        assert "give this host an agent_id of its own" in refused.message
        # The first one was not disturbed: it still gets confirmations.
        seen = len(agent.all("heartbeat_ack"))
        await agent.message("heartbeat_ack", times=seen + 1)
        agent.silent = True

        async def welcome() -> bool:
            return (await twin.say_hello()).HasField("welcome")

        await until(welcome, "the twin is never welcome")


async def test_a_device_of_another_agent_is_refused(stack: Stack, org: str) -> None:
    async with (
        RawAgent(stack.address(0), f"{org}-raw") as agent,
        RawAgent(stack.address(1), f"{org}-other") as other,
    ):
        await agent.hello()
        other.device_ids = list(agent.device_ids)
        refused = await other.refused()
        assert refused.reason == pb.REFUSED_REASON_DEVICE_ID_IN_USE
        assert f"device_id {agent.device_ids[0]} belongs to agent {org}-raw" in refused.message


async def test_a_wrong_protocol_version_is_refused_with_what_to_do(stack: Stack, org: str) -> None:
    async with RawAgent(stack.address(0), f"{org}-raw") as agent:
        old = await agent.refused(protocol_version=PROTOCOL_VERSION - 1)
        assert (old.reason, old.message.endswith("upgrade the agent")) == (pb.REFUSED_REASON_VERSION, True)
        new = await agent.refused(protocol_version=PROTOCOL_VERSION + 1)
        assert (new.reason, new.message.endswith("upgrade the coordinator")) == (pb.REFUSED_REASON_VERSION, True)


async def test_p4_what_a_new_session_does_not_show_is_lost_and_what_it_shows_goes_on(
    stack: Stack, org: str, first: AsyncClient
) -> None:
    async with RawAgent(stack.address(0), f"{org}-raw", devices=2) as agent:
        await agent.hello()
        shown, hidden = await first.submit_many(
            [
                *simulated(org, target="browserstack", requirements=pinned(f"{org}-raw-1")),
                *simulated(org, target="browserstack", requirements=pinned(f"{org}-raw-2")),
            ]
        )
        by_job = {a.job_id: a for a in await agent.assigned(2)}
        for a in by_job.values():
            assert await agent.verdict(await agent.start(a)) == "APPLIED"
        lost = agent.held.pop(by_job[hidden.job_id].token)
        agent.address = stack.address(1)
        welcome = await agent.hello()
        assert list(welcome.adopted) == [by_job[shown.job_id].token]
        job = await first.get(hidden.job_id)
        assert (job.attempts[0].outcome, job.retry_count) == (Outcome.AGENT_LOST, 0)
        assert job.attempts[0].error is not None
        assert job.attempts[0].error.error_class is ErrorClass.INFRASTRUCTURE
        # Its late result is of a lease that is over.
        late = pb.Assignment(job_id=lost.job_id, token=lost.token)
        assert await agent.verdict(await agent.finish(late)) in {"STALE", "REPLAYED"}
        assert (await first.get(hidden.job_id)).status is not JobStatus.COMPLETED
        await agent.passes(by_job[shown.job_id])
        (again,) = await agent.assigned(1)
        assert (again.job_id, again.attempt) == (hidden.job_id, 2)
        await agent.passes(again)
        done = await first.wait([shown.job_id, hidden.job_id], timeout_seconds=20)
    assert [len(job.attempts) for job in done] == [1, 2]


async def test_p4_a_device_that_runs_a_lost_attempt_gets_no_work_until_it_is_dead(
    stack: Stack, org: str, first: AsyncClient
) -> None:
    async with RawAgent(stack.address(0), f"{org}-raw") as agent:
        await agent.hello()
        (job,) = await first.submit_many(simulated(org, target="browserstack"))
        (a,) = await agent.assigned(1)
        await agent.verdict(await agent.start(a))
        # Shown with a token that the store does not grant: the agent runs it all the same.
        held = agent.held.pop(a.token)
        stray = pb.HeldAttempt(job_id=a.job_id, token=STRAY, attempt=1, phase=held.phase, device_id=held.device_id)
        agent.held[STRAY] = stray
        welcome = await agent.hello()
        assert list(welcome.released) == [STRAY]
        (other,) = await first.submit_many(simulated(org, target="browserstack", no_dedup=True))
        for times in (2, 4):
            await agent.message("heartbeat_ack", times=times)
        assert agent.all("assign") == []
        del agent.held[STRAY]
        (b, c) = [await _next(agent, i) for i in (1, 2)]
        assert {b.job_id, c.job_id} == {job.job_id, other.job_id}


async def _next(agent: RawAgent, number: int) -> pb.Assignment:
    a = (await agent.assigned(number))[-1]
    await agent.passes(a)
    return a


async def test_a_leaving_agent_is_offline_and_its_device_too(stack: Stack, org: str, first: AsyncClient) -> None:
    async with RawAgent(stack.address(0), f"{org}-raw") as agent:
        await agent.hello()
        await agent.send(bye=pb.Bye(reason="done"))

        async def offline() -> bool:
            devices = [d async for d in first.devices(agent_id=f"{org}-raw")]
            return [d.state for d in devices] == [DeviceState.OFFLINE]

        await until(offline, "the device stays online")


async def test_a_host_that_was_forgotten_comes_back_as_a_new_one(stack: Stack, org: str, first: AsyncClient) -> None:
    """With a new disk: its epochs begin with 1 again, and none of before comes twice."""
    name = f"{org}-raw"
    async with RawAgent(stack.address(0), name) as agent:
        await agent.hello(epoch=7)
        with pytest.raises(ConflictError, match="is online; stop it"):
            await first.forget_agent(name)
        await agent.leave()

        async def forgotten() -> tuple[Device, ...]:
            try:
                return await first.forget_agent(name)
            except ConflictError:  # what it ran is not given up
                return ()

        devices = await until(forgotten, "it is never forgotten")
    assert {d.agent_id for d in devices} == {name}
    assert name not in {a.agent_id async for a in first.agents()}
    async with RawAgent(stack.address(1), name) as agent:
        refused = await agent.refused(epoch=1)
        assert (refused.reason, refused.stored_epoch) == (pb.REFUSED_REASON_STALE_EPOCH, 7)
        await agent.hello(epoch=8)
        (job,) = await first.submit_many(
            simulated(org, target="browserstack", requirements=pinned(agent.device_ids[0]))
        )
        (a,) = await agent.assigned(1)
        await agent.start(a)
        await agent.passes(a)
    assert (await reach(first, job.job_id, JobStatus.COMPLETED)).outcome is Outcome.PASSED
