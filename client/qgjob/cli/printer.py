"""Everything that goes to stdout: tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.text import Text

from qgjob._errors import QgjobError
from qgjob._models import LogChunk, WatchEvent
from qgjob.cli.clean import clean_log
from qgjob.cli.guard import present
from qgjob.cli.job_tables import transition_text
from qgjob.cli.job_words import News
from qgjob.cli.runner import tell, writing
from qgjob.cli.tables import Grid

# A table that goes to a file or a pipe is as wide as its content: cut ids are of no use.
_UNBOUNDED_WIDTH = 100_000


class _Console(Console):
    """Rich's, which leaves it to the command what follows from a reader that is gone."""

    def on_broken_pipe(self) -> None:
        """Called where that error is handled."""
        raise  # noqa: PLE0704 - what is handled


class HasShape(Protocol):
    """A model."""

    def to_dict(self) -> dict[str, Any]: ...  # noqa: D102


class Printer:
    """Prints results in one format: `table`, `json` or `jsonl`."""

    def __init__(self, output: str) -> None:
        """Raises QgjobError where there is no stdout, as in a process that was started with it closed."""
        if sys.stdout is None:
            raise QgjobError("stdout: is closed; send it to /dev/null if nobody reads it")
        self.output = output
        self._news = News()
        self._guarded = None if _is_file() else present().stream()
        width = None if sys.stdout.isatty() else _UNBOUNDED_WIDTH
        self._console = _Console(width=width, highlight=False, markup=False, emoji=False)

    def one(self, item: HasShape, table: Callable[[Any], RenderableType]) -> None:
        """A single thing, unwrapped."""
        if self.output == "table":
            self.print(table(item))
        else:
            self.json(item.to_dict())

    def many(self, name: str, items: Sequence[HasShape], table: Callable[[Any], RenderableType], **more: Any) -> None:
        """`{count, <name>, …}`; one item a line in jsonl."""
        if self.output == "table":
            self.print(table(items))
        elif self.output == "json":
            self.json({"count": len(items), name: [item.to_dict() for item in items], **more})
        else:
            for item in items:
                self.json(item.to_dict())

    def cut_short(self, name: str, items: Sequence[HasShape]) -> None:
        """What is known of `many` when it ends early: in JSON alone, whose reader gets one value however it ends."""
        if self.output == "json":
            self.json({"count": len(items), name: [item.to_dict() for item in items]})

    def event(self, event: WatchEvent) -> None:
        """One event of a stream, a line in every format; for people, only if it says something new."""
        if self.output == "table":
            words = None if event.job is None else self._news.of(event.job)
            if event.job is not None and words is not None:
                self.print(transition_text(event.job, words, datetime.now(UTC)))
        else:
            self._write(present().json(json.dumps(event.to_dict())))

    def log(self, chunk: LogChunk) -> None:
        """A piece of a log: its bytes as they are, but for a terminal, and for a CI that would obey them."""
        if self.output != "table":
            self._write(present().json(json.dumps(chunk.to_dict())))
            return
        guarded = bytes if self._guarded is None else self._guarded.take
        if sys.stdout.isatty():
            text = clean_log(chunk.data.decode("utf-8", errors="replace"))
            self._write(guarded(text.encode()).decode(), end="")
            return
        with writing():
            sys.stdout.buffer.write(guarded(chunk.data))
            sys.stdout.buffer.flush()

    def json(self, value: Any) -> None:
        """A value as JSON: indented, or in one line. ASCII only, so that no terminal obeys any of it."""
        self._write(present().json(json.dumps(value, indent=2 if self.output == "json" else None)))

    def print(self, table: RenderableType) -> None:
        """A table or a line."""
        with writing():
            self._console.print(table, soft_wrap=isinstance(table, Text), crop=False)
            sys.stdout.flush()
        if isinstance(table, Grid) and table.missed:
            tell(f"{', '.join(table.missed)} does not fit; a wider terminal or -o json shows it")

    def _write(self, line: str, end: str = "\n") -> None:
        with writing():
            sys.stdout.write(line + end)
            sys.stdout.flush()


def _is_file() -> bool:
    """Whether stdout is a file, which no CI reads as it is written."""
    try:
        return stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    except OSError:
        return False
