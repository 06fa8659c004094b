"""A run's report for the CI that the command runs in: GitHub's annotations and step summary, GitLab's section. Pure."""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from qgjob.cli.results import End

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from qgjob.cli.results import TestReport

MOST_ANNOTATIONS = 10
"""Of one kind and step: GitHub shows no more."""
MOST_SUMMARY_BYTES = 1024 * 1024
"""Of a step: GitHub takes no summary that is larger."""
MOST_ROWS = 1000
MOST_MESSAGE = 300
LEAST_SECRET = 6
"""Characters. What is shorter would be found everywhere."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]|\x1b\[[0-9;]*[A-Za-z]")
_WORTH = (End.FAILED, End.BROKEN, End.FLAKY)
_MARKS = {End.FAILED: "❌", End.BROKEN: "⚠️", End.FLAKY: "🔁", End.PASSED: "✅", End.SKIPPED: "⏭️"}
_WORDS = {
    End.PASSED: "passed",
    End.FLAKY: "flaky",
    End.FAILED: "failed",
    End.BROKEN: "broken by the infrastructure",
    End.SKIPPED: "skipped",
}


class Ci(StrEnum):
    """Where the report goes besides."""

    AUTO = "auto"
    GITHUB = "github"
    GITLAB = "gitlab"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Hidden:
    """Texts that nobody is to read in a report: tokens, and values that the test got by its environment."""

    values: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Iterable[str | None]) -> Hidden:
        """Of all that is long enough to be told from a word; the longest first.

        A text of many lines is hidden as it is, in one line, and line by line: of what a test says one is shown.
        """
        told = [each for each in values if each is not None]
        forms = (form for each in told for form in (each, _plain(each), *map(str.strip, each.splitlines())))
        known = {each for each in forms if len(each) >= LEAST_SECRET}
        return cls(tuple(sorted(known, key=len, reverse=True)))

    def within(self, text: str) -> str:
        """The text without them."""
        for each in self.values:
            text = text.replace(each, "***")
        return text


def which(wanted: Ci, environment: Mapping[str, str]) -> Ci:
    """The CI that is meant by `auto`."""
    if wanted is not Ci.AUTO:
        return wanted
    if environment.get("GITHUB_ACTIONS") == "true":
        return Ci.GITHUB
    return Ci.GITLAB if environment.get("GITLAB_CI") == "true" else Ci.NONE


# --- GitHub -----------------------------------------------------------------------------------------------------------


def annotation_lines(reports: Sequence[TestReport], hidden: Hidden, tests_in: str = "") -> list[str]:
    """Lines that GitHub shows beside the code: errors for what did not pass, warnings for what did at last.

    `tests_in` is the folder of the repository that the tests' paths are in, its root if empty.
    """
    bad = [each for each in reports if each.end in (End.FAILED, End.BROKEN)]
    flaky = [each for each in reports if each.end is End.FLAKY]
    return [*_lines("error", bad, hidden, tests_in), *_lines("warning", flaky, hidden, tests_in)]


def _lines(level: str, reports: Sequence[TestReport], hidden: Hidden, tests_in: str) -> list[str]:
    shown = reports if len(reports) <= MOST_ANNOTATIONS else reports[: MOST_ANNOTATIONS - 1]
    lines = [_annotation(level, each, hidden, tests_in) for each in shown]
    if len(shown) < len(reports):
        lines.append(f"::{level} title=qgjob::{len(reports) - len(shown)} more: see the summary of this step")
    return lines


def _annotation(level: str, report: TestReport, hidden: Hidden, tests_in: str) -> str:
    title = f"{report.test_path}: {report.outcome or report.status}"
    tries = f" (attempts: {report.attempts})" if report.attempts > 1 else ""
    message = _line(report.message or "no reason was told", hidden) + tries
    path = PurePosixPath(tests_in, report.test_path).as_posix()
    file, titled = (_property(hidden.within(_plain(each))) for each in (path, title))
    return f"::{level} file={file},title={titled}::{_data(message)}"


def _data(text: str) -> str:
    """As GitHub reads it: nothing of a text can end the line, or begin a command of its own."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def summary(title: str, reports: Sequence[TestReport], hidden: Hidden, most_bytes: int = MOST_SUMMARY_BYTES) -> str:
    """Markdown for GitHub's page of the run: counts, then what did not pass; as many rows as there is room for."""
    counts = Counter(each.end for each in reports)
    told = ", ".join(f"{counts[end]} {_WORDS[end]}" for end in End if counts[end]) or "no tests"
    head = f"### {_cell(title, hidden)}\n\n{told}\n\n"
    worth = [each for end in _WORTH for each in reports if each.end is end]
    if not worth:
        return head[:most_bytes] if len(head.encode()) <= most_bytes else ""
    head += "| | test | outcome | attempts | device | why |\n|---|---|---|---|---|---|\n"
    end = "\n{} more are not shown.\n"
    room = most_bytes - len(head.encode()) - len(end.format(len(worth)).encode())
    rows: list[str] = []
    for each in worth[:MOST_ROWS]:
        row = _row(each, hidden)
        room -= len(row.encode())
        if room < 0:
            break
        rows.append(row)
    left = len(worth) - len(rows)
    text = head + "".join(rows) + (end.format(left) if left else "")
    return text if len(text.encode()) <= most_bytes else ""


def _row(report: TestReport, hidden: Hidden) -> str:
    cells = (
        _MARKS[report.end],
        _cell(report.test_path, hidden),
        report.outcome or report.status,
        str(report.attempts),
        _cell(report.device_id or "", hidden),
        _cell(report.message or "", hidden),
    )
    return f"| {' | '.join(cells)} |\n"


def _cell(text: str, hidden: Hidden) -> str:
    """One cell of a table: no HTML, no markdown, no second line."""
    escaped = html.escape(_line(text, hidden), quote=False)
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", escaped).replace("@", "@<!-- -->")


def _plain(text: str) -> str:
    """One line, without control characters."""
    return " ".join(_CONTROL.sub("", text).split())


def _line(text: str, hidden: Hidden) -> str:
    """The same, hidden first, so that no part of a secret is left where a long one is cut."""
    line = hidden.within(_plain(text))
    return line if len(line) <= MOST_MESSAGE else f"{line[: MOST_MESSAGE - 1]}…"


# --- GitLab -----------------------------------------------------------------------------------------------------------


def section(reports: Sequence[TestReport], hidden: Hidden, now: int) -> list[str]:
    """A section of the job's log with what did not pass, which GitLab can fold. `now` in seconds since the epoch."""
    worth = [each for end in _WORTH for each in reports if each.end is end]
    if not worth:
        return []
    lines = [_section_line(each, hidden) for each in worth[:MOST_ROWS]]
    begin = f"\x1b[0Ksection_start:{now}:qgjob_tests\r\x1b[0Kqgjob: {len(worth)} tests that did not simply pass"
    return [begin, *lines, f"\x1b[0Ksection_end:{now}:qgjob_tests\r\x1b[0K"]


def _section_line(report: TestReport, hidden: Hidden) -> str:
    path, message = _line(report.test_path, hidden), _line(report.message or "", hidden)
    return f"{report.end}: {path}: {report.outcome or report.status}: {message}"
