"""Violations as a report tells them: each once, with how often it came, and without folders of this machine. Pure.

A program that fails by itself does so a thousand times, by one traceback. What differs between two of these and says
nothing - addresses in memory, ports, times of a log - makes no other violation of it.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.processes import ROOT
from tests.chaos.violations import Violation

_PACKAGE = re.compile(r"(?<![\w/.])/[^\s\"':]*?/(?:site|dist)-packages/")
_LIBRARY = re.compile(r"(?<![\w/.])/[^\s\"':]*?/lib/(?=python3\.\d+/)")
_TEMPORARY = re.compile(rf"(?<![\w/.])(?:{re.escape(tempfile.gettempdir())}|/tmp|/var/tmp)/(?:qgjob-chaos-[^/\s]+/)?")
_FOLDERS = re.compile(
    r"(?<![\w/.:])/(?:home|root|Users|private|mnt|media|srv|opt|usr|workspaces?|builds|runner)/(?:[^/\s\"':]+/)*"
)
_FILE = re.compile(r"(?<=File \")/[^\"]*/")
_SAYS_NOTHING = re.compile(
    r"\b0x[0-9a-f]+|\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[\d.,]*(?:Z|[+-]\d\d:?\d\d)?|(?<=127\.0\.0\.1:)\d+"
)


@dataclass(frozen=True)
class Told:
    """A violation, the first of its like, that came so many `times`."""

    violation: Violation
    times: int = 1

    def figures(self, begin: float) -> dict[str, Any]:
        """As JSON; `at` is in seconds since `begin`."""
        at = None if self.violation.at is None else round(self.violation.at - begin, 3)
        return {**vars(self.violation), "at": at, "times": self.times}

    def line(self) -> str:
        """For people; the story has the rest."""
        first = self.violation.text.partition("\n")[0]
        return f"{self.times:>6} x {first}   [{self.violation.rule}]"


def told(violations: Iterable[Violation]) -> list[Told]:
    """Each of the violations once, in the order in which they came first."""
    found: dict[tuple[object, ...], Told] = {}
    for violation in (replace(v, text=without_folders(v.text)) for v in violations):
        key = (violation.rule, _SAYS_NOTHING.sub("-", violation.text), violation.job_id, violation.device_id)
        before = found.get(key)
        found[key] = Told(violation) if before is None else replace(before, times=before.times + 1)
    return list(found.values())


def without_folders(text: str) -> str:
    """The text with paths as they are within the project, a package, or a run; of other files the name only."""
    text = _LIBRARY.sub("", _PACKAGE.sub("", text))
    for folder in _own():
        text = text.replace(f"{folder}/", "").replace(folder, ".")
    return _FOLDERS.sub("", _FILE.sub("", _TEMPORARY.sub("", text)))


def _own() -> Sequence[str]:
    """This clone, and below it the environment that its programs run in, wherever that is; the longest first."""
    return sorted({str(ROOT), sys.prefix} - {"/", "/usr"}, key=len, reverse=True)
