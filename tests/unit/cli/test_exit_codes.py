"""The numbers that scripts depend on."""

from __future__ import annotations

import itertools

import pytest
import typer

import qgjob
from qgjob import ErrorClass, Job, JobError, JobStatus, Outcome, Priority, QgjobError, Target
from qgjob._errors import UnavailableError
from qgjob.cli import exit_codes
from qgjob.cli.runner import reporting


def job(outcome: Outcome | None, error_class: ErrorClass | None = None) -> Job:
    return Job(
        job_id="acme~1", org_id="acme", app_version_id="v1", test_path="t", priority=Priority.LOW, target=Target.DEVICE,
        status=JobStatus.FAILED, round=1, created_at=None, updated_at=None, max_retries=3, outcome=outcome,
        error=JobError(error_class, "why") if error_class else None,
    )  # fmt: skip


VERDICTS = [
    (Outcome.PASSED, None, 0),
    (Outcome.FLAKY, None, 0),
    (Outcome.TEST_FAILED, ErrorClass.TEST, 10),
    (Outcome.TIMED_OUT, ErrorClass.TEST, 10),
    (Outcome.APP_CRASHED, ErrorClass.TEST, 10),
    (Outcome.DEVICE_ERROR, ErrorClass.INFRASTRUCTURE, 20),
    (Outcome.AGENT_LOST, ErrorClass.POISON, 20),
    (Outcome.PROVIDER_ERROR, ErrorClass.INFRASTRUCTURE, 20),
    (Outcome.EXPIRED, ErrorClass.NO_RESOURCE, 18),
    (Outcome.EXPIRED, ErrorClass.QUEUE_TIMEOUT, 20),
    (Outcome.EXPIRED, None, 20),
    (Outcome.CANCELLED, ErrorClass.CANCELLED, 19),
    (None, None, 1),
]


@pytest.mark.parametrize(("outcome", "error_class", "code"), VERDICTS)
def test_each_verdict(outcome: Outcome | None, error_class: ErrorClass | None, code: int) -> None:
    assert exit_codes.for_verdict(job(outcome, error_class)) == code
    assert exit_codes.for_verdicts([job(Outcome.PASSED), job(outcome, error_class)]) == code


def test_every_outcome_has_a_code() -> None:
    for outcome in Outcome:
        exit_codes.for_verdict(job(outcome))


def test_flaky_fails_only_on_demand() -> None:
    assert exit_codes.for_verdict(job(Outcome.FLAKY), fail_on_flaky=True) == 10
    assert exit_codes.for_verdict(job(Outcome.PASSED), fail_on_flaky=True) == 0


def test_over_several_jobs_10_then_20_then_18_then_19() -> None:
    ranked = [
        (job(Outcome.TEST_FAILED), 10),
        (job(Outcome.DEVICE_ERROR), 20),
        (job(Outcome.EXPIRED, ErrorClass.NO_RESOURCE), 18),
        (job(Outcome.CANCELLED), 19),
        (job(Outcome.PASSED), 0),
    ]
    for (worse, code), (better, _) in itertools.combinations(ranked, 2):
        assert exit_codes.for_verdicts([worse, better]) == exit_codes.for_verdicts([better, worse]) == code
    assert exit_codes.for_verdicts([]) == 0


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("InvalidError", 2),
        ("ConfigError", 2),
        ("NotAuthenticatedError", 4),
        ("ForbiddenError", 4),
        ("NotFoundError", 5),
        ("ConflictError", 1),
        ("QuotaError", 1),
        ("TooLargeError", 1),
        ("UnavailableError", 1),
        ("DeadlineError", 1),
        ("ProtocolError", 1),
    ],
)
def test_each_error(kind: str, code: int) -> None:
    error: QgjobError = getattr(qgjob, kind)("why")
    assert exit_codes.for_error(error) == code
    assert exit_codes.for_error(qgjob.WaitTimeoutError("why", jobs=[])) == 124


def test_a_store_that_is_away_sends_people_to_the_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    error = UnavailableError("the store is away (connection refused); repeat the call later")
    error.away = "store"
    with pytest.raises(typer.Exit) as left, reporting():
        raise error
    assert left.value.exit_code == 1
    assert capsys.readouterr().err == (
        "error: the store is away (connection refused); repeat the call later; `qgjob doctor` says more\n"
    )
