"""The logs of one org in one session, on their way to the store: together while it is busy, and in their order."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Collection
from typing import NamedTuple

import structlog

from qgjob_coordinator.errors import OrgDamagedError, StoreUnavailableError
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.logs import LogStore

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


class LogLane:
    """Pieces that wait and the writer that takes them. `bytes` is the size of what waits."""

    def __init__(self, agent_id: str, org_id: str, store: LogStore, hub: Hub, faults: OrgFaults) -> None:
        self._agent_id = agent_id
        self._org_id = org_id
        self._store = store
        self._hub = hub
        self._faults = faults
        self.bytes = 0
        self._waiting: deque[Piece] = deque()
        self._unwritten: Counter[str] = Counter()  # pieces by token, those of the round under way included
        self._closed = False
        self._given_up = False
        self._round_over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether some piece waits or is written."""
        return self._task is not None

    @property
    def pieces(self) -> int:
        """Pieces that wait."""
        return len(self._waiting)

    def put(self, piece: Piece) -> None:
        """Takes a piece; it is written with whatever else has come by the time the store is free."""
        self._waiting.append(piece)
        self._unwritten[piece.token] += 1
        self.bytes += len(piece.data)
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(self._run(), name="logs")

    def drop_oldest(self) -> None:
        """Loses the piece that has waited longest."""
        oldest = self._waiting.popleft()
        self.bytes -= len(oldest.data)
        self._forget([oldest])

    async def settle(self, tokens: Collection[str]) -> bool:
        """Returns when no piece of these attempts waits. False when pieces were lost with the session."""
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
                if not await self._round(self._next()):
                    await asyncio.sleep(STORE_PAUSE_SECONDS)
                self._wake()
        finally:
            self._task = None
            self._wake()

    def _wake(self) -> None:
        """Those that wait look again, each once."""
        self._round_over.set()
        self._round_over = asyncio.Event()

    def _next(self) -> list[Piece]:
        """The pieces of the next round: the oldest, as many as one round may write."""
        pieces: list[Piece] = []
        size = 0
        while self._waiting and len(pieces) < ROUND_PIECES and size < ROUND_BYTES:
            piece = self._waiting.popleft()
            pieces.append(piece)
            size += len(piece.data)
        self.bytes -= size
        return pieces

    async def _round(self, pieces: list[Piece]) -> bool:
        """Writes pieces; False when the store did not take them. Where the org's data are damaged they are lost."""
        written = self._store.append(self._org_id, [piece[1:] for piece in pieces])
        try:
            await self._faults.guard("logs", self._org_id, written)
            self._hub.changed(self._org_id)
        except StoreUnavailableError as e:
            self._give_back(pieces, e)
            return False
        except OrgDamagedError:
            pass  # told
        self._forget(pieces)
        return True

    def _give_back(self, pieces: list[Piece], error: StoreUnavailableError) -> None:
        """They are the next again. A session that is over does not wait for the store."""
        if self._closed:
            self._given_up = True
            log.warning("logs_dropped", agent_id=self._agent_id, org_id=self._org_id, why=error.message)
            self._forget(pieces)
            return
        self._waiting.extendleft(reversed(pieces))
        self.bytes += sum(len(piece.data) for piece in pieces)

    def _forget(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            self._unwritten[piece.token] -= 1
            if not self._unwritten[piece.token]:
                del self._unwritten[piece.token]
