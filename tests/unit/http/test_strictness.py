"""What REST refuses that gRPC can't even say: JSON that reads in two ways, wrong types, unknown names."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

GOOD = {"org_id": "acme", "app_version_id": "v1", "test_path": "a.js"}
JSON = {"Content-Type": "application/json"}


async def refused(http: httpx2.AsyncClient, body: Any) -> dict[str, Any]:
    answer = await http.post("/api/jobs", json=body)
    assert answer.status_code == 400
    value: dict[str, Any] = answer.json()
    assert value["error"] == "invalid"
    return value


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"surprise": 1}, "surprise"),
        ({"org_id": None}, "org_id"),
        ({"app_version_id": 7}, "app_version_id"),
        ({"test_path": ["a.js"]}, "test_path"),
        ({"priority": 3}, "priority"),
        ({"priority": "HIGH"}, "priority"),
        ({"target": {}}, "target"),
        ({"run_id": 1}, "run_id"),
        ({"labels": []}, "labels"),
        ({"labels": {"a": 1}}, "labels.a"),
        ({"labels": {"a": None}}, "labels.a"),
        ({"requirements": "android"}, "requirements"),
        ({"requirements": {"platfrom": "ios"}}, "requirements.platfrom"),
        ({"requirements": {"labels": {"a": True}}}, "requirements.labels.a"),
        ({"env": {"A": 1}}, "env.A"),
        ({"max_retries": "3"}, "max_retries"),
        ({"max_retries": True}, "max_retries"),
        ({"max_retries": 1.5}, "max_retries"),
        ({"max_retries": 10**30}, "max_retries"),
        ({"timeout_seconds": "60"}, "timeout_seconds"),
        ({"timeout_seconds": True}, "timeout_seconds"),
        ({"queue_timeout_seconds": []}, "queue_timeout_seconds"),
        ({"overflow_target": "cloud"}, "overflow_target"),
        ({"overflow_after_seconds": "2m"}, "overflow_after_seconds"),
        ({"not_before": 1800000000}, "not_before"),
        ({"not_before": "tomorrow"}, "not_before"),
        ({"not_before": "2026-02-30T00:00:00Z"}, "not_before"),
        ({"not_before": "2026-01-31T12:00:00"}, "not_before"),
        ({"no_dedup": "yes"}, "no_dedup"),
        ({"no_dedup": 1}, "no_dedup"),
    ],
)
async def test_a_wrong_field_is_named(http: httpx2.AsyncClient, changes: dict[str, Any], field: str) -> None:
    lone = await refused(http, GOOD | changes)
    assert lone["field"] == field
    assert lone["message"].startswith(f"{field}: ")
    many = await refused(http, {"jobs": [GOOD, GOOD | changes]})
    assert many["field"] == f"jobs[1].{field}"


@pytest.mark.parametrize("name", GOOD)
async def test_a_missing_field_is_named(http: httpx2.AsyncClient, name: str) -> None:
    assert (await refused(http, {k: v for k, v in GOOD.items() if k != name}))["field"] == name


async def test_null_is_as_good_as_absent(http: httpx2.AsyncClient) -> None:
    optional = ["priority", "target", "job_id", "run_id", "labels", "requirements", "env", "max_retries"]
    optional += ["idempotency_key", "not_before", "timeout_seconds", "queue_timeout_seconds", "no_dedup"]
    optional += ["overflow_target", "overflow_after_seconds"]
    answer = await http.post("/api/jobs", json=GOOD | dict.fromkeys(optional))
    assert answer.status_code == 201
    inner = dict.fromkeys(["platform", "os_version", "device_model", "device_id", "labels"])
    again = await http.post("/api/jobs", json=GOOD | {"requirements": inner})
    assert again.json()["deduplicated"] is True


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b'{"org_id": "a", "org_id": "b"}',
        b'{"labels": {"a": "1", "a": "2"}}',
        b'{"timeout_seconds": NaN}',
        b'{"timeout_seconds": -Infinity}',
        b'{"max_retries": 1' + b"0" * 5000 + b"}",
        b"[" * 100_000,
        b'{"org_id": "\xff"}',
        b'{"\\ud800": 1}',
        '{"org_id": "a"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"org_id": "a"}',
    ],
)
async def test_a_body_that_is_no_strict_json_object(http: httpx2.AsyncClient, body: bytes) -> None:
    answer = await http.post("/api/jobs", content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["field"] == "body"


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/jobs?org_id=a&page=2", "page"),
        ("/api/jobs?org_id=a&org_id=b", "org_id"),
        ("/api/jobs?org_id=a&page_size=1_0", "page_size"),
        ("/api/jobs?org_id=a&page_size=%201", "page_size"),
        ("/api/jobs?org_id=a&page_size=1.0", "page_size"),
        ("/api/jobs?org_id=a&page_size=99999999999999999999", "page_size"),
        ("/api/jobs?org_id=a&page_size=0", "page_size"),
        ("/api/jobs?org_id=a&status=QUEUED", "status"),
        ("/api/jobs/stats?x=1", "x"),
        ("/api/jobs/devices?state=idle", "state"),
        ("/health?verbose=1", "verbose"),
        ("/metrics?name=x", "name"),
        ("/api/jobs?%ED%A0%80=1", "\\ufffd\\ufffd\\ufffd"),
    ],
)
async def test_a_wrong_query_parameter_is_named(http: httpx2.AsyncClient, path: str, field: str) -> None:
    answer = await http.get(path)
    assert answer.status_code == 400
    assert answer.json()["field"] == field


async def test_empty_query_parameters_are_as_good_as_none(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/api/jobs?org_id=acme&status=&run_id=&page_size=&page_token=")
    assert answer.status_code == 200
    assert answer.json()["status_filter"] == "all"


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/api", 404, "not_found"),
        ("POST", "/", 405, "method_not_allowed"),
        ("GET", "/api/jobs/", 404, "not_found"),
        ("GET", "/docs/assets/../services.py", 404, "not_found"),
        ("GET", "/docs/assets/%2e%2e/services.py", 404, "not_found"),
        ("POST", "/nothing", 404, "not_found"),
        ("PUT", "/api/jobs", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("PATCH", "/api/jobs/stats", 405, "method_not_allowed"),
        ("GET", "/api/jobs/nonsense", 400, "invalid"),
        ("DELETE", "/api/jobs/stats", 400, "invalid"),
        ("POST", "/api/jobs/stats/retry", 400, "invalid"),
    ],
)
async def test_paths_and_methods(http: httpx2.AsyncClient, method: str, path: str, status: int, error: str) -> None:
    answer = await http.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"] == error
    assert answer.json()["message"]


async def test_a_405_says_which_methods_there_are(http: httpx2.AsyncClient) -> None:
    assert set((await http.put("/health")).headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert set((await http.put("/api/jobs")).headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("OPTIONS", "/openapi.json", {"GET", "HEAD"}),
        ("PUT", "/openapi.json", {"GET", "HEAD"}),
        ("PATCH", "/openapi.json", {"GET", "HEAD"}),
        ("POST", "/docs/assets/swagger-ui.css", {"GET", "HEAD"}),
        ("POST", "/api/jobs/stats", {"GET", "HEAD"}),
        ("PATCH", "/api/jobs/devices", {"GET", "HEAD"}),
        ("OPTIONS", "/api/jobs/acme~01JZZZZZZZZZZZZZZZZZZZZZZZ", {"GET", "HEAD", "DELETE"}),
    ],
)
async def test_what_is_allowed_works_there(http: httpx2.AsyncClient, method: str, path: str, allowed: set[str]) -> None:
    answer = await http.request(method, path)
    assert answer.status_code == 405
    assert answer.json()["error"] == "method_not_allowed"
    assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({**GOOD, "labels": {"a": None}}, "labels.a: null is not a text"),
        ({**GOOD, "labels": {"a": {"b": [True]}}}, 'labels.a: {"b": [true]} is not a text'),
        ({**GOOD, "org_id": None}, "org_id: null is not a text"),
        ({**GOOD, "max_retries": True}, "max_retries: true is not a whole number"),
        ({**GOOD, "max_retries": 1.5}, "max_retries: 1.5 is not a whole number"),
        ({**GOOD, "max_retries": 1.0}, "max_retries: 1.0 is written with a fraction; write a whole number"),
        ({**GOOD, "timeout_seconds": 1e6}, "timeout_seconds: 1000000 is out of range; use 1 to 86400"),
        ({**GOOD, "timeout_seconds": 0.5}, "timeout_seconds: 0.5 is out of range; use 1 to 86400"),
        ({"jobs": [None]}, "jobs[0]: null is not an object"),
        (True, "body: true is not an object"),
    ],
)
async def test_messages_speak_json(http: httpx2.AsyncClient, body: Any, message: str) -> None:
    assert (await refused(http, body))["message"] == message


async def test_a_body_where_none_is_taken(http: httpx2.AsyncClient) -> None:
    made = (await http.post("/api/jobs", json=GOOD)).json()["job_id"]
    refusal = await http.request("DELETE", f"/api/jobs/{made}", json={"reason": "x"})
    assert refusal.status_code == 400
    assert refusal.json()["field"] == "body"
    assert (await http.request("DELETE", f"/api/jobs/{made}", json={})).status_code == 200
