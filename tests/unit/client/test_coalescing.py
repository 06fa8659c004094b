"""submit() calls in flight together share requests, and each still gets its own job or its own error."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from qgjob import AsyncClient, ConflictError, InvalidError, Job, JobRef, JobSpec, QuotaError, TooLargeError
from qgjob._coalesce import MAX_CALLS_IN_FLIGHT, MAX_JOBS, Coalescer
from tests.fakes.coordinator_services import FakeCoordinator, Fault


def spec(test_path: str, org_id: str = "acme", **more: object) -> JobSpec:
    return JobSpec(org_id, "v1", test_path, **more)  # type: ignore[arg-type]


async def settle(client: AsyncClient, specs: list[JobSpec]) -> list[Job | BaseException]:
    return await asyncio.gather(*[client.submit(each) for each in specs], return_exceptions=True)


async def test_calls_in_flight_together_share_requests(fake: FakeCoordinator, client: AsyncClient) -> None:
    jobs = await settle(client, [spec(f"t{n}") for n in range(100)])

    assert [job.test_path for job in jobs if isinstance(job, Job)] == [f"t{n}" for n in range(100)]
    assert len(fake.jobs) == 100
    assert fake.calls["SubmitJobs"] == 1


async def test_a_burst_goes_in_halves_that_are_under_way_together(fake: FakeCoordinator, client: AsyncClient) -> None:
    """So that there is work at both ends; lone halves are not halved again into crumbs."""
    fake.hold = asyncio.Event()
    jobs = asyncio.create_task(settle(client, [spec(f"t{n}") for n in range(200)]))
    await fake.reached("SubmitJobs", 2)
    fake.hold.set()
    assert [job.test_path for job in await jobs if isinstance(job, Job)] == [f"t{n}" for n in range(200)]
    assert [len(request.jobs) for _, request in fake.requests] == [100, 100]


async def test_what_comes_while_a_call_is_under_way_goes_in_the_next(
    fake: FakeCoordinator, client: AsyncClient
) -> None:
    fake.hold = asyncio.Event()
    first = asyncio.create_task(client.submit(spec("first")))
    await fake.reached("SubmitJobs")
    rest = [asyncio.create_task(client.submit(spec(f"t{n}"))) for n in range(20)]
    await asyncio.sleep(0)
    assert fake.calls["SubmitJobs"] == 1
    fake.hold.set()
    await asyncio.gather(first, *rest)
    assert [len(request.jobs) for method, request in fake.requests if method == "SubmitJobs"] == [1, 20]


async def test_each_org_has_its_own_calls(fake: FakeCoordinator, client: AsyncClient) -> None:
    await settle(client, [spec(f"t{n}", org_id=f"org{n % 2}") for n in range(10)])
    assert sorted(request.jobs[0].org_id for _, request in fake.requests) == ["org0", "org1"]


async def test_one_bad_among_many_fails_alone_with_its_own_field(fake: FakeCoordinator, client: AsyncClient) -> None:
    outcomes = await settle(client, [spec("../x" if n == 7 else f"t{n}") for n in range(50)])

    bad = outcomes.pop(7)
    assert isinstance(bad, InvalidError)
    assert (bad.field, bad.message) == ("test_path", "test_path: no `..`")
    assert all(isinstance(outcome, Job) for outcome in outcomes)
    assert len(fake.jobs) == 49
    assert fake.calls["SubmitJobs"] == 2


async def test_a_refusal_that_names_no_job_is_traced_to_it(fake: FakeCoordinator, client: AsyncClient) -> None:
    outcomes = await settle(client, [spec("conflict" if n == 30 else f"t{n}") for n in range(50)])
    assert [index for index, outcome in enumerate(outcomes) if isinstance(outcome, ConflictError)] == [30]
    assert len(fake.jobs) == 49


async def test_many_bad_ones_cost_few_calls(fake: FakeCoordinator, client: AsyncClient) -> None:
    outcomes = await settle(client, [spec(f"../{n}" if n % 2 else f"t{n}") for n in range(100)])
    assert [isinstance(outcome, InvalidError) for outcome in outcomes] == [bool(n % 2) for n in range(100)]
    sent = sum(len(request.jobs) for _, request in fake.requests)
    assert sent < 100 * 12


async def test_what_concerns_the_whole_call_fails_all_at_once(fake: FakeCoordinator, client: AsyncClient) -> None:
    fake.faults.append(Fault("SubmitJobs", grpc.StatusCode.RESOURCE_EXHAUSTED))
    outcomes = await settle(client, [spec(f"t{n}") for n in range(5)])
    assert all(isinstance(outcome, QuotaError) for outcome in outcomes)
    assert len({id(outcome) for outcome in outcomes}) == 5
    assert fake.calls["SubmitJobs"] == 1


async def test_a_lost_reply_does_not_double_a_job(fake: FakeCoordinator, client: AsyncClient) -> None:
    fake.faults.append(Fault("SubmitJobs", after_effect=True))
    jobs = await settle(client, [spec(f"t{n}", no_dedup=True) for n in range(3)])

    sent = [[each.job_id for each in request.jobs] for _, request in fake.requests]
    assert sent[0] == sent[1]
    assert [job.job_id for job in jobs if isinstance(job, Job)] == sent[0]
    assert len(fake.jobs) == 3


async def test_a_job_id_of_the_caller_is_kept(client: AsyncClient) -> None:
    job_id = "acme~01J00000000000000000000000"
    first = await client.submit(spec("t", job_id=job_id))
    assert (await client.submit(spec("t", job_id=job_id))).job_id == first.job_id == job_id


async def test_ids_are_enough_for_who_wants_no_more(client: AsyncClient) -> None:
    first = await client.submit(spec("t"), view="ids")
    assert isinstance(first, JobRef)
    assert first.to_dict() == {"job_id": first.job_id, "org_id": "acme", "status": "queued", "deduplicated": False}
    again = await client.submit(spec("t"), view="ids")
    assert (again.job_id, again.deduplicated) == (first.job_id, True)
    [many] = await client.submit_many([spec("u")], view="ids")
    assert isinstance(many, JobRef)


async def test_a_caller_that_gave_up_is_not_submitted_and_harms_nobody(
    fake: FakeCoordinator, client: AsyncClient
) -> None:
    fake.hold = asyncio.Event()
    first = asyncio.create_task(client.submit(spec("first")))
    await fake.reached("SubmitJobs")
    given_up, kept = (asyncio.create_task(client.submit(spec(name))) for name in ("given up", "kept"))
    await asyncio.sleep(0)
    given_up.cancel()
    fake.hold.set()
    await asyncio.gather(first, kept)
    assert {job.test_path for job in fake.jobs.values()} == {"first", "kept"}


async def test_closing_waits_for_what_is_under_way(fake: FakeCoordinator) -> None:
    client = AsyncClient(fake.address)
    pending = [asyncio.create_task(client.submit(spec(f"t{n}"))) for n in range(3)]
    await asyncio.sleep(0)
    await client.close()
    assert len(await asyncio.gather(*pending)) == 3


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"priority": "urgent"}, "priority"),
        ({"target": "toaster"}, "target"),
        ({"max_retries": 2**40}, "max_retries"),
        ({"max_retries": "x"}, "max_retries"),
        ({"run_id": "\udcff"}, "run_id"),
        ({"labels": {"a": 1}}, "labels"),
    ],
)
async def test_what_the_wire_can_not_hold_is_told_before_it_is_sent(
    fake: FakeCoordinator, client: AsyncClient, bad: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidError) as caught:
        await client.submit(spec("t", **bad))
    assert caught.value.field == field
    assert not fake.requests


async def test_many_are_split_by_org_and_size_and_answered_in_order(fake: FakeCoordinator, client: AsyncClient) -> None:
    specs = [spec(f"t{n}", org_id=f"org{n % 2}") for n in range(2100)]
    jobs = await client.submit_many(specs)
    assert [(job.org_id, job.test_path) for job in jobs] == [(each.org_id, each.test_path) for each in specs]
    assert sorted(len(request.jobs) for _, request in fake.requests) == [50, 50, 1000, 1000]


async def test_many_with_large_fields_stay_under_the_limit_of_a_message(
    fake: FakeCoordinator, client: AsyncClient
) -> None:
    await client.submit_many([spec(f"t{n}", env={"BIG": "x" * 300_000}) for n in range(7)])
    assert sorted(len(request.jobs) for _, request in fake.requests) == [1, 3, 3]


async def test_an_error_of_many_names_the_index_in_the_callers_list(client: AsyncClient) -> None:
    specs = [spec(f"t{n}", org_id=f"org{n % 2}") for n in range(10)]
    specs[7] = spec("../x", org_id="org1")
    with pytest.raises(InvalidError) as caught:
        await client.submit_many(specs)
    assert caught.value.field == "jobs[7].test_path"
    assert caught.value.message.startswith("jobs[7].test_path: ")


class Sized(bytes):
    def ByteSize(self) -> int:  # noqa: N802
        return len(self)


async def test_never_more_than_a_few_calls_in_flight_and_none_over_its_limits() -> None:
    in_flight = most = 0
    sizes: list[int] = []
    full = asyncio.Event()

    async def send(requests: object) -> list[object]:
        nonlocal in_flight, most
        batch = list(requests)  # type: ignore[call-overload]
        in_flight += 1
        most = max(most, in_flight)
        sizes.append(len(batch))
        if in_flight == MAX_CALLS_IN_FLIGHT:
            full.set()
        await full.wait()
        in_flight -= 1
        return batch

    queue: Coalescer[Sized, object] = Coalescer(send)  # type: ignore[arg-type]
    await asyncio.gather(*[queue.put(Sized(b"x")) for _ in range(MAX_JOBS * 10)])
    assert most == MAX_CALLS_IN_FLIGHT
    assert max(sizes) == MAX_JOBS


async def test_a_message_that_is_too_large_alone_fails_alone() -> None:
    async def send(requests: object) -> list[object]:
        batch = list(requests)  # type: ignore[call-overload]
        if any(len(each) > 2_000_000 for each in batch):
            raise TooLargeError("over 1 MB")
        return batch

    queue: Coalescer[Sized, object] = Coalescer(send)  # type: ignore[arg-type]
    small, large = await asyncio.gather(
        queue.put(Sized(b"x")), queue.put(Sized(b"x" * 3_000_000)), return_exceptions=True
    )
    assert small == b"x"
    assert isinstance(large, TooLargeError)


async def test_a_bug_in_sending_leaves_nobody_waiting() -> None:
    async def send(_: object) -> list[object]:
        raise ZeroDivisionError

    queue: Coalescer[Sized, object] = Coalescer(send)  # type: ignore[arg-type]
    outcomes = await asyncio.gather(*[queue.put(Sized(b"x")) for _ in range(3)], return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 3
