"""Many submissions that are stopped on their way: what is known of each, and what is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from qgjob import AsyncClient, Bond, ConflictError, ForbiddenError, Job, JobSpec, JobStatus, UnavailableError
from qgjob._submitting import Submitting
from qgjob.cli import interrupting
from qgjob.cli.interrupting import cancel_each, submitted
from qgjob.cli.printer import Printer
from qgjob.cli.verdicts import Goal, await_verdicts
from qgjob.testing import MockTransport
from qgjob_proto.v1 import jobs_pb2, types_pb2
from tests.fakes.coordinator_services import FakeCoordinator


def request(number: int) -> jobs_pb2.SubmitJobRequest:
    return jobs_pb2.SubmitJobRequest(org_id=f"org{number}", job_id=f"org{number}~{number}", test_path="t")


async def test_after_a_stop_no_call_is_sent_and_those_on_their_way_are_answered() -> None:
    free, begun = asyncio.Event(), asyncio.Event()
    calls: list[str] = []

    async def send(requests: Sequence[jobs_pb2.SubmitJobRequest], more_follows: bool) -> list[types_pb2.Job]:
        calls.append(requests[0].job_id)
        if len(calls) == 4:
            begun.set()
        await free.wait()
        return [types_pb2.Job(job_id=each.job_id) for each in requests]

    submitting = Submitting([request(number) for number in range(6)], send)  # a call each
    running = asyncio.create_task(submitting.run())
    await begun.wait()
    assert submitting.unanswered == calls
    submitting.stop()
    free.set()
    await running
    assert [job.job_id for job in submitting.answered] == calls == [f"org{n}~{n}" for n in range(4)]
    assert (submitting.total, submitting.unanswered) == (6, [])


async def test_an_interrupt_before_the_first_call_says_that_nothing_was_submitted(
    client: AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    async def send(requests: Sequence[jobs_pb2.SubmitJobRequest], more_follows: bool) -> list[types_pb2.Job]:
        raise AssertionError("sent after the interrupt")

    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await submitted(client, Submitting([request(1)], send), lambda jobs: pytest.fail(f"there are {jobs}"))
    task.uncancel()
    assert capsys.readouterr().err == "interrupted; nothing was submitted\n"


@pytest.mark.parametrize(("error", "there_may_be"), [(UnavailableError("away"), True), (ConflictError("no"), False)])
async def test_of_a_call_that_failed_there_may_be_jobs_unless_it_was_refused(
    error: Exception, there_may_be: bool
) -> None:
    async def send(requests: Sequence[jobs_pb2.SubmitJobRequest], more_follows: bool) -> list[types_pb2.Job]:
        raise error

    submitting = Submitting([request(1)], send)
    with pytest.raises(type(error)):
        await submitting.run()
    assert submitting.unanswered == (["org1~1"] if there_may_be else [])


async def test_what_was_not_answered_is_cancelled_unless_it_is_the_job_of_somebody_else(
    fake: FakeCoordinator, client: AsyncClient
) -> None:
    own = await client.submit(JobSpec("acme", "v1", "own"))
    other = await client.submit(JobSpec("acme", "v1", "other"))
    fake.aliases["acme~mine"] = other.job_id
    over: list[str] = []
    ids = [own.job_id, "acme~mine", "acme~never-came"]
    assert await cancel_each(client, ids, {}, "interrupted", over.append) == 1
    assert sorted(over) == sorted([own.job_id, "acme~mine"])
    assert (await client.get(own.job_id)).status is JobStatus.CANCELLED
    assert (await client.get(other.job_id)).status is JobStatus.QUEUED


async def test_a_run_of_which_nothing_is_there_yet_is_named_since_its_jobs_may_still_come(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(interrupting, "ANSWER_SECONDS", 0.05)
    begun = asyncio.Event()

    async def send(requests: Sequence[jobs_pb2.SubmitJobRequest], more_follows: bool) -> list[types_pb2.Job]:
        begun.set()
        await asyncio.Event().wait()
        return []

    goal = Goal(follow=lambda: client.follow(()), resume="", run=("acme", "r1"), cancel_on_interrupt=True)
    task = asyncio.create_task(submitted(client, Submitting([request(1)], send), lambda _: goal))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert capsys.readouterr().err.splitlines() == [
        "interrupted; 0 of 1 jobs are submitted; cancelling them",
        "no job of run r1 is there to cancel",
        "run r1: 1 job of it sent and not answered; to cancel: qgjob cancel --org-id=acme --run-id=r1",
    ]


@pytest.mark.parametrize("error", [ForbiddenError("not in this org"), None])
async def test_a_run_of_which_all_is_cancelled_is_told_so_though_it_could_not_be_let_go(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(interrupting, "CANCEL_SECONDS", 0.05)

    async def answer(method: str, request: Any) -> Any:
        if method == "CancelJobs":
            return jobs_pb2.CancelJobsResponse(count=2)
        assert (method, request.release) == ("KeepRun", True)
        if error is not None:
            raise error
        return await asyncio.Event().wait()

    bound = AsyncClient(transports=[MockTransport(answer)])
    goal = Goal(
        follow=lambda: bound.follow(()), resume="", run=("acme", "r1"), cancel_on_interrupt=True, bond=Bond(20.0)
    )
    await interrupting.interrupted(bound, goal, {})
    assert capsys.readouterr().err.splitlines() == [
        "interrupted; cancelling the jobs",
        "2 jobs of run r1 cancelled",
        f"run r1 stays bound to this command for 20 s, and is cancelled again then: {error or 'no answer in time'}",
    ]


def refused_for_good(waiting: asyncio.Event) -> AsyncClient:
    """A client whose signs of life are refused as soon as it waits."""

    async def answer(method: str, _request: Any) -> Any:
        assert method == "KeepRun"
        await waiting.wait()
        raise ForbiddenError("not in this org")

    return AsyncClient(transports=[MockTransport(answer)])


async def test_a_submission_that_a_refused_sign_of_life_ends_was_not_interrupted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    begun = asyncio.Event()
    bound = refused_for_good(begun)

    async def send(requests: Sequence[jobs_pb2.SubmitJobRequest], more_follows: bool) -> list[types_pb2.Job]:
        begun.set()
        await asyncio.Event().wait()
        return []

    submitting = Submitting([request(1)], send)
    with pytest.raises(ForbiddenError, match="not in this org"):
        async with asyncio.timeout(5), bound.kept("acme", "r1", Bond(20.0)):
            await submitted(bound, submitting, lambda jobs: pytest.fail(f"it ends {jobs}"))
    assert capsys.readouterr().err == ""


async def test_a_wait_that_a_refused_sign_of_life_ends_was_not_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    waiting = asyncio.Event()
    bound = refused_for_good(waiting)

    async def follow() -> AsyncGenerator[Job]:
        waiting.set()
        await asyncio.Event().wait()
        yield pytest.fail("there is no job")

    goal = Goal(follow=follow, resume="", run=("acme", "r1"), cancel_on_interrupt=True, bond=Bond(20.0))
    with pytest.raises(ForbiddenError, match="not in this org"):
        async with asyncio.timeout(5), bound.kept("acme", "r1", Bond(20.0)):
            await await_verdicts(bound, Printer("json"), goal)
    assert "interrupted" not in capsys.readouterr().err
