"""The life of a job through a real stack: verdicts, both retry budgets, cancels and retries by hand."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from qgjob import AsyncClient, ConflictError, ErrorClass, Job, JobSpec, JobStatus, Outcome, Requirements
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes.plain_http import NO_TLS
from tests.fakes.raw_agent import RawAgent
from tests.fakes.reply_eater import ReplyEater
from tests.fakes.stack import Stack, alive
from tests.fakes.waiting import until
from tests.integration.stack.specs import command, holding, pids, pinned, reach, running, simulated


async def finished(client: AsyncClient, spec: JobSpec) -> Job:
    """The job with its verdict."""
    (job,) = await client.submit_many([spec])
    (done,) = await client.wait(job.job_id, timeout_seconds=20)
    return done


# Verdicts of the test.


@pytest.mark.parametrize(
    ("script", "outcome"),
    [("exit 3", Outcome.TEST_FAILED), ("kill -SEGV $$", Outcome.APP_CRASHED), ("sleep 60", Outcome.TIMED_OUT)],
)
async def test_p2_how_a_command_ends_is_the_verdict(
    stack: Stack, org: str, first: AsyncClient, script: str, outcome: Outcome
) -> None:
    job = await finished(first, command(org, script, max_retries=0, timeout_seconds=1))
    assert (job.status, job.outcome) == (JobStatus.FAILED, outcome)
    assert job.error is not None
    assert job.error.error_class is ErrorClass.TEST
    assert [a.outcome for a in job.attempts] == [outcome]


async def test_a_test_that_passes_on_its_retry_is_flaky(
    stack: Stack, org: str, first: AsyncClient, tmp_path: Path
) -> None:
    script = f"[ -e {tmp_path}/again ] || {{ touch {tmp_path}/again; exit 1; }}"
    job = await finished(first, command(org, script))
    assert (job.status, job.outcome, job.retry_count) == (JobStatus.COMPLETED, Outcome.FLAKY, 1)
    assert [a.outcome for a in job.attempts] == [Outcome.TEST_FAILED, Outcome.PASSED]


async def test_retries_of_the_test_class_are_used_up(stack: Stack, org: str, first: AsyncClient) -> None:
    job = await finished(first, command(org, "exit 1", max_retries=1))
    assert (job.status, job.outcome, job.retry_count) == (JobStatus.FAILED, Outcome.TEST_FAILED, 1)
    assert [a.attempt for a in job.attempts] == [1, 2]


# Verdicts of the infrastructure.


async def test_a_device_error_goes_to_another_device_and_costs_the_test_nothing(
    stack: Stack, org: str, first: AsyncClient
) -> None:
    async with RawAgent(stack.address(0), f"{org}-raw", devices=2) as agent:
        await agent.hello()
        (job,) = await first.submit_many(simulated(org, target="browserstack", max_retries=0))
        (a,) = await agent.assigned(1)
        await agent.start(a)
        await agent.verdict(await agent.finish(a, types.OUTCOME_DEVICE_ERROR, error="the cable fell out"))
        b = (await agent.assigned(2))[1]
        assert b.device_id != a.device_id
        await agent.passes(b)
        done = await first.get(job.job_id)
    assert (done.outcome, done.retry_count) == (Outcome.PASSED, 0)
    assert done.attempts[0].error is not None
    assert done.attempts[0].error.error_class is ErrorClass.INFRASTRUCTURE
    assert "the cable fell out" in done.attempts[0].error.message


async def test_a_job_that_costs_two_agents_their_life_is_not_tried_on_a_third(
    stack: Stack, org: str, first: AsyncClient
) -> None:
    async with (
        RawAgent(stack.address(0), f"{org}-raw1") as one,
        RawAgent(stack.address(1), f"{org}-raw2") as two,
        RawAgent(stack.address(1), f"{org}-raw3") as three,
    ):
        await one.hello()
        (job,) = await first.submit_many(simulated(org, target="browserstack"))
        for agent, following in ((one, two), (two, three)):
            (a,) = await agent.assigned(1)
            await agent.verdict(await agent.start(a))
            await following.hello()
            # A coordinator reads the fleet now and then; asked for the devices, it reads it now.
            assert following.device_ids[0] in [d.device_id async for d in first.devices()]
            # It comes back without the attempt, as after a restart of its host.
            agent.held.clear()
            await agent.hello()
        done = await reach(first, job.job_id, JobStatus.FAILED)
        assert three.all("assign") == []
    assert done.outcome is Outcome.AGENT_LOST
    assert done.error is not None
    assert done.error.error_class is ErrorClass.POISON
    assert [a.agent_id for a in done.attempts] == [f"{org}-raw1", f"{org}-raw2"]


async def test_a_build_that_cannot_be_resolved_fails_at_once(stack: Stack, org: str, first: AsyncClient) -> None:
    async with RawAgent(stack.address(0), f"{org}-raw") as agent:
        await agent.hello()
        (job,) = await first.submit_many(simulated(org, target="browserstack"))
        (a,) = await agent.assigned(1)
        await agent.verdict(
            await agent.finish(a, types.OUTCOME_PROVIDER_ERROR, error="no such build", unresolvable=True)
        )
        done = await first.get(job.job_id)
    assert done.status is JobStatus.FAILED
    assert len(done.attempts) == 1
    assert done.error is not None
    assert (done.error.error_class, done.error.message) == (ErrorClass.BUILD, "no such build")


async def test_a_job_that_waits_too_long_expires_and_says_why(stack: Stack, org: str, first: AsyncClient) -> None:
    await first.drain(device_id="cmd-1-1", reason="cable")
    nowhere = JobSpec(org, "v1", "a.js", requirements=Requirements(os_version="99"), queue_timeout_seconds=1)
    drained = command(org, "exit 0", requirements=pinned("cmd-1-1"), queue_timeout_seconds=1)
    jobs = await first.submit_many([nowhere, drained])
    done = await first.wait([job.job_id for job in jobs], timeout_seconds=20)
    assert [(job.status, job.outcome) for job in done] == [(JobStatus.FAILED, Outcome.EXPIRED)] * 2
    errors = [job.error for job in done if job.error is not None]
    assert [e.error_class for e in errors] == [ErrorClass.NO_RESOURCE, ErrorClass.QUEUE_TIMEOUT]
    assert "draining" in errors[1].message


# Cancel and retry by hand.


async def test_p5_cancel_in_every_state(stack: Stack, org: str, first: AsyncClient, tmp_path: Path) -> None:
    device = {"requirements": pinned("cmd-1-1")}
    runs, held = await first.submit_many(
        [command(org, holding(tmp_path), **device), command(org, "exit 0", app_version_id="v2", **device)]
    )
    waiting = await first.submit(command(org, "exit 0", not_before=datetime.now(UTC) + timedelta(hours=1)))
    retrying = await first.submit(command(org, "exit 1", requirements=pinned("cmd-1-2")))
    (pid,) = await pids(tmp_path)
    await running(first, runs.job_id)

    async def waits_for_its_retry() -> bool:
        return (await first.get(retrying.job_id)).retry_count >= 1

    await until(waits_for_its_retry, "it does not fail")
    for job in (held, runs, waiting, retrying):  # the one that waits first: its device must not come free
        cancelled = await first.cancel(job.job_id, reason="not needed")
        assert (cancelled.status, cancelled.outcome) == (JobStatus.CANCELLED, Outcome.CANCELLED)
        assert cancelled.error is not None
        assert (cancelled.error.error_class, cancelled.error.message) == (ErrorClass.CANCELLED, "not needed")
        assert (await first.cancel(job.job_id)).completed_at == cancelled.completed_at
    await until(lambda: not alive(pid), "the tree lives")
    assert (await first.get(held.job_id)).attempts == ()
    after = await finished(first, command(org, "exit 0", **device))
    assert after.outcome is Outcome.PASSED
    with pytest.raises(ConflictError, match="completed"):
        await first.cancel(after.job_id)


async def test_p5_an_attempt_that_was_not_begun_is_taken_back(stack: Stack, org: str, first: AsyncClient) -> None:
    async with RawAgent(stack.address(0), f"{org}-raw") as agent:
        await agent.hello()
        await first.submit_many(simulated(org, 20, target="browserstack"))
        for n in range(1, 7):
            await agent.passes((await agent.assigned(n))[-1])  # tests as short as these come several at once
        *_, begun, waiting = await agent.assigned(8)
        await first.cancel_many(org, statuses=["queued"])
        await agent.start(begun)
        cancelled = await first.cancel(waiting.job_id)
        assert cancelled.status is JobStatus.CANCELLED
        assert (await agent.message("revoke")).token == waiting.token
        assert await agent.verdict(await agent.die(waiting, started=False)) == "APPLIED"
        await agent.passes(begun)
        (attempt,) = (await first.get(waiting.job_id)).attempts
    assert (attempt.outcome, attempt.started_at) == (Outcome.CANCELLED, None)


async def attempts_counted(stack: Stack, outcome: Outcome) -> float:
    """How many attempts ended so, as the first coordinator's /metrics say."""
    ready = await stack.coordinators[0].says("coordinator_ready")
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{ready['port']}", verify=NO_TLS) as http:
        text = (await http.get("/metrics")).text
    samples = (s for family in text_string_to_metric_families(text) for s in family.samples)
    return sum(s.value for s in samples if (s.name, s.labels) == ("qgjob_attempts_total", {"outcome": outcome}))


async def test_p5_a_cancelled_attempt_is_counted_when_it_has_ended(stack: Stack, org: str, first: AsyncClient) -> None:
    before = await attempts_counted(stack, Outcome.CANCELLED)
    async with RawAgent(stack.address(0), f"{org}-raw") as agent:
        await agent.hello()
        (job,) = await first.submit_many(simulated(org, target="browserstack"))
        (a,) = await agent.assigned(1)
        await agent.verdict(await agent.start(a))
        await first.cancel(job.job_id)
        assert (await agent.message("revoke")).token == a.token
        assert await attempts_counted(stack, Outcome.CANCELLED) == before
        assert await agent.verdict(await agent.finish(a)) == "STALE"  # it had passed when the revoke came
        assert await attempts_counted(stack, Outcome.CANCELLED) == before + 1
        assert await agent.verdict(await agent.die(a)) == "REPLAYED"
        assert await attempts_counted(stack, Outcome.CANCELLED) == before + 1


async def test_p4_a_retry_by_hand_waits_until_the_old_tree_is_dead(
    stack: Stack, org: str, first: AsyncClient, second: AsyncClient, tmp_path: Path
) -> None:
    again = f"[ -e {tmp_path}/pid ] && {{ kill -0 $(cat {tmp_path}/pid) 2>/dev/null && exit 7; exit 0; }}"
    stubborn = f"trap '' TERM; {again}; {holding(tmp_path)}"
    (job,) = await first.submit_many([command(org, stubborn, max_retries=0)])
    await running(first, job.job_id)
    (pid,) = await pids(tmp_path)
    await first.cancel(job.job_id)
    retried = await second.retry(job.job_id)
    assert alive(pid)
    assert (retried.status, retried.round) == (JobStatus.QUEUED, 2)
    (done,) = await second.wait(job.job_id, timeout_seconds=20)
    assert (done.outcome, done.round) == (Outcome.PASSED, 2)
    assert [(a.round, a.outcome) for a in done.attempts] == [(1, Outcome.CANCELLED), (2, Outcome.PASSED)]
    killed, passed = done.attempts
    assert killed.ended_at is not None
    assert passed.scheduled_at is not None
    assert killed.ended_at <= passed.scheduled_at


async def test_a_retry_is_refused_for_what_runs_passed_or_is_of_another_round(
    stack: Stack, org: str, first: AsyncClient, tmp_path: Path
) -> None:
    failed = await finished(first, command(org, f"[ -e {tmp_path}/go ]", max_retries=0))
    with pytest.raises(ConflictError, match="round"):
        await first.retry(failed.job_id, round=2)
    (tmp_path / "go").touch()
    assert (await first.retry(failed.job_id, round=1)).round == 2
    (passed,) = await first.wait(failed.job_id, timeout_seconds=20)
    assert (passed.outcome, passed.round, len(passed.attempts)) == (Outcome.PASSED, 2, 2)
    for round_ in (1, 2):
        with pytest.raises(ConflictError):
            await first.retry(failed.job_id, round=round_)


# Submissions.


async def test_p1_a_submission_whose_reply_was_lost_is_one_job(stack: Stack, org: str, second: AsyncClient) -> None:
    async def there() -> list[Job]:
        return [job async for job in second.list(org)]

    async with ReplyEater(stack.ports[0]) as proxy, AsyncClient(f"127.0.0.1:{proxy.port}") as client:
        await client.health()
        proxy.eat()
        late = asyncio.create_task(client.submit(simulated(org)[0]))
        (arrived,) = await until(there, "the submission does not arrive")
        await until(lambda: proxy.eaten, "nothing is answered")
        assert not late.done()
        proxy.cut()
        job = await late
    assert job.job_id == arrived.job_id
    (done,) = await second.wait(job.job_id, timeout_seconds=20)
    assert len(await there()) == len(done.attempts) == 1


async def test_equal_jobs_are_one_while_unfinished(
    stack: Stack, org: str, first: AsyncClient, second: AsyncClient
) -> None:
    await first.drain(device_id="cmd-1-1")
    spec = command(org, "exit 0", requirements=pinned("cmd-1-1"), priority="low", run_id="run-1")
    job = await first.submit(spec)
    (equal,) = await second.submit_many([_again(spec, run_id="run-2", priority="high")])
    assert (equal.job_id, equal.deduplicated, job.deduplicated) == (job.job_id, True, False)
    assert (equal.priority, set(equal.run_ids)) == ("high", {"run-1", "run-2"})
    own = await second.submit(_again(spec, no_dedup=True))
    assert own.job_id != job.job_id
    left = await first.cancel_many(org, run_id="run-1")
    assert (left.count, left.detached) == (1, 1)  # the one that --no-dedup made is run-1's alone
    assert (await first.get(job.job_id)).status is JobStatus.QUEUED
    last = await first.cancel_many(org, run_id="run-2")
    assert (last.count, last.detached) == (1, 0)
    assert (await first.get(job.job_id)).status is JobStatus.CANCELLED
    await first.resume(device_id="cmd-1-1")
    later = await finished(first, _again(spec))
    assert later.job_id != job.job_id


def _again(spec: JobSpec, **changes: object) -> JobSpec:
    values = {name: getattr(spec, name) for name in spec.__slots__} | changes
    return JobSpec(**values)
