"""Removes the evidence of attempts that is older than anybody wants to keep it."""

from __future__ import annotations

import asyncio

import structlog

from qgjob_coordinator.blobs.store import BlobStore
from qgjob_coordinator.errors import BlobsUnavailableError, StoreUnavailableError
from qgjob_coordinator.loops.each_org import EachOrg
from qgjob_coordinator.service.calls.artifact_offers import folder_of
from qgjob_coordinator.service.clock import held_ms, wall_ms
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.sight import Sight
from qgjob_coordinator.store.store import Store

PAUSE_SECONDS = 600.0
AT_ONCE = 200
LATE_MS = 3600 * 1000
"""So long after its removal began somebody may still be about to keep a file of it: then it is removed once more."""

log = structlog.get_logger(__name__)


class OldArtifacts:
    """Looks at the evidence of every org. What nothing was added to for `keep_ms` is removed; None: nothing is."""

    def __init__(self, store: Store, blobs: BlobStore, keep_ms: int | None, faults: OrgFaults) -> None:
        self._store = store
        self._blobs = blobs
        self._keep_ms = keep_ms
        self._faults = faults
        self._sight = Sight("old_artifacts_blind", log)

    async def run(self) -> None:
        """Looks for ever."""
        while True:
            try:
                await self.look(wall_ms() - held_ms())
            except (StoreUnavailableError, BlobsUnavailableError) as e:
                self._sight.lost(e)
            else:
                self._sight.seen()
            await asyncio.sleep(PAUSE_SECONDS)

    async def look(self, now: int) -> int:
        """Does what is due at `now` (ms); of how many jobs the evidence began to be removed.

        Raises BlobsUnavailableError, StoreUnavailableError (OrgsAwayError, when all other orgs were served).
        """
        orgs = EachOrg(self._faults, at_once=1)
        begun = 0

        async def tidy(org_id: str) -> None:
            nonlocal begun
            count = await self._leave(org_id, now)
            await self._remove(org_id, now)
            begun += count
            if count:
                log.info("artifacts_removed", org_id=org_id, jobs=count)

        await orgs.serve("old_artifacts", await self._store.all_orgs(), tidy)
        orgs.tell()
        return begun

    async def _leave(self, org_id: str, now: int) -> int:
        """From then on nobody adds to it."""
        count = 0
        while self._keep_ms is not None:
            old = await self._store.artifacts.old(org_id, now - self._keep_ms, AT_ONCE)
            count += sum([await self._store.artifacts.leave(org_id, ulid, at, now) for ulid, at in old])
            if len(old) < AT_ONCE:
                break
        return count

    async def _remove(self, org_id: str, now: int) -> None:
        """Deletes the bytes at once, and again when nobody can be about to keep any: then the rest goes too."""
        leaving = await self._store.artifacts.leaving(org_id)
        done = [ulid for ulid, since in leaving if since < now - LATE_MS]
        for ulid in [*done, *(ulid for ulid, since in leaving if since == now)]:
            paths = [blob.path async for blob in self._blobs.list(folder_of(org_id, ulid))]
            await self._blobs.delete(paths)
        for at in range(0, len(done), AT_ONCE):
            await self._store.artifacts.left(org_id, done[at : at + AT_ONCE])
