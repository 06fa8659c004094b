"""Removes what is older than it has to be kept, with every index entry of it."""

from __future__ import annotations

import asyncio

import structlog

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops.each_org import EachOrg
from qgjob_coordinator.model.enums import FINAL
from qgjob_coordinator.service.clock import held_ms, wall_ms
from qgjob_coordinator.sight import Sight
from qgjob_coordinator.store.store import Store

PAUSE_SECONDS = 60.0
BATCH = 200

log = structlog.get_logger(__name__)


class Retention:
    """Looks at the oldest finished jobs of every org, a batch at a time."""

    def __init__(self, store: Store, retention_ms: int) -> None:
        self._store = store
        self._keep_ms = retention_ms
        self._sight = Sight("retention_blind", log)

    async def run(self) -> None:
        """Looks for ever."""
        while True:
            try:
                await self.look(wall_ms() - held_ms())
            except StoreUnavailableError as e:
                self._sight.lost(e)
            else:
                self._sight.seen()
            await asyncio.sleep(PAUSE_SECONDS)

    async def look(self, now: int) -> int:
        """Removes what is due at `now` (ms), whatever orgs can't be reached; how many jobs.

        Raises StoreUnavailableError: OrgsAwayError, when all others were served.
        """
        orgs = EachOrg(at_once=1)  # it has time, and calls that matter more go between
        removed = 0

        async def retire(org_id: str) -> None:
            nonlocal removed
            removed += await self._retire(org_id, now)

        await orgs.serve(await self._store.all_orgs(), retire)
        orgs.tell()
        return removed

    async def _retire(self, org_id: str, now: int) -> int:
        gone = 0
        for status in sorted(FINAL):
            skip = 0
            while True:
                looked, dropped = await self._store.jobs.retire(org_id, status, now - self._keep_ms, skip, BATCH)
                gone += dropped
                skip += looked - dropped
                if looked < BATCH:
                    break
        if gone:
            log.info("jobs_retired", org_id=org_id, count=gone)
        return gone
