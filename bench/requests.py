"""The jobs of all workloads: one org, 50 app versions, test paths of 80 characters."""

from __future__ import annotations

from qgjob import JobSpec
from qgjob_proto.v1 import jobs_pb2

ORG = "org-acme"
APP_VERSIONS = 50
PATH_CHARACTERS = 80


def app_version(number: int) -> str:
    """The app version of the n-th job."""
    return f"appv-{number % APP_VERSIONS:06d}"


def test_path(number: int) -> str:
    """A path of 80 characters that no other number has."""
    end = f"_{number:08d}.spec.ts"
    return (
        "tests/suite/onboarding/with_login_and_a_rather_long_name_as_real_suites_have_them"[
            : PATH_CHARACTERS - len(end)
        ]
        + end
    )


def spec(number: int) -> JobSpec:
    """The n-th job for the client library."""
    return JobSpec(ORG, app_version(number), test_path(number))


def request(number: int) -> jobs_pb2.SubmitJobRequest:
    """The n-th job as a message."""
    return jobs_pb2.SubmitJobRequest(org_id=ORG, app_version_id=app_version(number), test_path=test_path(number))


def batch(first: int, last: int) -> jobs_pb2.SubmitJobsRequest:
    """Jobs first..last-1 as one call that wants the ids back."""
    return jobs_pb2.SubmitJobsRequest(
        jobs=[request(number) for number in range(first, last)], view=jobs_pb2.JOB_VIEW_IDS
    )
