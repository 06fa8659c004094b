"""The coordinator's log: the life of a job in its true order, and which call a line belongs to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from tests.fakes.stack import AgentPlan, Stack


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def chatty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A coordinator that says everything, and an agent with two devices."""
    plan = AgentPlan("sim-1", 2, "emulator")
    stack = Stack(tmp_path_factory.mktemp("log-lines"), coordinators=1, agents=(plan,), LOG_LEVEL="debug")
    try:
        await stack.start()
        yield stack
    finally:
        await stack.stop()


@pytest.fixture
async def http(chatty: Stack) -> AsyncIterator[httpx2.AsyncClient]:
    ready = await chatty.coordinators[0].says("coordinator_ready")
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{ready['port']}", timeout=20.0) as client:
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
