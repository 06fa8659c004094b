"""Where a supervisor keeps what its command prints. The standard library only."""

from __future__ import annotations

import contextlib
import os

_TAIL_BYTES = 65_536


class OutputFile:
    """The output up to a limit. Of what comes after it only the end is kept, and added when the execution is over.

    The file's time of change says when something was printed, also after the limit.
    """

    def __init__(self, path: str, limit: int) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._room = limit
        self._left_out = 0
        self._tail = b""

    def write(self, data: bytes) -> None:
        """Takes a piece. A disk that refuses counts as the limit, also of a part: the test must not hang on its log.

        What comes after a gap would stand in front of it, so there is no second try.
        """
        if self._room > 0:
            part = data[: self._room]
            written = 0
            with contextlib.suppress(OSError):
                written = os.write(self._fd, part)
            self._room = self._room - written if written == len(part) else 0
            data = data[written:]
        if data:
            self._left_out += len(data)
            self._tail = (self._tail + data)[-_TAIL_BYTES:]
            with contextlib.suppress(OSError):
                os.utime(self._fd)

    def close(self) -> int:
        """Adds the end of what was left out. Gives how many bytes are missing in the end, the disk having refused."""
        note = f"\n[{self._left_out - len(self._tail)} bytes of output left out]\n".encode() if self._left_out else b""
        written = 0
        with contextlib.suppress(OSError):
            written = os.write(self._fd, note + self._tail)
        os.close(self._fd)
        return self._left_out if written < len(note) else len(note) + len(self._tail) - written
