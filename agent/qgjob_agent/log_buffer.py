"""Pieces of logs that wait for a session: of each attempt the last ones, of all together no more than a fixed size."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

_ATTEMPT_BYTES = 65_536
_ALL_BYTES = 4 * 1024 * 1024


class Piece(NamedTuple):
    """A piece of an attempt's log, `offset` bytes from its start."""

    job_id: str
    token: str
    offset: int
    data: bytes


class LogBuffer:
    """First in, first out. What has no room pushes out what is oldest, of its own attempt first."""

    def __init__(self, attempt_bytes: int = _ATTEMPT_BYTES, all_bytes: int = _ALL_BYTES) -> None:
        self._attempt_bytes = attempt_bytes
        self._all_bytes = all_bytes
        self._pieces: deque[Piece] = deque()
        self._sizes: dict[str, int] = {}
        self._size = 0

    def add(self, piece: Piece) -> None:
        """Takes a piece."""
        self._pieces.append(piece)
        self._count(piece, 1)
        while self._sizes.get(piece.token, 0) > self._attempt_bytes:
            oldest = next(waiting for waiting in self._pieces if waiting.token == piece.token)
            if oldest is piece:
                break  # a lone piece is no larger than what is kept of a log
            self._pieces.remove(oldest)
            self._count(oldest, -1)
        while self._size > self._all_bytes and len(self._pieces) > 1:
            self.take()

    def take(self) -> Piece:
        """The oldest piece. Raises IndexError when there is none."""
        piece = self._pieces.popleft()
        self._count(piece, -1)
        return piece

    def _count(self, piece: Piece, sign: int) -> None:
        self._size += sign * len(piece.data)
        left = self._sizes.get(piece.token, 0) + sign * len(piece.data)
        if left:
            self._sizes[piece.token] = left
        else:
            self._sizes.pop(piece.token, None)

    def __bool__(self) -> bool:
        return bool(self._pieces)
