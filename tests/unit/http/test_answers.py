"""What is written: shapes, times, errors, headers, the page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
from fastapi import FastAPI
from structlog.testing import capture_logs

from qgjob_coordinator import errors
from qgjob_coordinator.errors import InvalidError, QgjobError, QuotaError, StoreUnavailableError
from qgjob_coordinator.http import render, schemas, shapes, times
from qgjob_coordinator.http.api import create_app
from qgjob_coordinator.http.docs import STATIC
from qgjob_coordinator.http.services import Services
from qgjob_coordinator.http.status import INTERNAL, STATUS, error_response
from qgjob_coordinator.model.enums import (
    DeviceHealth,
    DeviceState,
    ErrorClass,
    Outcome,
    PendingCode,
    Priority,
    Status,
    Target,
)
from qgjob_coordinator.model.fleet import Device, QueueStats, SchedulerStats, Stats
from qgjob_coordinator.model.jobs import (
    Attempt,
    Group,
    Job,
    JobError,
    Overflow,
    PendingReason,
    Requirements,
    TestResult,
)
from tests.unit.http.conftest import ORIGIN, Switch

NOW = 1_800_000_000_123
README = Path(__file__).parents[3] / "README.md"
GOOD = {"org_id": "acme", "app_version_id": "v1", "test_path": "a.js"}


def full_job() -> Job:
    """A job with every field set."""
    error = JobError(ErrorClass.TEST, "1 of 3 failed")
    attempt = Attempt(1, 1, "agent-1", "device-1", NOW, Outcome.TEST_FAILED, NOW, NOW, 3000, 1500, error)
    return Job(
        org_id="acme",
        ulid="01J00000000000000000000001",
        app_version_id="v1",
        test_path="a.js",
        priority=Priority.HIGH,
        target=Target.DEVICE,
        status=Status.FAILED,
        created_at=NOW,
        updated_at=NOW,
        max_retries=3,
        outcome=Outcome.TEST_FAILED,
        run_ids=["ci-1"],
        labels={"team": "growth"},
        requirements=Requirements("android", "14", "Pixel 8", "device-1", (("rack", "a1"),)),
        not_before=NOW,
        scheduled_at=NOW,
        started_at=NOW,
        completed_at=NOW,
        attempts=[attempt],
        agent_id="agent-1",
        device_id="device-1",
        progress=100,
        result=TestResult(2, 1, 0, 1500, "2 passed, 1 failed"),
        error=error,
        pending_reason=PendingReason(PendingCode.RETRY_WAIT, "waits", 1, NOW, NOW),
        overflow=Overflow(Target.DEVICE, 120_000, None, Target.EMULATOR, NOW, 340_000),
        deduplicated=True,
    )


def bare_job() -> Job:
    """A job as it was just accepted."""
    return Job(
        "acme", "01J00000000000000000000001", "v1", "a.js", Priority.LOW, Target.EMULATOR, Status.QUEUED, 0, 0, 0
    )


@pytest.mark.parametrize("job", [full_job(), bare_job()])
def test_a_job_is_as_described(job: Job) -> None:
    written = render.job(job)
    shapes.JobShape.model_validate(written)
    assert list(written) == list(shapes.JobShape.model_fields)
    shapes.SubmittedShape.model_validate(render.submitted(job))


def test_the_rest_is_as_described() -> None:
    device = Device("d", "a", "u", Target.DEVICE, None, None, None, DeviceState.IDLE, DeviceHealth.GOOD, {})
    shapes.DeviceListShape.model_validate(render.page("devices", [render.device(device)], ""))
    busy = replace(device, platform="ios", until=NOW, last_seen_at=NOW, current_job_id="acme~x", labels={"a": "b"})
    shapes.DeviceShape.model_validate(render.device(busy))
    group = Group("g", "acme", "v1", Target.DEVICE, 1, 2, 3, ("d",), 4, NOW)
    shapes.GroupListShape.model_validate(render.page("groups", [render.group(group)], "next"))
    stats = Stats(QueueStats(1, 2, 3, 4, 5, 6, 7, 0.5), SchedulerStats(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1.5), NOW)
    shapes.StatsShape.model_validate(render.stats(stats))
    shapes.JobListShape.model_validate(render.job_list([full_job()], "", "acme", None))
    shapes.JobListShape.model_validate(render.job_list([], "next", "acme", Status.QUEUED))


@pytest.mark.parametrize(
    ("enum", "described"),
    [
        (Status, schemas.Status),
        (Outcome, shapes.Outcome),
        (Target, schemas.Target),
        (ErrorClass, shapes.JobErrorShape.model_fields["class_"].annotation),
        (PendingCode, shapes.PendingReasonShape.model_fields["code"].annotation),
        (DeviceState, shapes.DeviceShape.model_fields["state"].annotation),
        (DeviceHealth, shapes.DeviceShape.model_fields["health"].annotation),
    ],
)
def test_every_word_is_described(enum: type[Status], described: object) -> None:
    assert {e.value for e in enum} == set(getattr(described, "__args__", ()))


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (999, "1970-01-01T00:00:00.999Z"),
        (NOW, "2027-01-15T08:00:00.123Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times_are_read_as_they_are_written(ms: int, text: str) -> None:
    assert times.text(ms) == text
    assert times.parse("not_before", text) == ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01T00:00:00.0009Z", 0),
        ("1970-01-01T00:00:00.5Z", 500),
        ("1970-01-01T00:00:00.123456789Z", 123),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000),
    ],
)
def test_times_with_offsets_and_other_fractions(text: str, ms: int) -> None:
    assert times.parse("not_before", text) == ms


@pytest.mark.parametrize(
    "text",
    ["", "2026-01-31", "2026-01-31 12:00:00Z", "2026-01-31T12:00:00", "2026-13-01T00:00:00Z", "0000-01-01T00:00:00Z"],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(InvalidError) as refusal:
        times.parse("not_before", text)
    assert refusal.value.field == "not_before"


def test_every_error_has_a_status() -> None:
    tree = {e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, QgjobError)}
    # HTTP has no streams, so it has no slow readers; and no caller is told of an org that is set aside.
    starting = {errors.ConfigError, errors.PortTakenError}
    assert tree - set(STATUS) == {QgjobError, errors.SlowReaderError, errors.OrgDamagedError} | starting
    assert error_response(errors.ConfigError("x")).status_code == INTERNAL


def test_errors_that_pass_say_when_to_try_again() -> None:
    assert error_response(QuotaError("full", retry_after_seconds=1.2)).headers["retry-after"] == "2"
    assert error_response(QuotaError("full", retry_after_seconds=0.0)).headers["retry-after"] == "1"
    assert error_response(StoreUnavailableError("away")).headers["retry-after"] == "1"


async def test_a_fault_of_ours_is_an_error_body_that_tells_nothing(services: Services, app: FastAPI) -> None:
    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("the password is x")

    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    with capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            answer = await http.get("/broken", headers={"Origin": ORIGIN})
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["http_failed"]
    (access,) = [line for line in lines if line["event"] == "http_request"]
    assert answer.status_code == access["status"] == 500
    assert len({line["request_id"] for line in lines} | {answer.headers["x-request-id"]}) == 1
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.json()["error"] == "internal"
    assert "password" not in answer.text


async def test_a_quota_is_429(services: Services) -> None:
    class Full:
        async def submit(self, *_: object) -> None:
            raise QuotaError("org acme has too many jobs; try again later", retry_after_seconds=30)

    app = create_app(replace(services, submitter=Full()))  # type: ignore[arg-type]
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1") as http:
        answer = await http.post("/api/jobs", json=GOOD)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "30"


async def test_201_for_new_and_200_for_known(http: httpx2.AsyncClient) -> None:
    assert (await http.post("/api/jobs", json=GOOD)).status_code == 201
    assert (await http.post("/api/jobs", json=GOOD)).status_code == 200
    both = {"jobs": [GOOD, GOOD | {"test_path": "b.js"}]}
    assert (await http.post("/api/jobs", json=both)).status_code == 201
    answer = await http.post("/api/jobs", json=both)
    assert answer.status_code == 200
    assert list(answer.json()) == ["count", "jobs"]
    one = await http.post("/api/jobs", json={"jobs": [GOOD]})
    assert one.json()["count"] == 1


async def test_a_coordinator_that_stops_is_not_ready_and_still_serves(http: httpx2.AsyncClient, switch: Switch) -> None:
    switch.draining = True
    answer = await http.get("/health/ready")
    assert answer.status_code == 503
    assert "stopping" in answer.json()["reasons"][0]
    assert (await http.get("/health/live")).status_code == 200
    assert (await http.post("/api/jobs", json=GOOD)).status_code == 201


async def test_the_page_needs_nobody_else(http: httpx2.AsyncClient) -> None:
    page = await http.get("/docs")
    assert page.status_code == 200
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert loaded
    assert all(link.startswith(("/docs/assets/", "data:")) for link in loaded)
    for link in loaded:
        if link.startswith("/"):
            assert (await http.get(link)).status_code == 200
    assert "url: '/openapi.json'" in page.text
    assert "https://" not in page.text


def test_what_is_vendored_has_its_licence() -> None:
    assert "Apache License" in (STATIC / "LICENSE").read_text()
    assert {p.name for p in STATIC.iterdir()} == {
        "LICENSE",
        "NOTICE",
        "README.md",
        "swagger-ui-bundle.js",
        "swagger-ui-bundle.js.LICENSE.txt",
        "swagger-ui.css",
    }


def _examples(app: FastAPI, path: str) -> list[Any]:
    content = app.openapi()["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    return [example["value"] for example in content["examples"].values()]


async def test_what_the_page_sends_as_an_example_is_taken(app: FastAPI, http: httpx2.AsyncClient) -> None:
    submissions = _examples(app, "/api/jobs")
    assert len(submissions) > 1
    for body in submissions:
        answer = await http.post("/api/jobs", json=body)
        assert answer.status_code == 201, answer.text
    for body in _examples(app, "/api/jobs/{job_id}/retry"):
        job = (await http.post("/api/jobs", json={**submissions[0], "no_dedup": True})).json()
        await http.delete(f"/api/jobs/{job['job_id']}")
        answer = await http.post(f"/api/jobs/{job['job_id']}/retry", json=body)
        assert answer.status_code == 200, answer.text
        await http.delete(f"/api/jobs/{job['job_id']}")


def test_the_first_example_is_what_the_readme_sends(app: FastAPI) -> None:
    (sent,) = re.findall(r"curl -s localhost:3000/api/jobs -H .* -d '(.*?)'", README.read_text("utf-8"), re.DOTALL)
    assert _examples(app, "/api/jobs")[0] == json.loads(sent)


async def test_the_root_leads_to_the_page(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
