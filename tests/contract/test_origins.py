"""What a browser may do: pages of allowed origins everything, others nothing that changes anything."""

from __future__ import annotations

import httpx2
import pytest

from tests.contract import scenarios
from tests.contract.conftest import ORIGIN
from tests.fakes.coordinator_process import CoordinatorProcess

FOREIGN = "https://evil.example"
BODY = scenarios.job("origins")


async def preflight(http: httpx2.AsyncClient, origin: str, method: str) -> httpx2.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type",
    }
    return await http.options("/api/jobs", headers=headers)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_an_allowed_page_may_ask_and_call(http: httpx2.AsyncClient, method: str) -> None:
    asked = await preflight(http, ORIGIN, method)
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == ORIGIN
    assert method in asked.headers["access-control-allow-methods"]
    assert "content-type" in asked.headers["access-control-allow-headers"].lower()


async def test_answers_and_errors_can_be_read_by_an_allowed_page(http: httpx2.AsyncClient) -> None:
    for answer in (
        await http.post("/api/jobs", json=BODY, headers={"Origin": ORIGIN}),
        await http.get("/api/jobs", headers={"Origin": ORIGIN}),
        await http.get("/nothing", headers={"Origin": ORIGIN}),
        await http.post("/api/jobs", content=b"x", headers={"Origin": ORIGIN, "Content-Type": "text/plain"}),
    ):
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "Origin" in answer.headers["vary"]


async def test_a_foreign_page_is_refused_before_and_when_it_calls(http: httpx2.AsyncClient) -> None:
    asked = await preflight(http, FOREIGN, "POST")
    assert asked.status_code == 403
    assert asked.json()["error"] == "forbidden"
    assert "access-control-allow-origin" not in asked.headers
    read = await http.get("/api/jobs?org_id=origins", headers={"Origin": FOREIGN})
    assert "access-control-allow-origin" not in read.headers


@pytest.mark.parametrize("origin", [FOREIGN, "null", "http://127.0.0.1", f"{ORIGIN}.evil.example", ORIGIN.upper()])
@pytest.mark.parametrize("path", ["", "/x/retry"])
async def test_a_foreign_post_changes_nothing(http: httpx2.AsyncClient, origin: str, path: str) -> None:
    answer = await http.post(f"/api/jobs{path}", json=BODY, headers={"Origin": origin})
    assert answer.status_code == 403
    assert answer.json()["field"] == "origin"


async def test_our_own_page_may_call(http: httpx2.AsyncClient, coordinator: CoordinatorProcess) -> None:
    answer = await http.post("/api/jobs", json=BODY, headers={"Origin": coordinator.url})
    assert answer.status_code in (200, 201)


async def test_a_name_that_points_here_is_not_our_own_page(http: httpx2.AsyncClient) -> None:
    rebound = {"Origin": "http://evil.example:3000", "Host": "evil.example:3000"}
    assert (await http.post("/api/jobs", json=BODY, headers=rebound)).status_code == 403


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json; charset=utf-16", ""],
)
async def test_what_a_form_can_send_is_no_json(http: httpx2.AsyncClient, content_type: str) -> None:
    answer = await http.post("/api/jobs", content=b'{"org_id":"x"}', headers={"Content-Type": content_type})
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid"
    assert answer.json()["field"] == "content-type"


async def test_a_body_without_a_type_is_no_json(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/api/jobs", content=b'{"org_id":"x"}')
    assert "content-type" not in answer.request.headers
    assert (answer.status_code, answer.json()["field"]) == (400, "content-type")
    assert answer.json()["message"] == "content-type: is missing; send application/json"


async def test_calls_without_a_body_need_no_type(http: httpx2.AsyncClient) -> None:
    made = (await http.post("/api/jobs", json=scenarios.job("origins", no_dedup=True))).json()["job_id"]
    assert (await http.delete(f"/api/jobs/{made}")).status_code == 200
    assert (await http.post(f"/api/jobs/{made}/retry")).status_code == 200
