"""Watches and waits that survive broken connections without missing anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from qgjob import (
    AsyncClient,
    Job,
    JobSpec,
    NotFoundError,
    UnavailableError,
    WaitTimeoutError,
    WatchEvent,
    _following,
)
from qgjob._failover import Patience
from qgjob.testing import MockTransport
from qgjob_proto.v1 import jobs_pb2, types_pb2
from tests.fakes.coordinator_services import FakeCoordinator, Fault, serving

SNAPSHOT, READY = jobs_pb2.WATCH_EVENT_SNAPSHOT, jobs_pb2.WATCH_EVENT_READY
TRANSITION, RESET = jobs_pb2.WATCH_EVENT_TRANSITION, jobs_pb2.WATCH_EVENT_RESET
QUICK = Patience(timeout_seconds=2, backoff_seconds=0.001, max_backoff_seconds=0.002, reconnect_seconds=2)


def spec(test_path: str, **more: Any) -> JobSpec:
    return JobSpec("acme", "v1", test_path, **more)


def event(kind: Any, cursor: str, status: str | None = None, job_id: str = "acme~1") -> jobs_pb2.WatchJobsResponse:
    job = None
    if status is not None:
        number = types_pb2.JobStatus.Value(f"JOB_STATUS_{status.upper()}")
        job = types_pb2.Job(job_id=job_id, org_id="acme", priority=1, target=1, status=number, round=1)
    return jobs_pb2.WatchJobsResponse(event=kind, cursor=cursor, job=job)


def scripted(*streams: list[Any]) -> tuple[AsyncClient, MockTransport]:
    """A client whose watches yield these streams one after another, then only fail."""
    left = list(streams)

    async def answer(method: str, request: Any) -> Any:
        del request
        assert method == "WatchJobs"
        if not left:
            raise UnavailableError("no more")
        return left.pop(0)

    mock = MockTransport(answer)
    client = AsyncClient(transports=[mock])
    client._source.patience = QUICK
    return client, mock


async def take(events: AsyncIterator[WatchEvent], count: int) -> list[tuple[str, str | None, str | None]]:
    taken = []
    async for each in events:
        taken.append((str(each.event), each.cursor, str(each.job.status) if each.job else None))
        if len(taken) == count:
            break
    return taken


async def test_a_snapshot_then_transitions(fake: FakeCoordinator, client: AsyncClient) -> None:
    job = await client.submit(spec("t"))
    events = client.watch("acme")
    assert [kind for kind, _, _ in await take(events, 2)] == ["snapshot", "ready"]
    await events.aclose()

    events = client.watch("acme")
    await anext(events)
    await anext(events)
    fake.move(job.job_id, "running")
    assert [(kind, status) for kind, _, status in await take(events, 1)] == [("transition", "running")]


async def test_a_broken_watch_goes_on_after_its_cursor() -> None:
    client, mock = scripted(
        [event(SNAPSHOT, "1", "queued"), event(READY, "1"), event(TRANSITION, "2", "running"), UnavailableError("cut")],
        [event(TRANSITION, "3", "completed")],
    )
    assert await take(client.watch("acme"), 4) == [
        ("snapshot", None, "queued"),
        ("ready", "1", None),
        ("transition", "2", "running"),
        ("transition", "3", "completed"),
    ]
    assert [request.cursor for _, request in mock.calls] == ["", "2"]


async def test_jobs_are_watched_without_a_word_of_their_org() -> None:
    client, mock = scripted([event(READY, "1")])
    assert [kind for kind, _, _ in await take(client.watch(job_ids=["acme~a", "acme~b"]), 1)] == ["ready"]
    ((_, request),) = mock.calls
    assert (request.org_id, list(request.job_ids)) == ("", ["acme~a", "acme~b"])


async def test_a_stream_that_the_coordinator_ends_is_taken_up_again() -> None:
    client, mock = scripted([event(READY, "1")], [event(TRANSITION, "2", "running")])
    assert [kind for kind, _, _ in await take(client.watch("acme"), 2)] == ["ready", "transition"]
    assert [request.cursor for _, request in mock.calls] == ["", "1"]


async def test_a_watch_cut_within_its_snapshot_starts_anew_and_says_so() -> None:
    client, mock = scripted(
        [event(SNAPSHOT, "9", "queued"), UnavailableError("cut")],
        [event(SNAPSHOT, "9", "running"), event(READY, "9")],
    )
    assert await take(client.watch("acme"), 4) == [
        ("snapshot", None, "queued"),
        ("reset", None, None),
        ("snapshot", None, "running"),
        ("ready", "9", None),
    ]
    assert not any(request.HasField("cursor") for _, request in mock.calls)


async def test_a_reset_by_the_coordinator_is_passed_on_and_its_snapshot_is_no_place_to_go_on_from() -> None:
    client, mock = scripted(
        [event(RESET, "50"), event(SNAPSHOT, "50", "running"), UnavailableError("cut")],
        [event(SNAPSHOT, "51", "completed"), event(READY, "51")],
    )
    kinds = [kind for kind, _, _ in await take(client.watch("acme", cursor="7"), 5)]
    assert kinds == ["reset", "snapshot", "reset", "snapshot", "ready"]
    assert [request.HasField("cursor") for _, request in mock.calls] == [True, False]


async def test_a_watch_gives_up_when_nobody_answers_for_long() -> None:
    client, _ = scripted()
    client._source.patience = Patience(timeout_seconds=0.05, backoff_seconds=0.01, max_backoff_seconds=0.01)
    with pytest.raises(UnavailableError, match="no more"):
        await take(client.watch("acme"), 1)


async def test_a_watch_that_has_worked_may_be_away_for_longer() -> None:
    client, mock = scripted([event(READY, "1")])
    client._source.patience = Patience(
        timeout_seconds=0.01, reconnect_seconds=0.3, backoff_seconds=0.01, max_backoff_seconds=0.01
    )
    with pytest.raises(UnavailableError):
        await take(client.watch("acme"), 2)
    assert len(mock.calls) > 10


async def test_a_client_that_was_answered_before_is_as_patient_with_the_first_connection_of_a_watch() -> None:
    client, mock = scripted([event(READY, "1")])
    client._source.patience = Patience(
        timeout_seconds=0.01, reconnect_seconds=0.3, backoff_seconds=0.01, max_backoff_seconds=0.01
    )
    await take(client.watch("acme"), 1)
    with pytest.raises(UnavailableError):
        await take(client.watch("acme"), 1)
    assert len(mock.calls) > 10


async def test_a_cursor_that_is_too_old_over_the_wire(fake: FakeCoordinator, client: AsyncClient) -> None:
    await client.submit(spec("t"))
    fake.first_cursor = 5
    assert [kind for kind, _, _ in await take(client.watch("acme", cursor="2"), 3)] == ["reset", "snapshot", "ready"]


async def play(fake: FakeCoordinator, job_id: str, status: str = "completed", outcome: str = "passed") -> None:
    """Let a job go its way, once somebody watches."""
    await fake.reached("WatchJobs")
    for step in ("scheduled", "running"):
        fake.move(job_id, step, device_id="d1")
        await asyncio.sleep(0)
    fake.move(job_id, status, outcome)


async def test_wait_returns_the_jobs_in_the_order_asked_for(fake: FakeCoordinator, client: AsyncClient) -> None:
    jobs = await client.submit_many([spec(f"t{n}") for n in range(3)])
    ids = [job.job_id for job in jobs]
    seen: list[str] = []
    player = asyncio.gather(*[play(fake, job_id) for job_id in reversed(ids)])
    done = await client.wait(ids, timeout_seconds=10, on_change=lambda job: seen.append(str(job.status)))
    await player
    assert [job.job_id for job in done] == ids
    assert {str(job.outcome) for job in done} == {"passed"}
    assert {"queued", "scheduled", "running", "completed"} == set(seen)


async def test_wait_for_what_is_over_already_returns_at_once(fake: FakeCoordinator, client: AsyncClient) -> None:
    job = await client.submit(spec("t"))
    fake.move(job.job_id, "failed", "timed_out")
    [done] = await client.wait(job.job_id, timeout_seconds=10)
    assert done.outcome == "timed_out"
    assert await client.wait([], timeout_seconds=10) == ()


async def test_wait_survives_cut_streams(fake: FakeCoordinator, client: AsyncClient) -> None:
    job = await client.submit(spec("t"))
    fake.cut_watch_after = [1, 0, 2, 1]
    player = asyncio.create_task(play(fake, job.job_id))
    [done] = await client.wait(job.job_id, timeout_seconds=10)
    await player
    assert done.outcome == "passed"
    assert fake.calls["WatchJobs"] >= 3


async def test_wait_survives_the_death_of_its_coordinator() -> None:
    """Two coordinators on one store: the jobs of the one are those of the other."""
    async with serving() as second:
        async with serving() as first:
            first.jobs, first.events = second.jobs, second.events
            client = AsyncClient(f"{first.address},{second.address}")
            job = await client.submit(spec("t"))
            waiting = asyncio.create_task(client.wait(job.job_id, timeout_seconds=10))
            await first.reached("WatchJobs")
        await play(second, job.job_id)
        [done] = await waiting
        await client.close()
    assert done.outcome == "passed"


async def test_wait_names_an_unknown_job_by_its_place(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_following, "MAX_JOBS_PER_WATCH", 2)
    known = [job.job_id for job in await client.submit_many([spec(f"t{n}") for n in range(3)])]
    for ids, place in ((["acme~nope"], 0), ([known[0], *known, "acme~nope"], 4)):
        with pytest.raises(NotFoundError, match="acme~nope") as caught:
            await client.wait(ids, timeout_seconds=10)
        assert caught.value.field == f"job_ids[{place}]"


async def test_a_watch_of_an_unknown_job_ends_and_names_it(fake: FakeCoordinator, client: AsyncClient) -> None:
    job = await client.submit(spec("t"))
    with pytest.raises(NotFoundError, match="acme~nope") as caught:
        await take(client.watch("acme", job_ids=[job.job_id, "acme~nope"]), 1)
    assert caught.value.field == "job_ids[1]"
    assert fake.calls["WatchJobs"] == 1, "it is not asked again"


async def test_wait_by_an_alias_waits_for_the_job_behind_it(fake: FakeCoordinator, client: AsyncClient) -> None:
    job = await client.submit(spec("t"))
    fake.aliases["acme~alias"] = job.job_id
    player = asyncio.create_task(play(fake, job.job_id))
    [done] = await client.wait("acme~alias", timeout_seconds=10)
    await player
    assert (done.job_id, done.outcome) == (job.job_id, "passed")


async def test_wait_over_several_orgs_and_more_jobs_than_one_watch_takes(
    fake: FakeCoordinator, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_following, "MAX_JOBS_PER_WATCH", 2)
    specs = [JobSpec(f"org{n % 2}", "v1", f"t{n}") for n in range(6)]
    ids = [job.job_id for job in await client.submit_many(specs)]
    player = asyncio.gather(*[play(fake, job_id) for job_id in ids])
    done = await client.wait(ids, timeout_seconds=10)
    await player
    assert [job.job_id for job in done] == ids
    assert fake.calls["WatchJobs"] == 4


async def test_a_timeout_tells_what_was_seen_and_leaves_the_jobs_alone(
    fake: FakeCoordinator, client: AsyncClient
) -> None:
    done, going = await client.submit_many([spec("done"), spec("going")])
    fake.move(done.job_id, "completed", "passed")
    with pytest.raises(WaitTimeoutError, match=r"after 0\.2 s 1 of 2 jobs have no verdict") as caught:
        await client.wait([going.job_id, done.job_id], timeout_seconds=0.2)
    assert [str(job.status) for job in caught.value.jobs] == ["queued", "completed"]
    assert fake.calls["CancelJob"] == 0


async def test_a_lost_event_is_noticed_by_asking(
    fake: FakeCoordinator, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_following, "SILENCE_SECONDS", 0.05)
    job = await client.submit(spec("t"))
    waiting = asyncio.create_task(client.wait(job.job_id, timeout_seconds=10))
    await fake.reached("GetJob")
    # As if the event were lost: the job has changed and nobody is told.
    fake.jobs[job.job_id].status = types_pb2.JOB_STATUS_COMPLETED
    fake.jobs[job.job_id].outcome = types_pb2.OUTCOME_PASSED
    [done] = await waiting
    assert done.outcome == "passed"


async def test_wait_for_a_run_until_all_its_jobs_are_done(fake: FakeCoordinator, client: AsyncClient) -> None:
    jobs = await client.submit_many([spec(f"t{n}", run_id="r") for n in range(2)])
    await client.submit(spec("other"))
    player = asyncio.gather(*[play(fake, job.job_id) for job in jobs])
    done = await client.wait_run("acme", "r", timeout_seconds=10)
    await player
    assert [job.test_path for job in done] == ["t0", "t1"]
    with pytest.raises(NotFoundError, match="no run nope"):
        await client.wait_run("acme", "nope", timeout_seconds=10)


def leave_run(fake: FakeCoordinator, job_id: str) -> None:
    """As the cancel of a run does it with a job that others share."""
    fake.jobs[job_id].run_ids[:] = ["other"]
    fake.move(job_id, "queued")


async def test_a_job_that_left_its_run_while_the_watch_was_cut_is_waited_for(
    fake: FakeCoordinator, client: AsyncClient
) -> None:
    staying, leaving = await client.submit_many([spec(f"t{n}", run_id="r") for n in range(2)])
    fake.cut_watch_after = [3]  # the snapshot and that it is complete

    def leave(job: Job) -> None:
        if job.job_id == leaving.job_id and "r" in fake.jobs[leaving.job_id].run_ids:
            leave_run(fake, leaving.job_id)

    async def go_on() -> None:
        await fake.reached("WatchJobs", 2)
        fake.move(leaving.job_id, "completed", "passed")
        fake.move(staying.job_id, "failed", "test_failed")

    player = asyncio.create_task(go_on())
    done = await client.wait_run("acme", "r", timeout_seconds=3, on_change=leave)
    await player
    assert [(job.job_id, str(job.outcome)) for job in done] == [
        (staying.job_id, "test_failed"),
        (leaving.job_id, "passed"),
    ]


async def test_a_run_of_which_the_last_job_left_is_over_with_the_verdict_of_that_job(
    fake: FakeCoordinator, client: AsyncClient
) -> None:
    job = await client.submit(spec("t", run_id="r"))

    async def go_on() -> None:
        await fake.reached("WatchJobs")
        leave_run(fake, job.job_id)
        await fake.reached("WatchJobs", 2)  # by its id
        fake.move(job.job_id, "completed", "passed")

    player = asyncio.create_task(go_on())
    [done] = await client.wait_run("acme", "r", timeout_seconds=3)
    await player
    assert done.outcome == "passed"


async def test_lost_events_of_a_run_are_noticed_by_asking(
    fake: FakeCoordinator, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_following, "SILENCE_SECONDS", 0.05)
    inside, gone = await client.submit_many([spec(f"t{n}", run_id="r") for n in range(2)])
    waiting = asyncio.create_task(client.wait_run("acme", "r", timeout_seconds=3))
    await fake.reached("ListJobs")
    fake.jobs[gone.job_id].run_ids[:] = ["other"]
    for job in (inside, gone):
        fake.jobs[job.job_id].status = types_pb2.JOB_STATUS_COMPLETED
        fake.jobs[job.job_id].outcome = types_pb2.OUTCOME_PASSED
    done = await waiting
    assert [str(job.outcome) for job in done] == ["passed", "passed"]


async def test_a_large_run_of_which_little_is_left_is_not_read_whole_at_each_silence(
    fake: FakeCoordinator, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_following, "SILENCE_SECONDS", 0.05)
    jobs = await client.submit_many([spec(f"t{n}", run_id="r") for n in range(_following.JOBS_WORTH_A_CALL)])
    for job in jobs[1:]:
        fake.move(job.job_id, "completed", "passed")
    waiting = asyncio.create_task(client.wait_run("acme", "r", timeout_seconds=3))
    await fake.reached("GetJob", 3)
    assert fake.calls["ListJobs"] == 0
    # Nothing is told of the last verdict, nor of a job that joined the run meanwhile.
    fake.jobs["acme~late"] = types_pb2.Job()
    fake.jobs["acme~late"].CopyFrom(fake.jobs[jobs[1].job_id])
    fake.jobs["acme~late"].job_id = "acme~late"
    fake.jobs[jobs[0].job_id].status = types_pb2.JOB_STATUS_COMPLETED
    fake.jobs[jobs[0].job_id].outcome = types_pb2.OUTCOME_PASSED
    done = await waiting
    assert {job.job_id for job in done} == {*(job.job_id for job in jobs), "acme~late"}
    assert {str(job.outcome) for job in done} == {"passed"}
    assert fake.calls["ListJobs"] == 1


async def test_a_run_whose_watch_tells_nothing_is_asked_for_by_its_pages(
    fake: FakeCoordinator, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_following, "SILENCE_SECONDS", 0.05)
    job = await client.submit(spec("t", run_id="r"))
    fake.move(job.job_id, "completed", "passed")
    fake.cut_watch_after = [0] * 100
    client._source.patience = Patience(backoff_seconds=0.5)
    [done] = await client.wait_run("acme", "r", timeout_seconds=3)
    assert done.outcome == "passed"


async def test_giving_up_a_wait_ends_its_streams(fake: FakeCoordinator, client: AsyncClient) -> None:
    job: Job = await client.submit(spec("t"))
    waiting = asyncio.create_task(client.wait(job.job_id))
    await fake.reached("WatchJobs")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(10):
        await fake.watch_ended.wait()


async def read_log(client: AsyncClient, job_id: str, **options: Any) -> list[tuple[int, bytes]]:
    pieces: dict[int, bytes] = {}
    async for chunk in client.logs(job_id, **options):
        assert chunk.offset == len(pieces.get(chunk.attempt, b""))
        pieces[chunk.attempt] = pieces.get(chunk.attempt, b"") + chunk.data
    return list(pieces.items())


async def test_a_log_of_which_no_byte_is_lost_or_comes_twice(fake: FakeCoordinator, client: AsyncClient) -> None:
    job = await client.submit(spec("t"))
    fake.logs[job.job_id, 1] = b"the first attempt, which failed\n"
    fake.logs[job.job_id, 2] = b"the second attempt, which passed\n"

    assert await read_log(client, job.job_id) == [(2, fake.logs[job.job_id, 2])]
    assert await read_log(client, job.job_id, attempt=1) == [(1, fake.logs[job.job_id, 1])]
    for options in ({"attempt": 1}, {"attempt": 2, "follow": True}, {"follow": True}, {}):
        fake.faults = [Fault("TailLogs", after_effect=True), Fault("TailLogs"), Fault("TailLogs", after_effect=True)]
        attempt = int(options.get("attempt", 2))
        assert await read_log(client, job.job_id, **options) == [(attempt, fake.logs[job.job_id, attempt])]
        assert fake.faults == []
    with pytest.raises(NotFoundError):
        await read_log(client, "acme~nope")


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancel_that_comes_with_an_item_ends_who_takes_them(turns: int) -> None:
    items: asyncio.Queue[int] = asyncio.Queue()

    async def stream() -> AsyncGenerator[int]:
        while True:
            yield await items.get()

    async def take_all() -> None:
        async for _ in _following.merged([stream()], silence_seconds=60):
            pass

    taking = asyncio.create_task(take_all())
    await asyncio.sleep(0.01)
    items.put_nowait(1)
    for _ in range(turns):
        await asyncio.sleep(0)
    taking.cancel()
    done, _ = await asyncio.wait([taking], timeout=0.2)
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    assert done == {taking}
