"""What REST answers has the fields that docs/contract.md lists, all of them, in that order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.contract import scenarios
from tests.contract.rest import RestApi
from tests.fakes.coordinator_process import CoordinatorProcess

PAGE = Path(__file__).parents[2] / "docs" / "contract.md"
ORG = "shapes"


def documented() -> dict[str, list[str]]:
    """Field names by shape, from the page's table."""
    rows = re.findall(r"^\| ([a-z_ ]+) \| `([a-z_, ]+)`", PAGE.read_text(), re.MULTILINE)
    return {name: fields.split(", ") for name, fields in rows}


SHAPES = documented()


async def test_a_job_and_what_it_holds(fleet: CoordinatorProcess, rest: RestApi) -> None:
    made = (await rest.submit(scenarios.job(ORG, target="device"))).job
    assert list(made) == [*SHAPES["job"], "deduplicated"]
    done = (await scenarios.until(rest, made["job_id"], "completed")).job
    assert list(done) == SHAPES["job"]
    assert list(done["requirements"]) == SHAPES["requirements"]
    assert list(done["attempts"][0]) == SHAPES["attempt"]
    assert list(done["result"]) == SHAPES["result"]


async def test_a_job_that_waits_and_one_that_failed(rest: RestApi) -> None:
    id_ = (await rest.submit(scenarios.job(ORG, queue_timeout_seconds=1))).job["job_id"]
    waits = (await rest.get(id_)).job
    assert list(waits["pending_reason"]) == SHAPES["pending_reason"]
    failed = (await scenarios.until(rest, id_, "failed")).job
    assert list(failed["error"]) == SHAPES["error of a job"]
    assert failed["pending_reason"] is None


async def test_lists(fleet: CoordinatorProcess, rest: RestApi) -> None:
    await rest.submit(scenarios.job(ORG, test_path="list.js"))
    jobs = (await rest.list(org_id=ORG)).job
    assert list(jobs) == ["count", "jobs", "next_page_token", "org_id", "status_filter"]
    assert list(jobs["jobs"][0]) == SHAPES["job"]
    devices = (await rest.devices()).job
    assert list(devices) == ["count", "devices", "next_page_token"]
    assert list(devices["devices"][0]) == SHAPES["device"]
    groups = (await rest.groups(org_id=ORG)).job
    assert list(groups) == ["count", "groups", "next_page_token"]
    assert list(groups["groups"][0]) == SHAPES["group"]


async def test_stats(rest: RestApi) -> None:
    stats = (await rest.stats()).job
    row = next(line for line in PAGE.read_text().splitlines() if line.startswith("| stats |"))
    for part in ("queue", "scheduler"):
        listed = re.search(rf"`{part}: \{{([^`]+)\}}`", row)
        assert listed is not None
        assert _flat(stats[part]) == re.findall(r"[a-z_0-9]+", listed[1])
    assert list(stats) == ["queue", "scheduler", "timestamp"]


def _flat(value: dict[str, Any]) -> list[str]:
    """Names in order, those of inner objects after the name of the object."""
    names: list[str] = []
    for name, inner in value.items():
        names.append(name)
        if isinstance(inner, dict):
            names += _flat(inner)
    return names


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/health", ["status", "timestamp", "version"]),
        (
            "/health/detailed",
            [
                "status",
                "timestamp",
                "version",
                "uptime_seconds",
                "reasons",
                "store",
                "queue",
                "scheduler",
                "level",
                "findings",
            ],
        ),
        ("/health/ready", ["status", "timestamp", "reasons"]),
        ("/health/live", ["status", "timestamp"]),
    ],
)
async def test_probes(http: httpx2.AsyncClient, path: str, fields: list[str]) -> None:
    answer = await http.get(path)
    assert answer.status_code == 200
    assert list(answer.json()) == fields
