"""docs/contract.md and docs/glossary.md say the names that the code has."""

from __future__ import annotations

import re
from dataclasses import fields
from enum import Enum
from pathlib import Path

import pytest

import qgjob
from qgjob._shape import JSON_NAME
from qgjob_coordinator.model import enums
from qgjob_coordinator.model.findings import Level
from qgjob_coordinator.model.fleet import Device
from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.policy.reasons.considered import consider
from qgjob_coordinator.policy.reasons.pending import pending_reason
from qgjob_coordinator.policy.reasons.verdict import TAKES
from qgjob_proto.v1 import agent_pb2, builds_pb2, fleet_pb2, jobs_pb2

ROOT = Path(__file__).parents[3]
CONTRACT = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")


def row(page: str, first_cell: str) -> str:
    return next(line for line in page.splitlines() if line.startswith(f"| {first_cell} |"))


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z_][A-Za-z_0-9]*", "".join(re.findall(r"`[^`]*`", text)).replace("`", " "))


@pytest.mark.parametrize(
    ("shape", "model"),
    [
        ("job", qgjob.Job),
        ("attempt", qgjob.Attempt),
        ("result", qgjob.TestResult),
        ("error of a job", qgjob.JobError),
        ("requirements", qgjob.Requirements),
        ("pending_reason", qgjob.PendingReason),
        ("considered device", qgjob.ConsideredDevice),
        ("device", qgjob.Device),
        ("agent", qgjob.Agent),
        ("group", qgjob.Group),
        ("run", qgjob.Run),
        ("finding", qgjob.Finding),
        ("diagnosis", qgjob.Diagnosis),
    ],
)
def test_shapes(shape, model):
    has = [field.metadata.get(JSON_NAME, field.name) for field in fields(model)]
    assert sorted(words(row(CONTRACT, shape))) == sorted(has)


def test_what_an_explanation_adds_to_its_job():
    has = {field.name for field in fields(qgjob.Explanation)} - {"job"}
    assert set(words(row(CONTRACT, "explanation"))) == has


def test_the_shape_of_stats():
    has = [
        field.name
        for model in (qgjob.Stats, qgjob.QueueStats, qgjob.SchedulerStats, qgjob.DeviceCounts)
        for field in fields(model)
    ]
    assert sorted(words(row(CONTRACT, "stats"))) == sorted(has)


@pytest.mark.parametrize("module", [jobs_pb2, fleet_pb2, builds_pb2, agent_pb2])
def test_services_and_methods(module):
    for name, service in module.DESCRIPTOR.services_by_name.items():
        assert set(words(row(CONTRACT, f"`{name}`"))) == {name} | {method.name for method in service.methods}


def test_the_fields_of_a_submitted_job():
    listed = re.search(r"Fields of a submitted job: `([^`]+)`", CONTRACT)
    assert set(words(listed[0])) == {field.name for field in jobs_pb2.SubmitJobRequest.DESCRIPTOR.fields}


@pytest.mark.parametrize(
    ("cell", "values"),
    [
        ("status of a job", enums.Status),
        ("outcome of an attempt or a job", enums.Outcome),
        ("class of an error", enums.ErrorClass),
        ("why a job waits", enums.PendingCode),
        ("device state: what it does", enums.DeviceState),
        ("device health: whether it can be trusted", enums.DeviceHealth),
        ("agent state", enums.AgentState),
        ("level of a finding", Level),
    ],
)
def test_closed_sets_of_words(cell: str, values: type[Enum]):
    assert set(words(row(GLOSSARY, cell))) == {value.value for value in values}


def test_the_codes_of_a_pending_reason():
    (listed,) = re.findall(r"Its `code` is ((?:`[a-z_]+`(?:,| or|\s)*)+)", CONTRACT)
    assert set(words(listed)) == {code.value for code in enums.PendingCode}


def test_what_a_job_says_while_a_device_is_free_for_it():
    target = enums.Target.DEVICE
    job = Job("acme", "01J", "v1", "a.js", enums.Priority.LOW, target, enums.Status.QUEUED, 0, 0, 0)
    state, health = enums.DeviceState.IDLE, enums.DeviceHealth.GOOD
    free = Device("d", "a", "u", target, None, None, None, state, health, {})
    for verdict in (TAKES, None):
        considered = consider(job, [free], judge=lambda _device_id, verdict=verdict: verdict)
        reason = pending_reason(job, considered, now=0, position=1, over_quota=False)
        assert f"`{reason.code.value}` too" in CONTRACT
        assert f"*{reason.message}*" in CONTRACT


def test_priorities():
    assert words(row(GLOSSARY, "priority")) == [priority.word for priority in enums.Priority]
