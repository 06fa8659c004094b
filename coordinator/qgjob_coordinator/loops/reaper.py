"""Gives up sessions that are not renewed, and releases what they held.

No deadline is stored: a session whose counter this observer has seen unchanged for the time on its own monotonic clock
is expired by compare-and-set on that counter. A failed or late look starts all times anew.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

import structlog

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops.sweeping import Sweeps
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.transitions import tell_settled
from qgjob_coordinator.sight import Sight
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.sessions import SessionRow
from qgjob_coordinator.telemetry import Telemetry

LOOKS_PER_TIMEOUT = 10

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Seen:
    """A counter, and since when it stands still for sure."""

    epoch: int
    counter: int
    since: float


class Reaper:
    """One of any number of observers."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        telemetry: Telemetry,
        session_timeout_seconds: float,
        give_up_seconds: float,
        faults: OrgFaults,
    ) -> None:
        self._store = store
        self._hub = hub
        self._telemetry = telemetry
        self._timeout = session_timeout_seconds
        self._give_up = give_up_seconds
        self._pause = session_timeout_seconds / LOOKS_PER_TIMEOUT
        self._seen: dict[str, _Seen] = {}
        self._looked_at = time.monotonic()
        self._life = store.epoch
        self._sight = Sight("reaper_blind", log)
        sight = Sight("reaper_blind", log, sweeping=True)
        self._sweeps = Sweeps(store, self._release, sight, faults)

    async def run(self) -> None:
        """Looks for ever."""
        while True:
            try:
                await self.look(time.monotonic())
            except StoreUnavailableError as e:
                self._seen.clear()
                self._sight.lost(e)
            else:
                self._sight.seen()
            await asyncio.sleep(self._pause)

    async def look(self, now: float) -> None:
        """One look at all sessions at the monotonic time `now` (s). Raises StoreUnavailableError."""
        if now - self._looked_at > self._timeout:
            self._seen.clear()  # this process was stopped, or blind: what it saw before proves nothing
        closed, rows = await self._store.sessions.watch()
        self._looked_at = time.monotonic()
        if self._store.epoch != self._life:
            self._seen.clear()  # the store may have gone back: a counter of before does not say that nothing came since
            self._life = self._store.epoch
        for row in rows:
            if await self._judge(row, now):
                closed.append((row.agent_id, row.epoch))
        # Beside the looks: an agent of many orgs keeps no other one from being noticed.
        heard = {row.agent_id: row.seen_at for row in rows}
        self._sweeps.offer((session, heard.get(session[0], 0)) for session in closed)

    async def settled(self) -> None:
        """Returns when no sweep goes on."""
        await self._sweeps.settled()

    async def _judge(self, row: SessionRow, now: float) -> bool:
        """Whether it closed the session."""
        if row.state == "closed":
            self._seen.pop(row.agent_id, None)
            return False
        seen = self._seen.get(row.agent_id)
        if seen is None or (seen.epoch, seen.counter) != (row.epoch, row.counter):
            self._seen[row.agent_id] = _Seen(row.epoch, row.counter, self._looked_at)  # it may be as new as the answer
            return False
        still = now - seen.since
        if still >= self._give_up:
            if await self._store.sessions.observe(row.agent_id, row.epoch, row.counter, "closed"):
                log.warning("session_given_up", agent_id=row.agent_id, epoch=row.epoch, silent_seconds=round(still, 1))
                return True
        elif (
            still >= self._timeout
            and row.state in ("open", "detached")
            and await self._store.sessions.observe(row.agent_id, row.epoch, row.counter, "timed_out")
        ):
            log.warning("session_timed_out", agent_id=row.agent_id, epoch=row.epoch, silent_seconds=round(still, 1))
        return False

    async def _release(self, org_id: str, agent_id: str, epoch: int) -> None:
        share = random.random()  # noqa: S311 - jitter
        released = await self._store.leases.sweep(org_id, agent_id, epoch, wall_ms(), share)
        if released:
            tell_settled(self._telemetry, org_id, ((row, "agent_lost") for row in released))
            log.warning("leases_released", agent_id=agent_id, epoch=epoch, org_id=org_id, count=len(released))
            self._hub.work(org_id)
            self._hub.changed(org_id)
