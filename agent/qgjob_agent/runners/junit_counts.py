"""What JUnit result files count. The files are the test's, so they are read with care and within bounds."""

from __future__ import annotations

import os
import xml.parsers.expat
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MOST_FILES = 100
MOST_BYTES = 20_000_000
MOST_TESTS = 1_000_000
_PIECE_BYTES = 65_536
_BAD = {"failure": "failed", "error": "failed", "skipped": "skipped"}


class JUnitError(Exception):
    """What is wrong with a file."""


@dataclass(slots=True)
class JUnitCounts:
    """Tests by their end. `first_failure` is the name of a test that failed, empty where none did."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    first_failure: str = ""

    @property
    def total(self) -> int:
        """All tests."""
        return self.passed + self.failed + self.skipped


class _Reader:
    """Counts `testcase` elements; documents with entities of their own are refused, as they can grow without end."""

    def __init__(self) -> None:
        self.counts = JUnitCounts()
        self._left = MOST_BYTES
        self._root: str | None = None
        self._case: str | None = None
        self._end = "passed"
        self._parser = xml.parsers.expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._finish
        self._parser.EntityDeclHandler = self._entity

    @property
    def is_junit(self) -> bool:
        """Whether the document begins as JUnit's do."""
        return self._root in ("testsuites", "testsuite")

    def feed(self, data: bytes, *, last: bool) -> None:
        """Takes a piece. Raises JUnitError."""
        self._left -= len(data)
        if self._left < 0:
            raise JUnitError(f"it has more than {MOST_BYTES:,} bytes")
        try:
            self._parser.Parse(data, last)
        except xml.parsers.expat.ExpatError as error:
            raise JUnitError(f"no XML: {error}") from error

    def _entity(self, *_: object) -> None:
        raise JUnitError("it declares entities")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if self._root is None:
            self._root = name
        if name == "testcase":
            self._case, self._end = attributes.get("name", ""), "passed"
        elif self._case is not None and name in _BAD and self._end == "passed":
            self._end = _BAD[name]
            if self._end == "failed" and not self.counts.first_failure:
                self.counts.first_failure = self._case or "a test"

    def _finish(self, name: str) -> None:
        if name != "testcase" or self._case is None:
            return
        self._case = None
        if self.counts.total >= MOST_TESTS:
            raise JUnitError(f"it has more than {MOST_TESTS:,} tests")
        setattr(self.counts, self._end, getattr(self.counts, self._end) + 1)


def counts_of(folder: Path) -> JUnitCounts | None:
    """What all JUnit files directly in a folder count; None where there is none. Other XML is passed over.

    Raises JUnitError naming a file that is JUnit and can't be read.
    """
    total = JUnitCounts()
    found = False
    for name in _names(folder):
        reader = _read(folder, name)
        if reader is None:
            continue
        found = True
        counts = reader.counts
        total.passed += counts.passed
        total.failed += counts.failed
        total.skipped += counts.skipped
        total.first_failure = total.first_failure or counts.first_failure
    return total if found else None


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if e.name.endswith(".xml") and e.is_file(follow_symlinks=False))
    except OSError:
        return []
    return names[:MOST_FILES]


def _read(folder: Path, name: str) -> _Reader | None:
    reader = _Reader()
    try:
        with open(folder / name, "rb", opener=_open_with_care) as file:
            while data := file.read(_PIECE_BYTES):
                reader.feed(data, last=False)
            reader.feed(b"", last=True)
    except OSError as error:
        raise JUnitError(f"{name}: {error.strerror}") from error
    except JUnitError as error:
        if not reader.is_junit:
            return None
        raise JUnitError(f"{name}: {error}") from error
    return reader if reader.is_junit else None


def _open_with_care(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
