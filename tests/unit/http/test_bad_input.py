"""Input that once made an internal error: what no encoding carries, tokens made by hand, texts without end."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx2
import pytest

GOOD = {"org_id": "acme", "app_version_id": "v1", "test_path": "a.js"}
ULID = "01JZZZZZZZZZZZZZZZZZZZZZZZ"


def token(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def job_token(*position: Any) -> str:
    """A token of acme's job list without filters."""
    return token(json.dumps(["\x1f".join(("jobs", "acme", "", "")), *position]))


async def invalid_field(http: httpx2.AsyncClient, body: object) -> str:
    headers = {"Content-Type": "application/json"}
    answer = await http.post("/api/jobs", content=json.dumps(body).encode("ascii"), headers=headers)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"] == "invalid"
    return str(answer.json()["field"])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"env": {"A": "\ud800"}}, "env.A"),
        ({"env": {"\ud800": "a"}}, "env.\\ud800"),
        ({"env": {"k" * 5000: "a"}}, "env.kkk"),
        ({"labels": {"a": "\ud800"}}, "labels.a"),
        ({"labels": {"\ud800": "a"}}, "labels.\\ud800"),
        ({"labels": {"k" * 5000: "a"}}, "labels.kkk"),
        ({"test_path": "\ud800"}, "test_path"),
        ({"idempotency_key": "\ud800"}, "idempotency_key"),
        ({"requirements": {"os_version": "\ud800"}}, "requirements.os_version"),
        ({"requirements": {"labels": {"a": "\ud800"}}}, "requirements.labels.a"),
    ],
)
async def test_text_that_no_encoding_carries_is_named(
    http: httpx2.AsyncClient, changes: dict[str, Any], field: str
) -> None:
    named = await invalid_field(http, GOOD | changes)
    assert named.startswith(field)
    assert len(named) < 120


@pytest.mark.parametrize(
    "text",
    [
        token("[" * 1500),
        token("9" * 1500),
        token('{"a": 1}'),
        "not base64",
        "\u00e9",
        job_token(True, ULID),
        job_token(-1, ULID),
        job_token(2**53 + 1, ULID),
        job_token(10**30, ULID),
        job_token(1.5, ULID),
        job_token(1, "no ulid"),
        job_token(1, ULID.lower()),
        job_token(1, ULID, 1),
        job_token(1),
        job_token(),
    ],
)
async def test_a_token_that_is_none_is_refused(http: httpx2.AsyncClient, text: str) -> None:
    answer = await http.get("/api/jobs", params={"org_id": "acme", "page_token": text})
    assert answer.status_code == 400, answer.text
    assert answer.json()["field"] == "page_token"


async def test_a_token_within_bounds_is_taken(http: httpx2.AsyncClient) -> None:
    for order in (0, 2**53):
        page = await http.get("/api/jobs", params={"org_id": "acme", "page_token": job_token(order, ULID)})
        assert page.status_code == 200


@pytest.mark.parametrize("field", ["env", "labels"])
async def test_names_and_values_are_bounded_in_total(http: httpx2.AsyncClient, field: str) -> None:
    values = {f"a{i:02d}": "\u00e9" * 500 for i in range(64)}
    assert (await http.post("/api/jobs", json=GOOD | {field: values})).status_code == 201
    values["a00"] = values["a01"] = "\u00e9" * 1000
    assert await invalid_field(http, GOOD | {field: values}) == field
    answer = await http.post("/api/jobs", json=GOOD | {field: values})
    assert "65536 bytes" in answer.json()["message"]
