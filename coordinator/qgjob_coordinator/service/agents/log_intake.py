"""Pieces of logs that a session takes: of a bounded size, each org's alone, and never in the way of anything else."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import structlog

from qgjob_coordinator.service.agents.log_lane import LogLane, Piece
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.logs import LogStore

MOST_WAITING_BYTES = 4 * 1024 * 1024
"""Of one session; what has no room pushes out the oldest."""

log = structlog.get_logger(__name__)


class LogIntake:
    """The logs of one session."""

    def __init__(
        self,
        agent_id: str,
        store: LogStore,
        hub: Hub,
        most_bytes: int = MOST_WAITING_BYTES,
        *,
        faults: OrgFaults,
    ) -> None:
        self._agent_id = agent_id
        self._store = store
        self._hub = hub
        self._faults = faults
        self._most_bytes = most_bytes
        self._lanes: dict[str, LogLane] = {}
        self._dropped = False
        self._closed = False

    def busy(self, org_id: str) -> bool:
        """Whether some piece of the org waits."""
        lane = self._lanes.get(org_id)
        return lane is not None and lane.busy

    def put(self, piece: Piece) -> None:
        """Takes a piece; it is written with whatever else has come by the time the org's part of the store is free."""
        if self._closed:
            return
        lane = self._lanes.get(piece.org_id)
        if lane is None:
            self._lanes = {org_id: lane for org_id, lane in self._lanes.items() if lane.busy}
            lane = LogLane(self._agent_id, piece.org_id, self._store, self._hub, self._faults)
            self._lanes[piece.org_id] = lane
        lane.put(piece)
        self._make_room()

    async def settle(self, org_id: str, tokens: Collection[str]) -> bool:
        """Returns when no piece of these attempts waits: what comes after an attempt's end is not kept.

        False when the session is over and pieces were lost with it: the agent has them and the end still, and tells
        both in its next session.
        """
        lane = self._lanes.get(org_id)
        return lane is None or await lane.settle(tokens)

    async def close(self) -> None:
        """Writes what waits, if the store is there; without it the pieces are lost here."""
        self._closed = True
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))

    def _make_room(self) -> None:
        """The oldest pieces of the org that has most go, when all have more than may wait."""
        while sum(lane.bytes for lane in self._lanes.values()) > self._most_bytes:
            fullest = max(self._lanes.values(), key=lambda lane: lane.bytes)
            if fullest.pieces <= 1:
                return
            fullest.drop_oldest()
            if not self._dropped:
                self._dropped = True
                why = f"more than {self._most_bytes} bytes of logs wait for the store"
                log.warning("logs_dropped", agent_id=self._agent_id, why=why)
