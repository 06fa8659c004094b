"""What is not there is named by its field: in REST's body, in gRPC's details, and in the client's exception."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from qgjob import AsyncClient, NotFoundError
from tests.contract import scenarios
from tests.contract.rest import RestApi
from tests.fakes.coordinator_process import CoordinatorProcess

ORG = "not-found"
UNKNOWN = f"{ORG}~{scenarios.UNKNOWN_ULID}"
SECONDS = 10.0
SOON = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture
async def client(coordinator: CoordinatorProcess) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(coordinator.target, token="", timeout_seconds=SECONDS) as opened:
        yield opened


async def _first(items: AsyncIterator[Any]) -> Any:
    return await anext(items)


CALLS: dict[str, tuple[str, Callable[[AsyncClient], Any]]] = {
    "get": ("job_id", lambda c: c.get(UNKNOWN)),
    "cancel": ("job_id", lambda c: c.cancel(UNKNOWN)),
    "retry": ("job_id", lambda c: c.retry(UNKNOWN)),
    "explain": ("job_id", lambda c: c.explain(UNKNOWN)),
    "logs": ("job_id", lambda c: _first(c.logs(UNKNOWN))),
    "watch": ("job_ids[0]", lambda c: _first(c.watch(ORG, job_ids=[UNKNOWN]))),
    "wait": ("job_ids[0]", lambda c: c.wait(UNKNOWN, timeout_seconds=SECONDS)),
    "run": ("run_id", lambda c: c.run(ORG, "nobody")),
    "wait_run": ("run_id", lambda c: c.wait_run(ORG, "nobody", timeout_seconds=SECONDS)),
    "cancel_many": ("run_id", lambda c: c.cancel_many(ORG, run_id="nobody")),
    "retry_many": ("run_id", lambda c: c.retry_many(ORG, "nobody")),
    "drain a device": ("device_id", lambda c: c.drain(device_id="nothing")),
    "drain an agent": ("agent_id", lambda c: c.drain(agent_id="nobody", reason="x")),
    "resume a device": ("device_id", lambda c: c.resume(device_id="nothing")),
    "resume an agent": ("agent_id", lambda c: c.resume(agent_id="nobody")),
    "forget an agent": ("agent_id", lambda c: c.forget_agent("nobody")),
    "set_device_health": ("device_id", lambda c: c.set_device_health("nothing", "bad", reason="x")),
    "reserve": ("device_id", lambda c: c.reserve("nothing", until=SOON, reason="x")),
    "release": ("device_id", lambda c: c.release("nothing")),
    "set_labels": ("device_id", lambda c: c.set_labels("nothing", {})),
}


@pytest.mark.parametrize("call", CALLS)
async def test_every_call_names_the_field_of_what_is_not_there(client: AsyncClient, call: str) -> None:
    field, ask = CALLS[call]
    with pytest.raises(NotFoundError) as caught:
        async with asyncio.timeout(SECONDS):
            await ask(client)
    assert caught.value.to_dict() == {"error": "not_found", "message": caught.value.message, "field": field}
    assert "not found" in caught.value.message
    if field != "run_id":
        assert "`qgjob " in caught.value.message  # what lists those that are there


async def test_an_attempt_that_was_never_made(client: AsyncClient, rest: RestApi) -> None:
    job_id = (await rest.submit(scenarios.job(ORG, target="browserstack"))).job["job_id"]
    with pytest.raises(NotFoundError, match="has no attempt 3; it has 0") as caught:
        await anext(client.logs(job_id, attempt=3))
    assert caught.value.field == "attempt"


async def test_the_body_over_rest(http: httpx2.AsyncClient) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/retry")):
        answer = await http.request(method, f"/api/jobs/{UNKNOWN}{path}")
        assert answer.status_code == 404
        body = answer.json()
        assert body == {"error": "not_found", "message": body["message"], "field": "job_id"}
        assert body["message"].startswith(f"job {UNKNOWN} not found: ")


async def test_a_path_that_is_none_blames_no_field(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/api/nothing")
    assert answer.status_code == 404
    assert list(answer.json()) == ["error", "message"]


async def test_a_watch_names_the_unknown_among_the_known_and_takes_an_alias_for_its_job(
    client: AsyncClient, rest: RestApi
) -> None:
    first = (await rest.submit(scenarios.job(ORG, app_version_id="v2"))).job["job_id"]
    alias = scenarios.own_id(ORG)
    assert (await rest.submit(scenarios.job(ORG, app_version_id="v2", job_id=alias))).job["job_id"] == first
    with pytest.raises(NotFoundError, match=UNKNOWN) as caught:
        await anext(client.watch(ORG, job_ids=[first, alias, UNKNOWN]))
    assert caught.value.field == "job_ids[2]"
    events = client.watch(ORG, job_ids=[alias])
    async with asyncio.timeout(SECONDS):
        shown = await anext(events)
    await events.aclose()
    assert shown.job is not None
    assert shown.job.job_id == first
