"""Pieces of logs on their way to the store: together while it is busy, and never in the way of anything else."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Collection
from typing import NamedTuple

import structlog

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.store.logs import LogStore

MOST_WAITING_BYTES = 4 * 1024 * 1024
"""Of one session; what has no room pushes out the oldest."""
ROUND_BYTES = 256 * 1024
ROUND_PIECES = 200
"""With ROUND_BYTES: bounds how long a script may hold the store."""
STORE_PAUSE_SECONDS = 0.2

log = structlog.get_logger(__name__)


class Piece(NamedTuple):
    """Bytes of an attempt's log, `offset` bytes from its start."""

    org_id: str
    ulid: str
    token: str
    offset: int
    data: bytes


class LogIntake:
    """The logs of one session."""

    def __init__(self, agent_id: str, store: LogStore, hub: Hub, most_bytes: int = MOST_WAITING_BYTES) -> None:
        self._agent_id = agent_id
        self._store = store
        self._hub = hub
        self._most_bytes = most_bytes
        self._waiting: deque[Piece] = deque()
        self._bytes = 0
        self._unwritten: Counter[str] = Counter()  # pieces by token, those of the round under way included
        self._dropped = False
        self._closed = False
        self._given_up = False
        self._round_over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether some piece waits."""
        return self._task is not None

    def put(self, piece: Piece) -> None:
        """Takes a piece; it is written with whatever else has come by the time the store is free."""
        self._waiting.append(piece)
        self._unwritten[piece.token] += 1
        self._bytes += len(piece.data)
        while self._bytes > self._most_bytes and len(self._waiting) > 1:
            self._drop_oldest()
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(self._run())

    async def settle(self, tokens: Collection[str]) -> bool:
        """Returns when no piece of these attempts waits: what comes after an attempt's end is not kept.

        False when the session is over and pieces were lost with it: the agent has them and the end still, and tells
        both in its next session.
        """
        while any(token in self._unwritten for token in tokens) and self._task is not None:
            await self._round_over.wait()
        return not self._given_up

    async def close(self) -> None:
        """Writes what waits, if the store is there; without it the pieces are lost here."""
        self._closed = True
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._round(self._next())
                self._wake()
        finally:
            self._task = None
            self._wake()

    def _wake(self) -> None:
        """Those that wait look again, each once."""
        self._round_over.set()
        self._round_over = asyncio.Event()

    def _next(self) -> dict[str, list[Piece]]:
        """The pieces of the next round by org: the oldest, as many as one round may write."""
        by_org: dict[str, list[Piece]] = defaultdict(list)
        size = count = 0
        while self._waiting and count < ROUND_PIECES and size < ROUND_BYTES:
            piece = self._waiting.popleft()
            self._bytes -= len(piece.data)
            by_org[piece.org_id].append(piece)
            size += len(piece.data)
            count += 1
        return by_org

    async def _round(self, by_org: dict[str, list[Piece]]) -> None:
        away = False
        for org_id, pieces in by_org.items():
            try:
                await self._store.append(org_id, [piece[1:] for piece in pieces])
                self._hub.changed(org_id)
            except StoreUnavailableError as e:
                away = True
                self._give_back(pieces, e)
            except Exception:
                log.exception("logs_failed", agent_id=self._agent_id, org_id=org_id, pieces=len(pieces))
                self._forget(pieces)
            else:
                self._forget(pieces)
        if away:
            await asyncio.sleep(STORE_PAUSE_SECONDS)

    def _give_back(self, pieces: list[Piece], error: StoreUnavailableError) -> None:
        """They are the next again. A session that is over does not wait for the store."""
        if self._closed:
            self._given_up = True
            log.warning("logs_dropped", agent_id=self._agent_id, why=error.message)
            self._forget(pieces)
            return
        self._waiting.extendleft(reversed(pieces))
        self._bytes += sum(len(piece.data) for piece in pieces)

    def _forget(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            self._unwritten[piece.token] -= 1
            if not self._unwritten[piece.token]:
                del self._unwritten[piece.token]

    def _drop_oldest(self) -> None:
        oldest = self._waiting.popleft()
        self._bytes -= len(oldest.data)
        self._forget([oldest])
        if not self._dropped:
            self._dropped = True
            why = f"more than {self._most_bytes} bytes of logs wait for the store"
            log.warning("logs_dropped", agent_id=self._agent_id, why=why)
