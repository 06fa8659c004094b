"""The coordinator's log: the life of a job in its true order, and which call a line belongs to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx2
import pytest
import pytest_asyncio

from qgjob_proto.v1.jobs_pb2 import GetJobRequest
from qgjob_proto.v1.jobs_pb2_grpc import JobServiceStub
from tests.fakes.plain_http import NO_TLS
from tests.fakes.stack import PATIENT, AgentPlan, Stack


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def chatty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A coordinator that says everything, and an agent with two devices."""
    plan = AgentPlan("sim-1", 2, "emulator")
    stack = Stack(
        tmp_path_factory.mktemp("log-lines"), coordinators=1, agents=(plan,), times=PATIENT, LOG_LEVEL="debug"
    )
    try:
        await stack.start()
        yield stack
    finally:
        await stack.stop()


@pytest.fixture
async def http(chatty: Stack) -> AsyncIterator[httpx2.AsyncClient]:
    ready = await chatty.coordinators[0].says("coordinator_ready")
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{ready['port']}", verify=NO_TLS, timeout=20.0) as client:
        yield client


def body(org_id: str, test_path: str = "a.spec.js") -> dict[str, Any]:
    return {"org_id": org_id, "app_version_id": "v1", "test_path": test_path}


def lines(stack: Stack, **values: object) -> list[dict[str, Any]]:
    """What the coordinator said with these values."""
    said = [json.loads(line) for line in stack.coordinators[0].said().splitlines() if line.endswith("}")]
    return [line for line in said if all(line.get(name) == value for name, value in values.items())]


@pytest.mark.parametrize("together", [False, True])
async def test_the_life_of_a_job_is_told_in_its_order_and_with_its_ids(
    chatty: Stack, http: httpx2.AsyncClient, together: bool
) -> None:
    job = body(f"life-{together}")
    answer = (await http.post("/api/jobs", json={"jobs": [job]} if together else job)).json()
    job_id = answer["jobs"][0]["job_id"] if together else answer["job_id"]
    await chatty.coordinators[0].says("job_completed", job_id=job_id)
    life = [line for line in lines(chatty, job_id=job_id) if line["event"].startswith("job_")]
    assert [(line["event"], line.get("agent_id")) for line in life] == [
        ("job_queued", None),
        ("job_scheduled", "sim-1"),
        ("job_running", "sim-1"),
        ("job_completed", "sim-1"),
    ]


async def test_each_line_of_a_rest_call_bears_the_id_that_its_answer_has(
    chatty: Stack, http: httpx2.AsyncClient
) -> None:
    calls = [
        http.post("/api/jobs", json=body("ids", f"{n}.spec.js"), headers={"X-Request-Id": f"ci-{n}"}) for n in range(8)
    ]
    for n, answer in enumerate(await asyncio.gather(*calls)):
        assert answer.headers["x-request-id"] == f"ci-{n}"
        await chatty.coordinators[0].says("http_request", request_id=f"ci-{n}", status=201)
        (queued,) = lines(chatty, event="job_queued", request_id=f"ci-{n}")
        assert queued["job_id"] == answer.json()["job_id"]


@pytest.mark.parametrize("given", [None, "", "two words", "x" * 129, "caf\u00e9", '"}'])
async def test_a_call_without_a_fit_id_gets_one(chatty: Stack, http: httpx2.AsyncClient, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-Id": given.encode()}
    answers = [await http.get("/nothing", headers=headers) for _ in range(2)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len({*ids, given}) == 3
    for each in ids:
        await chatty.coordinators[0].says("http_request", request_id=each, status=404)


async def test_both_protocols_take_the_same_ids(chatty: Stack) -> None:
    async with grpc.aio.insecure_channel(chatty.address(0)) as channel:
        stub = JobServiceStub(channel)  # type: ignore[no-untyped-call]
        for given in ("rpc-1", "two words"):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.GetJob(GetJobRequest(job_id="none"), metadata=(("x-request-id", given),))
    refused = lines(chatty, event="call_refused", method="GetJob")
    own, made = (line["request_id"] for line in refused)
    assert own == "rpc-1"
    assert made not in ("rpc-1", "two words")
