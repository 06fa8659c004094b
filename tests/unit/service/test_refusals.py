"""A call that is refused says what is so, and what to do."""

from __future__ import annotations

import pytest

from qgjob_coordinator.errors import ConflictError, NotFoundError
from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.service.calls.refusals import job_not_found, raise_for_cancel, raise_for_retry
from qgjob_coordinator.store.types.asked import Cancelled, CancelWord, Retried, RetryWord
from tests.unit.policy.test_explain import job

JOB = "acme~01J"


def test_a_job_that_is_not_there_says_how_to_list_those_that_are() -> None:
    for error in (job_not_found(JOB), job_not_found(JOB, "job_ids[3]")):
        assert error.message.startswith(f"job {JOB} not found: ")
        assert "`qgjob list --org-id=acme`" in error.message
    with pytest.raises(NotFoundError, match="qgjob list"):
        raise_for_cancel(JOB, 1, Cancelled("01J", CancelWord.MISSING, None, None, None, None))


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED])
def test_a_cancel_of_what_has_its_verdict_says_so(status: Status) -> None:
    with pytest.raises(ConflictError) as caught:
        raise_for_cancel(JOB, 1, Cancelled("01J", CancelWord.ILLEGAL, status, 1, None, None))
    assert caught.value.message == (
        f"job {JOB}: cancel does not apply to a job that is {status}: "
        "it has its verdict, and nothing of it is left to cancel"
    )


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (Status.COMPLETED, "it passed; to run the test again, submit it as a new job"),
        (Status.QUEUED, "wait for its verdict, or cancel it first"),
        (Status.RUNNING, "wait for its verdict, or cancel it first"),
    ],
)
def test_a_retry_that_does_not_apply_says_what_to_do(status: Status, advice: str) -> None:
    with pytest.raises(ConflictError) as caught:
        raise_for_retry(job(status=status), 1, Retried("01J", RetryWord.ILLEGAL, status, 1, None))
    assert caught.value.message.endswith(f"retry does not apply to a job that is {status}: {advice}")
