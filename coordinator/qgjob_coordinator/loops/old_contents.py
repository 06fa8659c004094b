"""Forgets builds and suites that nobody uses any more, and removes contents that nothing names."""

from __future__ import annotations

import asyncio

import structlog

from qgjob_coordinator.blobs.paths import blob_path
from qgjob_coordinator.blobs.store import BlobStore
from qgjob_coordinator.errors import BlobsUnavailableError, StoreUnavailableError
from qgjob_coordinator.loops.each_org import EachOrg
from qgjob_coordinator.service.clock import held_ms, wall_ms
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.sight import Sight
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.contents import Content

PAUSE_SECONDS = 600.0
UNNAMED_MS = 24 * 3600 * 1000
"""So long a content without a name stays: an agent may still be about to fetch it."""

REMOVER_MS = 300 * 1000
"""Longer than a call to the blob store may take: who has not ended by then will delete nothing any more."""

log = structlog.get_logger(__name__)


class OldContents:
    """Looks at what every org keeps. A build or suite that was not used for `keep_ms` is forgotten; None: none is."""

    def __init__(self, store: Store, blobs: BlobStore, keep_ms: int | None, faults: OrgFaults) -> None:
        self._store = store
        self._blobs = blobs
        self._keep_ms = keep_ms
        self._faults = faults
        self._sight = Sight("old_contents_blind", log)

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

    async def look(self, now: int) -> tuple[int, int]:
        """Does what is due at `now` (ms); how many builds and suites were forgotten, and how many contents removed.

        Raises BlobsUnavailableError, StoreUnavailableError (OrgsAwayError, when all other orgs were served).
        """
        unfinished = await self._blobs.tidy(now - UNNAMED_MS)
        if unfinished:
            log.info("unfinished_blobs_removed", count=unfinished)
        orgs = EachOrg(self._faults, at_once=1)
        forgotten = removed = 0

        async def tidy(org_id: str) -> None:
            nonlocal forgotten, removed
            old = await self._forget(org_id, now)
            gone = await self._remove(org_id, now)
            forgotten, removed = forgotten + old, removed + gone
            if old or gone:
                log.info("contents_retired", org_id=org_id, names=old, contents=gone)

        await orgs.serve("old_contents", await self._store.all_orgs(), tidy)
        orgs.tell()
        return forgotten, removed

    async def _forget(self, org_id: str, now: int) -> int:
        if self._keep_ms is None:
            return 0
        before = now - self._keep_ms
        builds = [b for b in await self._store.builds.all(org_id) if b.used_at < before]
        suites = [s for s in await self._store.suites.all(org_id) if s.used_at < before]
        forgotten = [await self._store.builds.forget(b, now) for b in builds]
        forgotten += [await self._store.suites.forget(s, now) for s in suites]
        return sum(forgotten)

    async def _remove(self, org_id: str, now: int) -> int:
        """In this order: nobody can name it any more, its bytes are deleted, it is forgotten."""
        gone = 0
        for content in await self._store.builds.contents(org_id):
            if not _due(content, now):
                continue
            mine = await self._store.builds.leave(org_id, content, now)
            if mine is not None:
                await self._blobs.delete([blob_path(org_id, content.digest)])
                await self._store.builds.left(org_id, mine)
                gone += 1
        return gone


def _due(content: Content, now: int) -> bool:
    """Whether its bytes are to be deleted: it has had no name for long, or whoever began to is gone."""
    if content.since is None:
        return content.leaving_at is None or content.leaving_at < now - REMOVER_MS
    return content.names == 0 and content.since < now - UNNAMED_MS
