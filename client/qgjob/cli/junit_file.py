"""JUnit files: what tests left of their own results, read; and a run's, written as Maven's Surefire writes reruns."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from junitparser import Error, JUnitXmlError, Skipped
from junitparser import Failure as JUnitFailure
from junitparser import TestSuite as AnySuite
from junitparser.xunit2 import (
    FlakyError,
    FlakyFailure,
    InterimResult,
    JUnitXml,
    RerunError,
    RerunFailure,
    TestCase,
    TestSuite,
)

from qgjob.cli.results import End, Single

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from qgjob.cli.results import Case, Failure, TestReport

MOST_CHARS = 20_000
# XML 1.0 has no character for these, escaped or not.
_UNFIT = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DOCTYPE = re.compile(rb"<!\s*(?:DOCTYPE|ENTITY)", re.IGNORECASE)


class JUnitFileError(Exception):
    """What is wrong with a file that a test left."""


# --- reading ----------------------------------------------------------------------------------------------------------


def read(data: bytes) -> list[Single]:
    """The tests of a file. Raises JUnitFileError."""
    if _DOCTYPE.search(data):
        raise JUnitFileError("it declares entities, which are not read")
    try:
        found = JUnitXml.fromstring(data)  # bytes: they say their encoding themselves
    except (JUnitXmlError, SyntaxError, ValueError, LookupError) as error:
        raise JUnitFileError(f"no JUnit results: {error}") from error
    return [_single(case, suite) for suite in _suites(found) for case in suite]


def _suites(found: Any) -> list[Any]:
    """The outermost suites; each has the tests of those within it too."""
    return [found] if isinstance(found, AnySuite) else list(found)


def _single(case: Any, suite: Any) -> Single:
    results = case.result or []
    bad = next((each for each in results if isinstance(each, JUnitFailure | Error)), None)
    skipped = next((each for each in results if isinstance(each, Skipped)), None)
    end = End.FAILED if bad is not None else End.SKIPPED if skipped is not None else End.PASSED
    why = bad if bad is not None else skipped
    try:
        seconds = float(case.time or 0)
    except ValueError:
        seconds = 0.0
    message = "" if why is None else why.message or (why.text or "").strip().split("\n")[0]
    text = "" if why is None else why.text or ""
    name, where = case.name or "a test", case.classname or suite.name or ""
    return Single(name, where, seconds, end, message[:MOST_CHARS], text[:MOST_CHARS])


# --- writing ----------------------------------------------------------------------------------------------------------


def write(path: Path, name: str, reports: Sequence[TestReport]) -> None:
    """Writes a report of a run, whole or not at all. Raises OSError."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        document(name, reports).write(str(draft))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def document(name: str, reports: Sequence[TestReport]) -> JUnitXml:
    """A suite for each job: one `testcase` for each of its tests.

    A test that passed in the end has a `flakyFailure` (or `flakyError`, where a device, an agent or a build was at
    fault) for each time that it did not; one that did not has the first as `failure` (`error`), others as reruns.
    """
    root: Any = JUnitXml(_fit(name))
    new_suite: Any = TestSuite  # whose types the library does not say
    for each in reports:
        suite = new_suite(_fit(each.test_path))
        for key, value in _properties(each):
            suite.add_property(key, _fit(value))
        suite.add_testcases([_case(case) for case in each.tests])
        root.append(suite)
    root.update_statistics()
    made: JUnitXml = root
    return made


def _properties(report: TestReport) -> Iterator[tuple[str, str]]:
    yield "job_id", report.job_id
    yield "target", report.target
    if report.moved_from is not None:
        yield "moved_from", report.moved_from
    yield "outcome", report.outcome or report.status
    yield "attempts", str(report.attempts)
    if report.device_id is not None:
        yield "device_id", report.device_id


def _case(case: Case) -> TestCase:
    written = TestCase(_fit(case.name), classname=_fit(case.suite), time=case.seconds)
    if case.end is End.SKIPPED:
        written.result = [Skipped(_fit(case.reason) or None)]
        return written
    failures = list(case.failures)
    if case.end in (End.FAILED, End.BROKEN) and failures:
        first = failures.pop(0)
        kind = Error if first.end is End.BROKEN else JUnitFailure
        final = kind(_fit(first.message), first.outcome)
        final.text = _fit(_text(first))
        written.result = [final]
        _add(written, failures, RerunFailure, RerunError)
    elif case.end is End.FLAKY:
        _add(written, failures, FlakyFailure, FlakyError)
    elif case.end is not End.PASSED:
        written.result = [Error(_fit(case.reason) or None)]
    return written


def _add(
    written: TestCase,
    failures: Iterable[Failure],
    of_the_test: type[InterimResult],
    of_others: type[InterimResult],
) -> None:
    for each in failures:
        kind = of_others if each.end is End.BROKEN else of_the_test
        result = kind(_fit(each.message), each.outcome)
        result.stack_trace = _fit(_text(each))
        written.add_interim_result(result)


def _text(failure: Failure) -> str:
    return f"attempt {failure.attempt}: {failure.text or failure.message}"


def _fit(text: str) -> str:
    return _UNFIT.sub("\ufffd", text)[:MOST_CHARS]
