"""From jobs to reports: whose fault a failure was, what JUnit readers see of retries, and what a CI shows of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from qgjob import Attempt, ErrorClass, InvalidError, Job, JobError, JobStatus, Outcome, Overflow, Priority, Target
from qgjob.cli.afterwards import Outputs
from qgjob.cli.ci_words import Ci, Hidden, annotation_lines, section, summary, which
from qgjob.cli.job_tables import report_table
from qgjob.cli.junit_file import JUnitFileError, document, read, write
from qgjob.cli.results import End, Single, TestReport, report
from tests.fakes.coordinator_services import FakeCoordinator
from tests.unit.cli.conftest import COMMON, Command, autoplay

NOW = datetime(2026, 1, 31, 18, 0, tzinfo=UTC)
FAILED, BROKEN, PASSED = Outcome.TEST_FAILED, Outcome.DEVICE_ERROR, Outcome.PASSED


def job(outcome: Outcome | None, *outcomes: Outcome, **changes: Any) -> Job:
    """A job whose attempts in its second round ended so; in its first one attempt failed."""
    classes = {FAILED: ErrorClass.TEST, BROKEN: ErrorClass.INFRASTRUCTURE}
    attempts = [
        Attempt(
            n,
            2,
            "agent-1",
            f"device-{n}",
            each,
            duration_ms=1000 * n,
            error=JobError(classes[each], f"why {n}") if each in classes else None,
        )
        for n, each in enumerate(outcomes, start=2)
    ]
    status = JobStatus.COMPLETED if outcome in (PASSED, Outcome.FLAKY) else JobStatus.FAILED
    if outcome is Outcome.CANCELLED:
        status = JobStatus.CANCELLED
    values: dict[str, Any] = {
        "job_id": "acme~01K3ZV7Q9M4T8B2N6R5W0XYCEF",
        "org_id": "acme",
        "app_version_id": "v1",
        "test_path": "tests/login.spec.ts",
        "priority": Priority.MEDIUM,
        "target": Target.EMULATOR,
        "status": status if outcome is not None else JobStatus.RUNNING,
        "outcome": outcome,
        "round": 2,
        "created_at": NOW,
        "updated_at": NOW,
        "max_retries": 3,
        "attempts": (Attempt(1, 1, "agent-1", "device-1", FAILED), *attempts),
    }
    return Job(**values | changes)


def single(name: str, end: End = End.PASSED, suite: str = "login") -> Single:
    return Single(name, suite, 0.5, end, "expected 1" if end is End.FAILED else "", "at line 3")


def xml(*reports: TestReport) -> ET.Element:
    return ET.fromstring(document("run-1", reports).tostring())  # noqa: S314 - our own


def shape(case: ET.Element) -> list[tuple[str, str | None, str | None]]:
    return [(each.tag, each.get("type"), each.get("message")) for each in case]


@pytest.mark.parametrize(
    ("made", "end", "inside"),
    [
        (job(PASSED, PASSED), End.PASSED, []),
        (job(Outcome.FLAKY, FAILED, BROKEN, PASSED), End.FLAKY, [
            ("flakyFailure", "test_failed", "why 2"), ("flakyError", "device_error", "why 3")]),
        (job(PASSED, BROKEN, PASSED), End.PASSED, []),
        (job(FAILED, FAILED, BROKEN, FAILED), End.FAILED, [
            ("failure", "test_failed", "why 2"), ("rerunError", "device_error", "why 3"),
            ("rerunFailure", "test_failed", "why 4")]),
        (job(BROKEN, FAILED, BROKEN), End.BROKEN, [
            ("failure", "test_failed", "why 2"), ("rerunError", "device_error", "why 3")]),
        (job(Outcome.EXPIRED, error=JobError(ErrorClass.NO_RESOURCE, "no such device")), End.BROKEN, [
            ("error", "expired", "no such device")]),
        (job(Outcome.CANCELLED, FAILED), End.SKIPPED, [("skipped", None, "cancelled")]),
        (job(None), End.BROKEN, [("error", "unfinished", "it has no verdict yet: it is running")]),
    ],
)  # fmt: skip
def test_a_file_is_reported_with_its_retries_as_surefire_does(made: Job, end: End, inside: list[Any]) -> None:
    told = report(made, {})
    assert told.end is end
    (case,) = xml(told).iter("testcase")
    assert (case.get("name"), case.get("classname")) == ("tests/login.spec.ts", "emulator")
    assert shape(case) == inside


def test_the_tests_of_a_file_have_their_own_lines() -> None:
    singles = {
        2: [single("opens"), single("logs in", End.FAILED), single("pays", End.FAILED)],
        3: [single("opens"), single("logs in"), single("pays", End.FAILED), single("later", End.SKIPPED)],
    }
    told = report(job(FAILED, FAILED, FAILED), singles)
    root = xml(told)
    assert {case.get("name"): shape(case) for case in root.iter("testcase")} == {
        "opens": [],
        "logs in": [("flakyFailure", "test_failed", "expected 1")],
        "pays": [("failure", "test_failed", "expected 1"), ("rerunFailure", "test_failed", "expected 1")],
        "later": [("skipped", None, None)],
    }
    assert [root[0].get(each) for each in ("tests", "failures", "errors", "skipped")] == ["4", "1", "0", "1"]
    assert [root.get(each) for each in ("tests", "failures", "errors")] == ["4", "1", "0"]
    assert {each.get("name"): each.get("value") for each in root.iter("property")}["device_id"] == "device-3"


def test_a_failure_that_no_single_test_tells_has_a_line_of_its_own() -> None:
    late = job(Outcome.TIMED_OUT, Outcome.TIMED_OUT, error=JobError(ErrorClass.TEST, "killed after 60 s"))
    names = [(case.name, case.end) for case in report(late, {2: [single("opens")]}).tests]
    assert names == [("opens", End.PASSED), ("tests/login.spec.ts", End.FAILED)]
    again = job(Outcome.FLAKY, Outcome.APP_CRASHED, PASSED)
    assert [c.end for c in report(again, {3: [single("opens")]}).tests] == [End.PASSED, End.FLAKY]
    gone = report(job(BROKEN, FAILED, BROKEN), {2: [single("opens", End.FAILED)]})  # the last attempt left nothing
    assert [(c.name, c.end) for c in gone.tests] == [("tests/login.spec.ts", End.BROKEN)]


def test_of_two_tests_with_one_name_the_worse_is_reported() -> None:
    told = report(job(FAILED, FAILED), {2: [single("a"), single("a", End.FAILED), single("a", suite="other")]})
    assert [(c.suite, c.name, c.end) for c in told.tests] == [
        ("login", "a", End.FAILED),
        ("other", "a", End.PASSED),
    ]


def test_a_report_is_written_whole_and_takes_any_text(tmp_path: Path) -> None:
    made = job(FAILED, FAILED, test_path="a\x1b[31m<&>\ud800.ts")
    (tmp_path / "reports").mkdir()
    path = tmp_path / "reports" / "report.xml"
    write(path, "run \x00 1", [report(made, {})])
    (suite,) = ET.parse(path).getroot()  # noqa: S314 - our own
    assert suite.get("name") == "a\ufffd[31m<&>\ufffd.ts"
    assert [each.name for each in path.parent.iterdir()] == ["report.xml"]


NESTED = b"""<?xml version="1.0" encoding="ISO-8859-1"?>
<testsuites><testsuite name="outer"><testsuite name="inner"><testcase name="\xe4" time="x">
<error message="boom">trace</error></testcase></testsuite><testcase name="b" classname="c"/></testsuite></testsuites>"""


def test_results_of_tests_are_read_as_they_are_found() -> None:
    assert [(s.suite, s.name, s.end, s.message, s.text, s.seconds) for s in read(NESTED)] == [
        ("c", "b", End.PASSED, "", "", 0.0),
        ("outer", "ä", End.FAILED, "boom", "trace", 0.0),
    ]
    (one,) = read(b"<testsuite name='s'><testcase name='t'><skipped/></testcase></testsuite>")
    assert (one.suite, one.end) == ("s", End.SKIPPED)


@pytest.mark.parametrize(
    "data", [b"", b"no xml", b"<html/>", b"<!DOCTYPE a [<!ENTITY b 'c'>]><testsuite/>", b"<testsuite><testcase>"]
)
def test_what_is_no_junit_is_told(data: bytes) -> None:
    with pytest.raises(JUnitFileError):
        read(data)


# What a CI shows.

LOGIN = report(job(FAILED, BROKEN, FAILED), {})


@pytest.mark.parametrize(
    ("wanted", "environment", "found"),
    [
        (Ci.AUTO, {}, Ci.NONE),
        (Ci.AUTO, {"GITHUB_ACTIONS": "true"}, Ci.GITHUB),
        (Ci.AUTO, {"GITLAB_CI": "true"}, Ci.GITLAB),
        (Ci.NONE, {"GITHUB_ACTIONS": "true"}, Ci.NONE),
        (Ci.GITHUB, {}, Ci.GITHUB),
    ],
)
def test_the_ci_is_known_by_its_environment(wanted: Ci, environment: dict[str, str], found: Ci) -> None:
    assert which(wanted, environment) is found


def test_an_annotation_can_not_be_made_a_command_by_what_a_test_says() -> None:
    bad = replace(LOGIN, message="100%\n::set-output name=x::y", test_path="a,b:c.ts")
    assert annotation_lines([bad], Hidden()) == [
        "::error file=a%2Cb%3Ac.ts,title=a%2Cb%3Ac.ts%3A test_failed::100%25 ::set-output name=x::y (attempts: 2)"
    ]


def test_an_annotation_names_a_test_of_a_suite_as_the_repository_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apps" / "e2e").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "apps")

    def file_of(suite: str | None, **environment: str) -> str:
        found = Outputs.of(None, None, Ci.GITHUB, [], environment, suite)
        (line,) = annotation_lines([LOGIN], found.hidden, found.tests_in)
        return line.partition("file=")[2].partition(",")[0]

    workspace = str(tmp_path)
    assert file_of("e2e", GITHUB_WORKSPACE=workspace) == "apps/e2e/tests/login.spec.ts"
    assert file_of("e2e") == "e2e/tests/login.spec.ts"
    assert file_of("..", GITHUB_WORKSPACE=workspace) == "tests/login.spec.ts"
    assert file_of(None, GITHUB_WORKSPACE=workspace) == "tests/login.spec.ts"
    assert file_of("..", GITHUB_WORKSPACE=str(tmp_path / "elsewhere")) == "tests/login.spec.ts"


def test_there_are_ten_annotations_of_a_kind_at_most() -> None:
    flaky = report(job(Outcome.FLAKY, FAILED, PASSED), {})
    lines = annotation_lines([LOGIN] * 25 + [flaky] * 10 + [report(job(PASSED, PASSED), {})], Hidden())
    assert [sum(line.startswith(f"::{kind} ") for line in lines) for kind in ("error", "warning")] == [10, 10]
    assert lines[9] == "::error title=qgjob::16 more: see the summary of this step"


def test_a_summary_counts_and_shows_what_did_not_pass_and_hides_what_is_secret() -> None:
    secret = replace(LOGIN, message="token hunter2-hunter2 | <script>*x*</script> @team")
    text = summary("run-1", [report(job(PASSED, PASSED), {}), secret], Hidden.of(["hunter2-hunter2", "x", None]))
    assert "1 passed, 1 failed" in text
    assert "hunter2" not in text
    row = text.splitlines()[-1]
    assert row == (
        "| ❌ | tests/login.spec.ts | test_failed | 2 | device-3 | "
        r"token \*\*\* \| &lt;script&gt;\*x\*&lt;/script&gt; @<!-- -->team |"
    )


def test_a_summary_fits_where_it_goes() -> None:
    many = [replace(LOGIN, message="é" * 250, test_path=f"tests/{n}.ts") for n in range(900)]
    for most in (0, 100, 1_000, 100_000, 1024 * 1024):
        text = summary("run-1", many, Hidden(), most)
        assert len(text.encode()) <= most
        shown = text.count("\n| ❌")
        assert not text or shown == 900 or f"{900 - shown} more are not shown." in text
    assert summary("run-1", [LOGIN] * 2000, Hidden()).count("\n| ❌") == 1000


def test_gitlab_gets_a_section_of_what_did_not_pass() -> None:
    assert section([report(job(PASSED, PASSED), {})], Hidden(), 1) == []
    begin, line, end = section([LOGIN], Hidden(), 1)
    assert (begin.startswith("\x1b[0Ksection_start:1:qgjob_tests\r"), "section_end:1:qgjob_tests" in end) == (
        True,
        True,
    )
    assert line == "failed: tests/login.spec.ts: test_failed: why 3"


def test_where_nothing_can_be_written_is_told_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for artifacts, junit, field in (
        (str(tmp_path / "file"), None, "--artifacts"),
        (None, str(tmp_path), "--junit"),
        (None, str(tmp_path / "none" / "x.xml"), "--junit"),
    ):
        with pytest.raises(InvalidError) as raised:
            Outputs.of(artifacts, junit, Ci.NONE, [], {})
        assert raised.value.field == field


def test_people_see_first_what_did_not_pass() -> None:
    inner = report(job(Outcome.FLAKY, FAILED, PASSED), {2: [single("a", End.FAILED)], 3: [single("a"), single("b")]})
    console = Console(width=200, file=StringIO())
    console.print(report_table([report(job(PASSED, PASSED), {}), inner, LOGIN]))
    assert isinstance(console.file, StringIO)
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert [line[2:5] for line in lines[-3:]] == [
        ["test_failed", "2", "0"],
        ["flaky", "2", "2"],
        ["passed", "1", "1"],
    ]
    assert lines[-3][-2:] == ["why", "3"]


def test_a_report_is_written_also_where_no_evidence_is_kept(
    fake: FakeCoordinator, qgjob: Command, tmp_path: Path
) -> None:
    """By a coordinator that knows none; files that were asked for are missed aloud."""
    autoplay(fake, {"b.ts": ("failed", "test_failed")})
    path = tmp_path / "report.xml"
    result = qgjob("run", *COMMON, "--test=a.ts", f"--junit={path}")
    assert (result.code, "the evidence was not fetched" in result.err) == (0, True)
    assert '<testcase name="a.ts"' in path.read_text()
    assert qgjob("run", *COMMON, "--test=a.ts", f"--artifacts={tmp_path / 'files'}").code == 1
    assert qgjob("run", *COMMON, "--test=b.ts", f"--artifacts={tmp_path / 'files'}").code == 10
    assert qgjob("run", *COMMON, "--test=a.ts", f"--junit={tmp_path}").code == 2


def test_a_report_says_on_which_target_a_job_ran_and_which_was_asked_for() -> None:
    second = Overflow(Target.BROWSERSTACK, 120.0, moved_from=Target.EMULATOR)
    moved = job(PASSED, PASSED, target=Target.BROWSERSTACK, overflow=second)
    for made, told in ((moved, ["browserstack", "emulator"]), (job(PASSED, PASSED), ["emulator"])):
        found = {each.get("name"): each.get("value") for each in xml(report(made, {})).iter("property")}
        assert [found[name] for name in ("target", "moved_from") if name in found] == told
