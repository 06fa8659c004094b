"""Requests made up from our own /openapi.json: each is answered as that page says, and none breaks the server."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance, unsupported_method

from tests.fakes.coordinator_process import CoordinatorProcess

EXAMPLES = 8
"""Requests made up for each operation and mode: a look at every corner takes too long for every day's run."""

OPERATIONS = [
    ("POST", "/api/jobs"),
    ("GET", "/api/jobs"),
    ("GET", "/api/jobs/stats"),
    ("GET", "/api/jobs/devices"),
    ("GET", "/api/jobs/groups"),
    ("GET", "/api/jobs/{job_id}"),
    ("DELETE", "/api/jobs/{job_id}"),
    ("POST", "/api/jobs/{job_id}/retry"),
    ("GET", "/health"),
    ("GET", "/health/detailed"),
    ("GET", "/health/ready"),
    ("GET", "/health/live"),
    ("GET", "/metrics"),
]
"""The contract's list, as far as it can be described. The probes and metrics take nothing that could be wrong."""


@pytest.fixture(scope="module")
def described(coordinator: CoordinatorProcess) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{coordinator.url}/openapi.json")


def test_every_operation_is_described(described: schemathesis.BaseSchema) -> None:
    found = [result.ok() for result in described.get_all_operations()]
    assert [(o.method.upper(), o.path) for o in found] == OPERATIONS


@pytest.mark.parametrize(
    ("mode", "method", "path"),
    [(GenerationMode.POSITIVE, *o) for o in OPERATIONS] + [(GenerationMode.NEGATIVE, *o) for o in OPERATIONS[:8]],
)
def test_answers_are_as_described(
    described: schemathesis.BaseSchema, mode: GenerationMode, method: str, path: str
) -> None:
    operation = described[path][method]

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answered(case: schemathesis.Case) -> None:
        # Neither an object nor a list without items can be told from an empty parameter, which is as good as none.
        assume(not any(value in ({}, []) for value in (case.query or {}).values()))
        # The page gives the types; rules beyond them (a path without `..`) make valid-looking requests invalid. Other
        # methods are tried once by a test of their own.
        case.call_and_validate(excluded_checks=[positive_data_acceptance, unsupported_method], timeout=10.0)

    answered()
