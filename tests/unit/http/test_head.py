"""HEAD is a GET without its body, for everything that can be read; monitors and load balancers ask so."""

from __future__ import annotations

import httpx2
import pytest
from fastapi import FastAPI

from qgjob_coordinator.http.docs import ASSETS
from qgjob_coordinator.http.server import HttpServer
from tests.unit.http.conftest import ORIGIN, Switch

PROBES = ["/health", "/health/detailed", "/health/ready", "/health/live", "/metrics"]
PAGES = ["/docs", f"{ASSETS}/swagger-ui.css", "/openapi.json"]
READS = [f"/api/jobs{path}" for path in ("?org_id=acme", "/stats", "/devices", "/groups")]
REFUSED = ["/api/jobs", "/api/jobs/nonsense", "/api/jobs/acme~01JZZZZZZZZZZZZZZZZZZZZZZZ", "/nothing"]
VARIES = {"content-length", "date", "x-request-id"}
"""Headers that may differ between two answers, since both tell the time, and each is of its own call."""


@pytest.mark.parametrize("path", [*PROBES, *PAGES, *READS, *REFUSED])
async def test_it_answers_as_get_without_a_body(http: httpx2.AsyncClient, path: str) -> None:
    head, get = await http.head(path), await http.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert {k: v for k, v in head.headers.items() if k not in VARIES} == {
        k: v for k, v in get.headers.items() if k not in VARIES
    }
    assert int(head.headers["content-length"]) > 0


@pytest.mark.parametrize("path", ["/health", "/docs", f"{ASSETS}/swagger-ui-bundle.js", "/nothing"])
async def test_a_connection_goes_on_after_it(app: FastAPI, path: str) -> None:
    """A body, or a length that is not that of GET, would confuse whoever reads the next answer."""
    server = HttpServer(app, "127.0.0.1", 0)
    await server.start()
    try:
        only_one = httpx2.Limits(max_connections=1)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", limits=only_one) as http:
            for _ in range(2):
                head, get = await http.head(path), await http.get(path)
                assert (head.status_code, head.content) == (get.status_code, b"")
                assert head.headers["content-length"] == str(len(get.content))
    finally:
        await server.stop(5.0)


async def test_a_probe_that_fails_says_so(http: httpx2.AsyncClient, switch: Switch) -> None:
    switch.draining = True
    answer = await http.head("/health/ready")
    assert (answer.status_code, answer.content) == (503, b"")


async def test_what_only_changes_something_is_not_asked_so(http: httpx2.AsyncClient) -> None:
    path = "/api/jobs/acme~01JZZZZZZZZZZZZZZZZZZZZZZZ/retry"
    answer = await http.head(path)
    assert (answer.status_code, answer.headers["allow"], answer.content) == (405, "POST", b"")


async def test_what_can_be_read_says_that_head_is_allowed(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/health")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_a_page_of_an_allowed_origin_may_ask(http: httpx2.AsyncClient) -> None:
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "HEAD"}
    assert (await http.options("/health", headers=preflight)).status_code == 200
    assert (await http.head("/health", headers={"Origin": ORIGIN})).headers["access-control-allow-origin"] == ORIGIN
