"""The ends of logs until a coordinator has them: of each attempt the last bytes, of all together a fixed size.

What was sent is kept as well, until a heartbeat that followed it is confirmed, and is sent again in a new session: a
stream may break with pieces under way. A coordinator drops what it has already.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

_ATTEMPT_BYTES = 65_536
_ALL_BYTES = 4 * 1024 * 1024
_LEAST_BYTES = 1_024


class Piece(NamedTuple):
    """A piece of an attempt's log, `offset` bytes from its start."""

    job_id: str
    token: str
    offset: int
    data: bytes


class _Tail:
    """The end of one log: `data` begins at offset `start`; what is before offset `sent` was sent in this session."""

    __slots__ = ("data", "job_id", "sent", "start")

    def __init__(self, job_id: str, start: int) -> None:
        self.job_id = job_id
        self.start = self.sent = start
        self.data = b""

    @property
    def end(self) -> int:
        return self.start + len(self.data)

    def cut(self, offset: int) -> None:
        """Forgets what is before the offset."""
        if offset > self.start:
            self.data = self.data[offset - self.start :]
            self.start = offset
            self.sent = max(self.sent, offset)


class LogBuffer:
    """Unsent data leave attempt by attempt, the one that waits longest first.

    Where there is no room the oldest go: what was sent already, then what is before the last KB of each log. The end
    of a log is what tells why a test failed, and by its offset readers are shown how much is missing before it.
    """

    def __init__(self, attempt_bytes: int = _ATTEMPT_BYTES, all_bytes: int = _ALL_BYTES) -> None:
        self._attempt_bytes = attempt_bytes
        self._all_bytes = all_bytes
        self._tails: dict[str, _Tail] = {}
        self._unsent: dict[str, None] = {}  # tokens, in order
        self._marks: deque[tuple[int, dict[str, int]]] = deque()  # heartbeat -> up to where logs were sent before it
        self._size = 0

    def add(self, piece: Piece) -> None:
        """Takes a piece. One that does not go on where its log ends takes the place of what was kept of it."""
        tail = self._tails.get(piece.token)
        if tail is None or tail.end != piece.offset:
            self._drop(piece.token)
            tail = self._tails[piece.token] = _Tail(piece.job_id, piece.offset)
        tail.data += piece.data
        self._size += len(piece.data)
        self._cut(piece.token, tail.end - self._attempt_bytes)
        self._unsent[piece.token] = None
        if self._size > self._all_bytes:
            self._make_room()

    def take(self) -> Piece | None:
        """What is unsent of the attempt that waits longest; it counts as sent. None when there is nothing."""
        return self.take_of(next(iter(self._unsent))) if self._unsent else None

    def take_of(self, token: str) -> Piece | None:
        """What is unsent of this attempt; it counts as sent. None when there is nothing."""
        if token not in self._unsent:
            return None
        del self._unsent[token]
        tail = self._tails[token]
        piece = Piece(tail.job_id, token, tail.sent, tail.data[tail.sent - tail.start :])
        tail.sent = tail.end
        return piece

    def __bool__(self) -> bool:
        """Whether anything is unsent."""
        return bool(self._unsent)

    # ---- what the coordinator has ----

    def mark(self, seq: int) -> None:
        """Heartbeat `seq` is sent: who confirms it has heard all that was sent before it."""
        self._marks.append((seq, {token: tail.sent for token, tail in self._tails.items() if tail.sent > tail.start}))

    def confirm(self, seq: int) -> None:
        """Heartbeat `seq` was confirmed. What was sent before the one that preceded it is forgotten.

        One heartbeat more than was heard, because a coordinator may die with the latest pieces still unwritten.
        """
        while self._marks and self._marks[0][0] < seq:
            for token, sent in self._marks.popleft()[1].items():
                if token in self._tails:
                    self._cut(token, sent)

    def rewind(self) -> None:
        """The session is over: whatever is kept is unsent."""
        self._marks.clear()
        for token, tail in self._tails.items():
            tail.sent = tail.start
            self._unsent[token] = None

    # ---- room ----

    def _make_room(self) -> None:
        for token, tail in list(self._tails.items()):
            self._cut(token, tail.sent)
            if self._size <= self._all_bytes:
                return
        for token, tail in self._tails.items():
            self._cut(token, tail.end - _LEAST_BYTES)
            if self._size <= self._all_bytes:
                return

    def _cut(self, token: str, offset: int) -> None:
        """Forgets what is before the offset, and a log of which nothing is left."""
        tail = self._tails[token]
        before = len(tail.data)
        tail.cut(offset)
        self._size -= before - len(tail.data)
        if not tail.data:
            del self._tails[token]

    def _drop(self, token: str) -> None:
        tail = self._tails.pop(token, None)
        if tail is not None:
            self._size -= len(tail.data)
