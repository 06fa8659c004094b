"""/openapi.json, and so /docs, says of each field what the wire contract says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from qgjob_coordinator.http.described import MESSAGES, OWN, meaning
from qgjob_proto.v1.field_comments import FIELD_COMMENTS

SOURCES = Path(__file__).parents[3] / "proto" / "qgjob_proto" / "v1"


@pytest.fixture
def schemas(app: FastAPI) -> dict[str, Any]:
    found: dict[str, Any] = app.openapi()["components"]["schemas"]
    return found


def test_every_field_is_described(schemas: dict[str, Any]) -> None:
    fields = [(schema, name) for schema, each in schemas.items() for name in each.get("properties", ())]
    silent = [f for f in fields if not schemas[f[0]]["properties"][f[1]].get("description")]
    assert silent == []
    assert len(fields) > 200


def test_a_description_is_the_comment_of_the_wire_contract(schemas: dict[str, Any]) -> None:
    words = " ".join(
        " ".join(file.read_text(encoding="utf-8").replace("//", "").split()) for file in SOURCES.glob("*.proto")
    )
    for schema, field in (("JobShape", "progress"), ("JobErrorShape", "class"), ("SubmitBody", "org_id")):
        said = schemas[schema]["properties"][field]["description"]
        assert len(said) > 10
        assert said in words
    assert all(text and text in words for text in FIELD_COMMENTS.values())


def _parameters(app: FastAPI) -> list[tuple[str, dict[str, Any]]]:
    paths = app.openapi()["paths"]
    return [(path, p) for path, calls in paths.items() for call in calls.values() for p in call.get("parameters", ())]


def test_every_parameter_is_described(app: FastAPI) -> None:
    parameters = _parameters(app)
    assert [(path, p["name"]) for path, p in parameters if len(p.get("description", "")) < len("Whose jobs")] == []
    assert len(parameters) > 15


def test_a_list_of_jobs_needs_its_org_and_no_other_query_is_required(app: FastAPI) -> None:
    required = [(path, p["name"]) for path, p in _parameters(app) if p["in"] == "query" and p["required"]]
    assert required == [("/api/jobs", "org_id")]


def test_nothing_is_described_that_is_not_there(schemas: dict[str, Any]) -> None:
    assert set(MESSAGES) <= set(schemas)
    assert {(schema, name) for schema, of in OWN.items() for name in of if schema not in _PROBES} <= {
        (schema, name) for schema, each in schemas.items() for name in each["properties"]
    }
    assert meaning("JobShape", "no_such_field") is None


_PROBES = ("HealthShape", "UnhealthyShape", "DetailedHealthShape", "ReadyShape", "NotReadyShape", "LiveShape")
"""Their words are kept together."""
