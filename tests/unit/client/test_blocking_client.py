"""The blocking client is the asynchronous one, method by method."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import qgjob
from qgjob import AsyncClient, Client, InvalidError, JobSpec
from tests.fakes.coordinator_services import FakeCoordinator, serving_in_thread


@pytest.fixture
def fake() -> Iterator[FakeCoordinator]:
    with serving_in_thread() as coordinator:
        yield coordinator


def test_it_has_the_methods_of_the_asynchronous_one() -> None:
    def public(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in inspect.getmembers(kind, callable)
            if not name.startswith("_")
        }

    assert public(Client) == public(AsyncClient)


def test_a_session(fake: FakeCoordinator) -> None:
    with Client(fake.address) as client:
        job = client.submit(JobSpec("acme", "v1", "t", run_id="r"))
        assert client.get(job.job_id) == client.list_page("acme").jobs[0]
        assert [each.job_id for each in client.list("acme")] == [job.job_id]
        events = client.watch("acme")
        assert [next(events).event for _ in range(2)] == ["snapshot", "ready"]
        events.close()
        assert client.cancel(job.job_id).status == "cancelled"
        [done] = client.wait(job.job_id, timeout_seconds=5)
        assert done.outcome == "cancelled"
        assert client.wait_run("acme", "r", timeout_seconds=5) == (done,)
        with pytest.raises(InvalidError) as caught:
            client.submit_many([JobSpec("acme", "v1", "../x")])
        assert caught.value.field == "jobs[0].test_path"
    client.close()


def test_threads_share_calls(fake: FakeCoordinator) -> None:
    barrier = threading.Barrier(16)

    def submit(number: int) -> str:
        barrier.wait(10)
        return client.submit(JobSpec("acme", "v1", f"t{number}")).test_path

    with Client(fake.address) as client, ThreadPoolExecutor(16) as pool:
        assert list(pool.map(submit, range(16))) == [f"t{n}" for n in range(16)]
    assert len(fake.jobs) == 16


def test_what_the_package_exports_can_be_imported() -> None:
    assert sorted(qgjob.__all__, key=str.lower) == sorted(qgjob.__all__, key=str.lower)
    for name in qgjob.__all__:
        assert getattr(qgjob, name) is not None
    with pytest.raises(AttributeError, match="nope"):
        _ = qgjob.nope


def test_a_client_that_is_closed_says_so(fake: FakeCoordinator) -> None:
    client = Client(fake.address)
    client.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        client.stats()
