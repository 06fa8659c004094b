"""The log of this agent's Appium, and which part of it belongs to an attempt.

One Appium serves all devices, so where several were at work a part is the lines of an attempt's own sessions.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgjob_agent.host.plain_file import opened

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

MOST_BYTES = 1_000_000
"""Of one attempt; the end of it tells most."""
_READ_BYTES = 2_000_000
"""Own lines are looked for in the event loop: in so many bytes that takes some 25 ms."""
_FILES_END = 1 << 65  # a number of 64 bits is rounded up to more
_SIZES_END = 1 << 63
_SIGNATURE = 8
_COLOUR = re.compile(rb"\x1b\[[\d;]*m")
_NEW = re.compile(rb"(\S+ \S+ - )?\[")
"""How a line of Appium's begins; others go on with the one before."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the log: the number of its file as a run tells it, and how many bytes that had."""

    file: int
    size: int

    @classmethod
    def of(cls, told: object) -> Mark | None:
        """As a run tells it, `[file, size]`; the test may write that, so nothing is taken on trust."""
        if not isinstance(told, list) or len(told) != 2:
            return None
        file, size = told
        fits = type(file) is int and type(size) is int and 0 <= file < _FILES_END and 0 <= size < _SIZES_END
        return cls(_rounded(file), size) if fits else None

    @classmethod
    def at(cls, status: os.stat_result) -> Mark:
        """The end of a file, whose number is known as a run tells it."""
        return cls(_rounded(status.st_ino), status.st_size)


def _rounded(number: int) -> int:
    """As JavaScript has it, with 53 bits: some file systems number their files with all of 64."""
    return int(float(number))


class AppiumLog:
    """The log at `path`, and that of the Appium before: an attempt may have seen the end of one.

    `beside` is that of a second Appium: a part of it is had here too.
    """

    def __init__(self, path: Path, beside: AppiumLog | None = None) -> None:
        self.path = path
        self._beside = beside
        self._earlier = path.with_name(f"{path.stem}.earlier{path.suffix}")

    def begin_anew(self) -> None:
        """Another Appium begins. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            self.path.replace(self._earlier)

    def has(self, mark: Mark) -> bool:
        """Whether a mark is of this log, or of the one before."""
        for path in (self.path, self._earlier):
            with contextlib.suppress(OSError):  # it is not there
                if Mark.at(path.stat()).file == mark.file:
                    return True
        return False

    def part(self, since: Mark, until: Mark | None) -> bytes:
        """What was written between two marks, of which the second may be missing: until now. Its end, where it is much.

        Empty where that log is gone. Raises OSError.
        """
        if self._beside is not None and self._beside.has(since):
            return self._beside.part(since, until)
        with opened(self.path) as file:
            here = Mark.at(os.fstat(file.fileno()))
            end = until.size if until is not None and until.file == here.file else here.size
            if since.file == here.file:
                return _between(file.fileno(), since.size if since.size <= end else 0, end)  # it was cut meanwhile
            last = _between(file.fileno(), 0, end)
        try:
            with opened(self._earlier) as file:
                earlier = Mark.at(os.fstat(file.fileno()))
                first = _between(file.fileno(), since.size, earlier.size)
        except FileNotFoundError:
            return b""
        return (first + last)[-_READ_BYTES:] if earlier.file == since.file else b""


def _between(fd: int, start: int, end: int) -> bytes:
    begin = max(start, end - _READ_BYTES)
    return os.pread(fd, max(end - begin, 0), begin)


def readable(part: bytes) -> bytes:
    """A part of the log without colours."""
    return _COLOUR.sub(b"", part)


def own_lines(part: bytes, udid: str, sessions: Collection[str]) -> bytes:
    """Of a part that several devices wrote: the lines of these sessions, and those that name this device."""
    signs = [udid.encode()] if udid else []
    for each in sessions:
        signs += [each.encode(), f"[{each[:_SIGNATURE]}]".encode()]
    kept, inside = [], False
    for line in part.splitlines(keepends=True):
        if _NEW.match(line):
            inside = any(sign in line for sign in signs)
        if inside:
            kept.append(line)
    return b"".join(kept)


def end_of(part: bytes) -> bytes:
    """The end of a part within the bound, from the beginning of a line on; says so where something is missing."""
    if len(part) <= MOST_BYTES:
        return part
    end = part[-MOST_BYTES:].partition(b"\n")[2]
    return b"[%d bytes before this left out]\n" % (len(part) - len(end)) + end
