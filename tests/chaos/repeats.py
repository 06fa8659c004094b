"""Sends each script to the store twice, and passes on the first answer only: a call that arrives twice.

Works on one connection of RESP, version 2 or 3, from its first byte on.
"""

from __future__ import annotations

from collections import deque

_SCRIPTS = (b"EVALSHA", b"EVAL")
_LINES = b"+-:,#_("
_BLOBS = b"$!="
_LISTS = b"*~>"
_PUSH = ord(">")


def frame_end(data: bytes | bytearray, at: int) -> int:
    """Where the value that begins at `at` ends; -1 when it is not whole yet. Raises ValueError for what is no RESP."""
    line_end = data.find(b"\r\n", at)
    if line_end < 0:
        return -1
    kind, after = data[at], line_end + 2
    if kind in _LINES:
        return after
    size = int(data[at + 1 : line_end])
    if size < 0:
        return after
    if kind in _BLOBS:
        end = after + size + 2
        return end if end <= len(data) else -1
    if kind not in _LISTS and kind != ord("%"):
        raise ValueError(f"no value of RESP begins with {chr(kind)!r}")
    for _ in range(size * 2 if kind == ord("%") else size):
        after = frame_end(data, after)
        if after < 0:
            return -1
    return after


class RespRepeats:
    """One connection. See links.Repeats."""

    def __init__(self) -> None:
        self._up = bytearray()
        self._down = bytearray()
        self._sent = 0
        self._answered = 0
        self._second: deque[int] = deque()

    def up(self, data: bytes, *, twice: bool) -> bytes:
        """The whole commands so far, scripts two times if `twice`."""
        out = bytearray()
        for frame in _take(self._up, data):
            out += frame
            self._sent += 1
            if twice and _is_script(frame):
                out += frame
                self._sent += 1
                self._second.append(self._sent)
        return bytes(out)

    def down(self, data: bytes) -> bytes:
        """The whole answers so far, without those to the second times."""
        out = bytearray()
        for frame in _take(self._down, data):
            if frame[0] != _PUSH:
                self._answered += 1
                if self._second and self._second[0] == self._answered:
                    self._second.popleft()
                    continue
            out += frame
        return bytes(out)


def _take(buffer: bytearray, data: bytes) -> list[bytes]:
    """Adds to the buffer and takes out what is whole."""
    buffer += data
    found, at = [], 0
    while at < len(buffer) and (end := frame_end(buffer, at)) > 0:
        found.append(bytes(buffer[at:end]))
        at = end
    del buffer[:at]
    return found


def _is_script(frame: bytes) -> bool:
    return frame.split(b"\r\n", 3)[2].upper() in _SCRIPTS
