"""Reads a file of JSON lines that another process appends to. The standard library only: supervisors import this."""
# pathlib would cost each supervisor 5 ms of its start.
# ruff: noqa: PTH116

from __future__ import annotations

import json
import os
from typing import Any

from qgjob_agent.host.plain_file import is_withheld, opened

_PIECE_BYTES = 262_144
_MOST_BYTES = 16_777_216


class EventLines:
    """What was added since the last time, whole lines only. What is no JSON object counts in `strange`.

    `withheld` is why the last read may have missed some: the disk did not give it back.

    A test may write there what it likes, so there is an end: beyond 16 MB, or a line of 256 KB, nothing is read, and
    `over` says so.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._offset = 0
        self.over = False
        self.strange = 0
        self.withheld: OSError | None = None

    @property
    def size(self) -> int:
        """How many bytes were read."""
        return self._offset

    def grown(self) -> bool:
        """Whether there is something that was not read; costs one look at the file's size."""
        try:
            return not self.over and os.stat(self._path).st_size > self._offset
        except OSError:
            return False

    def read(self) -> list[dict[str, Any]]:
        """The new events, in order; none while there is no such file."""
        events: list[dict[str, Any]] = []
        while not self.over:
            try:
                with opened(self._path) as file:
                    file.seek(self._offset)
                    data = file.read(_PIECE_BYTES)
            except OSError as error:
                self.withheld = error if is_withheld(error) else None
                break
            self.withheld = None
            whole = data.rfind(b"\n") + 1
            self.over = (not whole and len(data) == _PIECE_BYTES) or self._offset + whole > _MOST_BYTES
            if not whole:
                break
            self._offset += whole
            events += self._parsed(data[:whole])
        return events

    def _parsed(self, data: bytes) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        for line in data.splitlines():
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                event = None
            if isinstance(event, dict):
                events.append(event)
            else:
                self.strange += 1
        return events
