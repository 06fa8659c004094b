"""What foreign text must not do to a CI that reads what this process prints: begin a command of it, show a secret."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qgjob.cli.ci_words import Ci, Hidden, which

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_OLD_COMMAND = "##["
"""GitHub's runner reads it anywhere in a line."""
_COMMAND = re.compile(r"^(\s*):(?=:)")
"""This one only where a line begins."""
# The same in bytes. To the runner a lone \r ends a line too, and a command may stand behind any of Unicode's spaces.
_SPACES = (
    rb"(?:[\t\v\f ]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]"
    rb"|\xe2\x81\x9f|\xe3\x80\x80|\xef\xbb\xbf)*"
)
_IN_BYTES = re.compile(rb"([\r\n]" + _SPACES + rb":)(?=:)|(##)(?=\[)")
_MAY_BE_ONE = re.compile(
    rb"[\r\n]" + _SPACES + rb"(:|\xc2|\xe1\x9a?|\xe2[\x80\x81]?|\xe3\x80?|\xef\xbb?|##?)?\Z|##?\Z",
)


class Guard:
    """For one CI. `github`: GitHub's runner reads the lines, although its CI is to be told nothing."""

    def __init__(self, ci: Ci, *, github: bool = False) -> None:
        self._ci = ci
        self._github = github or ci is Ci.GITHUB
        self._hidden = Hidden()

    @classmethod
    def of(cls, wanted: Ci, environment: Mapping[str, str]) -> Guard:
        """For the CI that is wanted, and the one that the process runs in."""
        return cls(which(wanted, environment), github=which(Ci.AUTO, environment) is Ci.GITHUB)

    def hide(self, values: Iterable[str | None]) -> None:
        """Has these shown to no CI from now on; where none is told, they are shown as they are."""
        if self._ci is not Ci.NONE:
            self._hidden = Hidden.of(values)

    def line(self, text: str) -> str:
        """One line, or a part of one, that is printed for people."""
        text = self._hidden.within(text)
        if not self._github:
            return text
        return _COMMAND.sub(r"\1: ", text.replace(_OLD_COMMAND, "## ["))

    def stream(self) -> GuardedStream | None:
        """For what a test has printed, where GitHub's runner reads it; else None."""
        return GuardedStream() if self._github else None

    def json(self, text: str) -> str:
        """The same JSON; it is for programs, so what it says stays what it is."""
        return text.replace(_OLD_COMMAND, r"#\u0023[") if self._github else text


class GuardedStream:
    """Bytes that GitHub's runner reads: those of a command are broken as in `Guard.line`, the others as they are."""

    def __init__(self) -> None:
        self._before = b"\n"

    def take(self, piece: bytes) -> bytes:
        """A piece of them, wherever it was cut. Nothing of it is held back."""
        said = _IN_BYTES.sub(rb"\1\2 ", self._before + piece)
        shown = said[len(self._before) :]
        begun = _MAY_BE_ONE.search(said)
        if begun is None:
            self._before = b""
        else:  # however many spaces there are
            self._before = b"\n" + (begun[1] or b"") if begun[0][:1] in b"\r\n" else begun[0]
        return shown


_guards = [Guard(Ci.NONE)]
"""The last one counts, in all threads: stdout and stderr are the process's."""


def present() -> Guard:
    """The guard of the command that runs."""
    return _guards[-1]


@contextmanager
def guarding(guard: Guard) -> Iterator[None]:
    """A block in which this one guards what is printed."""
    _guards.append(guard)
    try:
        yield
    finally:
        _guards.pop()
