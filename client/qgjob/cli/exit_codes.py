"""What the command exits with. The numbers are the contract's; scripts depend on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob._enums import ErrorClass, Outcome
from qgjob._errors import (
    ConfigError,
    ForbiddenError,
    InvalidError,
    NotAuthenticatedError,
    NotFoundError,
    QgjobError,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qgjob._models import Job

OK = 0
FAILURE = 1
USAGE = 2
NO_TESTS = 3
NOT_ALLOWED = 4
NOT_FOUND = 5
TEST_FAILED = 10
NOTHING_COULD_SERVE = 18
CANCELLED = 19
INFRASTRUCTURE = 20
TIMEOUT = 124
INTERRUPTED = 130


class NoTestsError(InvalidError):
    """No file of the suite is one of the tests that were asked for."""


_ERRORS: tuple[tuple[type[QgjobError], int], ...] = (
    (NoTestsError, NO_TESTS),
    (InvalidError, USAGE),
    (ConfigError, USAGE),
    (NotAuthenticatedError, NOT_ALLOWED),
    (ForbiddenError, NOT_ALLOWED),
    (NotFoundError, NOT_FOUND),
    (WaitTimeoutError, TIMEOUT),
)

_VERDICTS: dict[Outcome, int] = {
    Outcome.PASSED: OK,
    Outcome.FLAKY: OK,
    Outcome.TEST_FAILED: TEST_FAILED,
    Outcome.TIMED_OUT: TEST_FAILED,
    Outcome.APP_CRASHED: TEST_FAILED,
    Outcome.DEVICE_ERROR: INFRASTRUCTURE,
    Outcome.AGENT_LOST: INFRASTRUCTURE,
    Outcome.PROVIDER_ERROR: INFRASTRUCTURE,
    Outcome.EXPIRED: INFRASTRUCTURE,
    Outcome.CANCELLED: CANCELLED,
}

# Over several jobs the first of these that occurs.
_PRECEDENCE = (TEST_FAILED, INFRASTRUCTURE, NOTHING_COULD_SERVE, CANCELLED, FAILURE)


def for_error(error: QgjobError) -> int:
    """Of a call that failed."""
    return next((code for kind, code in _ERRORS if isinstance(error, kind)), FAILURE)


def for_verdict(job: Job, *, fail_on_flaky: bool = False) -> int:
    """Of one job that has its verdict."""
    if job.outcome is None:
        return FAILURE
    if job.outcome is Outcome.FLAKY and fail_on_flaky:
        return TEST_FAILED
    if job.outcome is Outcome.EXPIRED and job.error is not None and job.error.error_class is ErrorClass.NO_RESOURCE:
        return NOTHING_COULD_SERVE
    return _VERDICTS[job.outcome]


def for_verdicts(jobs: Iterable[Job], *, fail_on_flaky: bool = False) -> int:
    """Of several jobs: the worst, in the order 10, 20, 18, 19."""
    codes = {for_verdict(job, fail_on_flaky=fail_on_flaky) for job in jobs}
    return next((code for code in _PRECEDENCE if code in codes), OK)
