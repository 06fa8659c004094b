"""Follows the output of one execution and passes it on, in pieces, from where it was left."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from qgjob_agent.host.plain_file import opened

if TYPE_CHECKING:
    from pathlib import Path

_PIECE_BYTES = 65_536  # also what is kept of a log: a reader that is further behind skips ahead


class LogSink(Protocol):
    """Where the pieces go."""

    def log(self, job_id: str, token: str, offset: int, data: bytes) -> None:
        """A piece of an attempt's log, `offset` bytes from its start."""


class LogFollower:
    """Reads what was added since the last time; at most one piece each time, so that no test floods the stream."""

    def __init__(self, path: Path, job_id: str, token: str, sink: LogSink) -> None:
        self._path = path
        self._job_id = job_id
        self._token = token
        self._sink = sink
        self._offset = 0

    def read(self) -> None:
        """Passes on the latest piece, if there is something new."""
        try:
            with opened(self._path) as file:
                size = os.fstat(file.fileno()).st_size
                if size <= self._offset:
                    return
                start = max(self._offset, size - _PIECE_BYTES)
                data = os.pread(file.fileno(), size - start, start)
        except OSError:
            return  # nothing printed yet
        self._pass_on(start, data)

    def note(self, text: str) -> None:
        """Passes on a line of our own, after what was printed."""
        self._pass_on(self._offset, f"\n[{text}]\n".encode())

    def _pass_on(self, start: int, data: bytes) -> None:
        self._offset = start + len(data)
        self._sink.log(self._job_id, self._token, start, data)
