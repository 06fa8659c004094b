"""Which coordinator is asked, what is repeated, and that nothing takes effect twice by it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from qgjob import AsyncClient, ConflictError, DeadlineError, JobSpec, NotFoundError, UnavailableError
from qgjob._failover import Failover, Patience
from qgjob.testing import MockTransport
from qgjob_proto.v1 import jobs_pb2, types_pb2
from tests.fakes.coordinator_services import FakeCoordinator, Fault, serving
from tests.fakes.reply_eater import ReplyEater

QUICK = Patience(timeout_seconds=5, try_seconds=0.2, backoff_seconds=0.001, max_backoff_seconds=0.002)
TOKEN = "s3cret"  # noqa: S105 - of a test
LATER = datetime(2100, 1, 1, tzinfo=UTC)


def transport(name: str, outcomes: list[Any], asked: list[str]) -> MockTransport:
    """Answers each call with the next of `outcomes`, the last one for ever."""

    async def answer(_: str, __: Any) -> Any:
        asked.append(name)
        outcome = outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return MockTransport(answer, address=name)


async def test_the_next_address_is_asked_at_once_and_stayed_with() -> None:
    asked: list[str] = []
    away = UnavailableError("away")
    source = Failover([transport("a", [away], asked), transport("b", ["b"], asked)], QUICK)

    assert await source.call("GetJob", None) == "b"
    assert await source.call("GetJob", None) == "b"
    assert asked == ["a", "b", "b"]
    assert source.address == "b"


async def test_it_comes_back_to_the_first_when_the_second_goes() -> None:
    asked: list[str] = []
    away = UnavailableError("away")
    source = Failover([transport("a", [away, "a"], asked), transport("b", ["b", away], asked)], QUICK)
    assert [await source.call("GetJob", None) for _ in range(2)] == ["b", "a"]


async def test_a_call_that_is_sent_once_and_not_answered_leaves_the_next_one_to_another() -> None:
    asked: list[str] = []
    hangs = DeadlineError("not answered in time")
    source = Failover([transport("a", [hangs], asked), transport("b", ["b"], asked)], QUICK)
    with pytest.raises(DeadlineError):
        await source.call("ReserveDevice", None, repeatable=False)
    assert await source.call("ReserveDevice", None, repeatable=False) == "b"
    assert asked == ["a", "b"]


async def test_many_calls_that_fail_together_move_on_by_one() -> None:
    asked: list[str] = []
    away = UnavailableError("away")
    source = Failover(
        [transport("a", [away], asked), transport("b", ["b"], asked), transport("c", ["c"], asked)], QUICK
    )
    assert await asyncio.gather(*[source.call("GetJob", None) for _ in range(5)]) == ["b"] * 5


async def test_patience_ends_with_the_last_error() -> None:
    asked: list[str] = []
    told: list[str] = []
    patience = Patience(timeout_seconds=0.1, backoff_seconds=0.01, max_backoff_seconds=0.02)
    source = Failover(
        [transport("a", [UnavailableError("a is away")], asked)], patience, lambda error: told.append(error.message)
    )
    with pytest.raises(UnavailableError, match="a is away"):
        await source.call("GetJob", None)
    assert len(asked) == len(told) >= 3


async def test_what_a_coordinator_said_is_told_and_not_that_it_said_nothing_more() -> None:
    """It has the reason; the last try had no time for an answer."""
    said = UnavailableError("the store is away")
    said.away = "store"
    patience = Patience(timeout_seconds=0.1, backoff_seconds=0.01, max_backoff_seconds=0.02)
    late = DeadlineError("GetJob at a was not answered in time")
    with pytest.raises(UnavailableError, match="the store is away"):
        await Failover([transport("a", [said, late], [])], patience).call("GetJob", None)
    with pytest.raises(DeadlineError):
        await Failover([transport("a", [UnavailableError("a is away"), late], [])], patience).call("GetJob", None)


async def test_whoever_is_told_of_trouble_is_told_how_long_it_is_tried() -> None:
    told: list[float | None] = []
    patience = Patience(timeout_seconds=5, backoff_seconds=0.001, max_backoff_seconds=0.002)
    away = UnavailableError("away")
    source = Failover(
        [transport("a", [away, away, "a"], [])], patience, lambda error: told.append(error.retrying_seconds)
    )
    await source.call("GetJob", None)
    assert len(told) == 2
    assert all(left is not None and 4 < left < 5 for left in told)


async def test_one_wrong_address_among_others_is_passed_over() -> None:
    asked: list[str] = []
    wrong = UnavailableError("no coordinator")
    wrong.wrong_peer = True
    source = Failover(
        [transport("a", [wrong], asked), transport("b", [UnavailableError("away"), "b"], asked)],
        Patience(timeout_seconds=30, backoff_seconds=0.001, max_backoff_seconds=0.002),
    )
    assert await source.call("GetJob", None) == "b"
    assert asked == ["a", "b", "a", "b"]


async def test_pauses_grow_to_their_ceiling_and_are_spread() -> None:
    patience = Patience(backoff_seconds=1, max_backoff_seconds=8)
    for failures, ceiling in ((1, 1), (2, 2), (3, 4), (4, 8), (50, 8)):
        pauses = [patience.pause_seconds(failures) for _ in range(200)]
        assert max(pauses) <= ceiling
        assert max(pauses) > ceiling * 0.9
        assert min(pauses) < ceiling * 0.1


async def test_a_coordinator_that_hangs_costs_one_try(fake: FakeCoordinator) -> None:
    async with serving() as hanging:
        hanging.hold = asyncio.Event()
        async with AsyncClient(f"{hanging.address},{fake.address}") as client:
            client._source.patience = QUICK
            job = await client.submit(JobSpec("acme", "v1", "t"))
        assert job.job_id in fake.jobs


async def test_a_coordinator_that_never_answers_is_a_missed_deadline() -> None:
    async with serving() as hanging:
        hanging.hold = asyncio.Event()
        async with AsyncClient(hanging.address, timeout_seconds=0.3) as client:
            with pytest.raises(DeadlineError, match=f"SubmitJobs at {hanging.address} was not answered in time"):
                await client.submit(JobSpec("acme", "v1", "t"))


async def test_a_coordinator_that_died_is_left_for_one_that_lives(fake: FakeCoordinator) -> None:
    async with serving() as first:
        client = AsyncClient(f"{first.address},{fake.address}")
        await client.submit(JobSpec("acme", "v1", "before"))
    await client.submit(JobSpec("acme", "v1", "after"))
    await client.close()
    assert [job.test_path for job in fake.jobs.values()] == ["after"]


async def test_a_coordinator_that_restarts_is_found_again() -> None:
    async with serving() as first:
        client = AsyncClient(first.address)
        await client.submit(JobSpec("acme", "v1", "before"))
    port = int(first.address.rpartition(":")[2])
    pending = asyncio.create_task(client.submit(JobSpec("acme", "v1", "after")))
    async with serving(port=port) as second:
        assert (await pending).job_id in second.jobs
        await client.close()


async def test_a_cancel_whose_reply_was_lost_is_one_cancel(fake: FakeCoordinator, client: AsyncClient) -> None:
    job = await client.submit(JobSpec("acme", "v1", "t"))
    fake.faults.append(Fault("CancelJob", after_effect=True))
    assert (await client.cancel(job.job_id, reason="changed my mind")).status == "cancelled"

    first, second = (request for method, request in fake.requests if method == "CancelJob")
    assert first == second
    assert first.round == 1
    assert first.operation_id
    assert first.reason == "changed my mind"


async def test_a_retry_whose_reply_was_lost_means_the_same_round(fake: FakeCoordinator, client: AsyncClient) -> None:
    job = await client.submit(JobSpec("acme", "v1", "t"))
    fake.move(job.job_id, "failed", "test_failed")
    fake.faults.append(Fault("RetryJob", after_effect=True))
    # This fake keeps no operation ids, so that the repeat shows: it is refused, and starts no third round.
    with pytest.raises(ConflictError):
        await client.retry(job.job_id)
    first, second = (request for method, request in fake.requests if method == "RetryJob")
    assert (first.round, first.operation_id) == (second.round, second.operation_id)
    assert fake.jobs[job.job_id].round == 2


async def test_a_round_that_is_over_is_not_cancelled(fake: FakeCoordinator, client: AsyncClient) -> None:
    job = await client.submit(JobSpec("acme", "v1", "t"))
    fake.move(job.job_id, "failed", "test_failed")
    await client.retry(job.job_id)
    with pytest.raises(ConflictError, match="round 1"):
        await client.cancel(job.job_id, round=1)


async def test_operations_are_told_apart(fake: FakeCoordinator, client: AsyncClient) -> None:
    await client.submit(JobSpec("acme", "v1", "t", run_id="r"))
    fake.requests.clear()
    for _ in range(2):
        await client.cancel_many("acme", run_id="r")
        await client.retry_many("acme", "r")
    ids = [request.operation_id for _, request in fake.requests]
    assert len(set(ids)) == 4


async def test_a_reservation_is_sent_once(fake: FakeCoordinator, client: AsyncClient) -> None:
    fake.add_device("d1", "a1")
    fake.faults.append(Fault("ReserveDevice", after_effect=True))
    with pytest.raises(UnavailableError):
        await client.reserve("d1", until=LATER, reason="debugging")
    assert fake.calls["ReserveDevice"] == 1


async def test_a_reservation_finds_the_coordinator_that_lives(fake: FakeCoordinator) -> None:
    fake.add_device("d1", "a1")
    async with AsyncClient(f"127.0.0.1:1,{fake.address}") as client:
        client._source.patience = QUICK
        device = await client.reserve("d1", until=LATER, reason="debugging")
    assert device.state == "reserved"
    assert device.until == LATER


async def test_a_reservation_is_sent_where_something_is_answered(fake: FakeCoordinator) -> None:
    """A connection that is gone without a word, or whose coordinator hangs, looks like any other."""
    fake.add_device("d1", "a1")
    port = int(fake.address.rpartition(":")[2])
    async with ReplyEater(port) as proxy, AsyncClient(f"127.0.0.1:{proxy.port},{fake.address}") as client:
        await client.health()
        proxy.eat()
        client._source.patience = QUICK
        device = await client.reserve("d1", until=LATER, reason="debugging")
    assert (device.state, fake.calls["ReserveDevice"]) == ("reserved", 1)


async def test_a_reservation_does_not_wait_for_an_address_that_refuses(fake: FakeCoordinator) -> None:
    fake.add_device("d1", "a1")
    async with asyncio.timeout(10), AsyncClient(f"127.0.0.1:1,{fake.address}") as client:
        client._source.patience = Patience(timeout_seconds=60, try_seconds=60)
        device = await client.reserve("d1", until=LATER, reason="debugging")
    assert device.state == "reserved"


async def test_a_reservation_finds_a_coordinator_that_comes_back() -> None:
    async with serving() as gone:
        pass
    back = FakeCoordinator()
    back.add_device("d1", "a1")
    told: asyncio.Queue[UnavailableError] = asyncio.Queue()
    async with AsyncClient(gone.address, timeout_seconds=20, on_trouble=told.put_nowait) as client:
        pending = asyncio.create_task(client.reserve("d1", until=LATER, reason="debugging"))
        async with asyncio.timeout(10):
            await told.get()
        async with serving(back, int(gone.address.rpartition(":")[2])):
            assert (await pending).state == "reserved"


async def test_the_token_travels_with_every_call(fake: FakeCoordinator) -> None:
    async with AsyncClient(fake.address, token=TOKEN) as client:
        await client.stats()
    assert fake.metadata["authorization"] == f"Bearer {TOKEN}"
    async with AsyncClient(fake.address, token="") as client:
        await client.stats()
    assert "authorization" not in fake.metadata


async def test_address_and_token_come_from_the_environment(
    fake: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QGJOB_COORDINATOR", fake.address)
    monkeypatch.setenv("QGJOB_TOKEN", TOKEN)
    async with AsyncClient() as client:
        await client.stats()
    assert fake.metadata["authorization"] == f"Bearer {TOKEN}"


async def test_lists_are_read_page_by_page(fake: FakeCoordinator, client: AsyncClient) -> None:
    await client.submit_many([JobSpec("acme", "v1", f"t{n}", run_id="r" if n % 2 else None) for n in range(7)])
    assert [job.test_path async for job in client.list("acme", page_size=3)] == [f"t{n}" for n in range(6, -1, -1)]
    assert fake.calls["ListJobs"] == 3
    assert [job.test_path async for job in client.list("acme", run_id="r", status="queued")] == ["t5", "t3", "t1"]

    page = await client.list_page("acme", page_size=3)
    rest = await client.list_page("acme", page_size=4, page_token=page.next_page_token)
    assert (page.count, rest.count, rest.next_page_token, rest.status_filter) == (3, 4, None, "all")


async def test_the_fleet(fake: FakeCoordinator, client: AsyncClient) -> None:
    fake.add_device("d1", "a1")
    fake.add_device("d2", "a1")
    until = LATER + timedelta(milliseconds=5)

    assert [device.device_id async for device in client.devices(agent_id="a1")] == ["d1", "d2"]
    assert [agent.devices async for agent in client.agents()] == [2]
    assert [device.state for device in await client.drain(agent_id="a1", until=until)] == ["draining"] * 2
    assert (await client.drain(device_id="d1", until=until))[0].until == until
    assert [device.state for device in await client.resume(agent_id="a1")] == ["idle"] * 2
    assert (await client.set_device_health("d1", "bad", reason="swollen")).health == "bad"
    assert (await client.set_labels("d1", {"floor": "3"})).labels == {"floor": "3"}
    await client.reserve("d1", until=until, reason="me")
    assert (await client.release("d1")).state == "idle"
    assert (await client.health()).serving
    assert (await client.stats()).scheduler.devices.total == 2
    with pytest.raises(NotFoundError):
        await client.release("d9")
    fake.agents["a1"].state = types_pb2.AGENT_STATE_OFFLINE
    assert [device.device_id for device in await client.forget_agent("a1")] == ["d1", "d2"]
    assert [agent async for agent in client.agents()] == []


async def test_health_is_read_off_the_health_service(fake: FakeCoordinator, client: AsyncClient) -> None:
    fake.serving = False
    fake.diagnosis.level = types_pb2.FINDING_LEVEL_OK
    health = await client.health()
    assert (health.status, health.serving, health.address) == ("not_serving", False, fake.address)
    assert health.reason == "it is stopping, or was not ready a moment ago"
    for check, level, found in (
        ("store.usable", types_pb2.FINDING_LEVEL_PROBLEM, "it evicts"),
        ("agents.versions", types_pb2.FINDING_LEVEL_PROBLEM, "two of them"),
        ("store.clock", types_pb2.FINDING_LEVEL_WARNING, "it is late"),
    ):
        fake.diagnosis.findings.add(check=check, level=level, found=found)
    assert (await client.health()).reason == "it evicts"


async def test_the_rest_of_the_job_calls(fake: FakeCoordinator, client: AsyncClient) -> None:
    fake.add_device("d1", "a1")
    job = await client.submit(JobSpec("acme", "v1", "t", run_id="r"))
    explained = await client.explain(job.job_id)
    assert explained.to_dict()["pending_reason"]["code"] == "all_busy"
    assert [device.device_id for device in explained.devices] == ["d1"]
    assert [group.queued async for group in client.groups("acme")] == [1]
    assert (await client.run("acme", "r")).status_counts == {"queued": 1}
    cancelled = await client.cancel_many("acme", statuses=["queued"])
    assert (cancelled.count, cancelled.jobs[0].job_id) == (1, job.job_id)
    assert (await client.retry_many("acme", "r", failed_only=True)).count == 0
    assert (await client.retry_many("acme", "r")).count == 1


async def test_a_mock_transport_answers_with_messages() -> None:
    async def answer(method: str, request: Any) -> Any:
        assert method == "GetJob"
        job = types_pb2.Job(
            job_id=request.job_id, org_id="acme", app_version_id="v1", test_path="t", priority=1, target=1, status=1
        )
        return jobs_pb2.GetJobResponse(job=job)

    mock = MockTransport(answer)
    async with AsyncClient(transports=[mock]) as client:
        assert (await client.get("acme~1")).test_path == "t"
    assert [method for method, _ in mock.calls] == ["GetJob"]


def test_keepalive_times_belong_together() -> None:
    from qgjob._transport import CHANNEL_OPTIONS  # noqa: PLC0415

    options = dict(CHANNEL_OPTIONS)
    assert options["grpc.http2.ping_timeout_ms"] == options["grpc.keepalive_timeout_ms"]
    assert options["grpc.keepalive_time_ms"] + options["grpc.http2.ping_timeout_ms"] <= 15_000
    assert grpc.StatusCode.UNAVAILABLE
