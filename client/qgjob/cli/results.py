"""What the jobs of a run say of its tests: what passed, at last or at once, what failed, by whose fault. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from qgjob._enums import JobStatus, Outcome
from qgjob._shape import Shape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgjob._models import Attempt, Job

OF_THE_TEST = (Outcome.TEST_FAILED, Outcome.TIMED_OUT, Outcome.APP_CRASHED)
UNFINISHED = "unfinished"
NO_MESSAGE = "no reason was told"


class End(StrEnum):
    """How a test ended. FAILED is the test's own fault, BROKEN that of a device, an agent or a build."""

    PASSED = "passed"
    FLAKY = "flaky"
    FAILED = "failed"
    BROKEN = "broken"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Single(Shape):
    """One test of a file in one attempt, as the test framework counted it. `message` and `text` say why it failed."""

    name: str
    suite: str
    seconds: float
    end: End
    message: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Failure(Shape):
    """One time that a test did not pass."""

    attempt: int
    outcome: str
    end: End
    message: str
    text: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Case(Shape):
    """One line of a report: a test with all that went wrong in its attempts, the first first."""

    name: str
    suite: str
    end: End
    seconds: float
    failures: tuple[Failure, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TestReport(Shape):
    """What became of one job in its present round. `tests` are those of its file, where they are known; else itself."""

    __test__ = False  # not a pytest class

    job_id: str
    test_path: str
    target: str
    """The one that it ran on; `moved_from` is the one that was asked for where that is another."""
    moved_from: str | None
    device_id: str | None
    status: str
    outcome: str | None
    end: End
    attempts: int
    duration_ms: int | None
    message: str | None
    tests: tuple[Case, ...]


def report(job: Job, singles: Mapping[int, Sequence[Single]]) -> TestReport:
    """`singles` has the tests of each attempt whose results are known."""
    attempts = [each for each in job.attempts if each.round == job.round]
    last = attempts[-1] if attempts else None
    whole = _whole(job, attempts)
    tests = _tests(job, attempts, singles, whole)
    return TestReport(
        job_id=job.job_id,
        test_path=job.test_path,
        target=str(job.target),
        moved_from=None if job.overflow is None or job.overflow.moved_from is None else str(job.overflow.moved_from),
        device_id=last.device_id if last else None,
        status=str(job.status),
        outcome=None if job.outcome is None else str(job.outcome),
        end=whole.end,
        attempts=len(attempts),
        duration_ms=last.duration_ms if last else None,
        message=whole.failures[-1].message if whole.failures else whole.reason or None,
        tests=tests,
    )


def _whole(job: Job, attempts: Sequence[Attempt]) -> Case:
    """The file as one test."""
    failures = tuple(_failure(each) for each in attempts if each.outcome not in (None, Outcome.PASSED))
    seconds = (attempts[-1].duration_ms or 0) / 1000 if attempts else 0.0
    end, reason = _end_of(job)
    if end in (End.FAILED, End.BROKEN) and (not failures or job.outcome not in (None, failures[-1].outcome)):
        why = job.error.message if job.error is not None else reason or NO_MESSAGE  # it never came to an attempt
        number = attempts[-1].attempt if attempts else 0
        failures = (*failures, Failure(number, str(job.outcome or UNFINISHED), end, why, "", 0.0))
    return Case(job.test_path, str(job.target), end, seconds, failures, reason)


def _end_of(job: Job) -> tuple[End, str]:
    if job.status is JobStatus.CANCELLED:
        return End.SKIPPED, "cancelled"
    if not job.final:
        return End.BROKEN, f"it has no verdict yet: it is {job.status}"
    if job.outcome is Outcome.PASSED:
        return End.PASSED, ""
    if job.outcome is Outcome.FLAKY:
        return End.FLAKY, ""
    return (End.FAILED if job.outcome in OF_THE_TEST else End.BROKEN), ""


def _failure(attempt: Attempt) -> Failure:
    end = End.FAILED if attempt.outcome in OF_THE_TEST else End.BROKEN
    message = attempt.error.message if attempt.error is not None else NO_MESSAGE
    seconds = (attempt.duration_ms or 0) / 1000
    return Failure(attempt.attempt, str(attempt.outcome), end, message, f"on {attempt.device_id}", seconds)


def _tests(
    job: Job, attempts: Sequence[Attempt], singles: Mapping[int, Sequence[Single]], whole: Case
) -> tuple[Case, ...]:
    """Those of the last attempt, each with what went wrong with it before; the file itself where they don't tell it."""
    last = list(singles.get(attempts[-1].attempt, ())) if attempts and job.final else []
    if not last:
        return (whole,)
    before = [(each.attempt, single) for each in attempts for single in singles.get(each.attempt, ())]
    cases = [_case(single, before) for single in _once(last)]
    explained = any(case.end in (End.FAILED, End.BROKEN) for case in cases)
    if whole.end in (End.FAILED, End.BROKEN) and not explained:
        cases.append(whole)  # as when it ran over its time: no single test says so
    elif whole.end is End.FLAKY and not any(case.end is End.FLAKY for case in cases):
        cases.append(whole)
    return tuple(cases)


def _once(singles: Sequence[Single]) -> list[Single]:
    """Of tests with one name the worst: a report can't tell them apart."""
    found: dict[tuple[str, str], Single] = {}
    for each in singles:
        known = found.get((each.suite, each.name))
        if known is None or each.end is End.FAILED:
            found[each.suite, each.name] = each
    return list(found.values())


def _case(single: Single, before: Sequence[tuple[int, Single]]) -> Case:
    failures = tuple(
        Failure(attempt, str(Outcome.TEST_FAILED), End.FAILED, each.message, each.text, each.seconds)
        for attempt, each in before
        if (each.suite, each.name) == (single.suite, single.name) and each.end is End.FAILED
    )
    end = End.FLAKY if single.end is End.PASSED and failures else single.end
    return Case(single.name, single.suite, end, single.seconds, failures, single.message)
