"""A look at the blob store: whether it answers, and whether it has what the store names."""

from __future__ import annotations

import asyncio

from qgjob_coordinator.blobs.paths import blob_path, of_org
from qgjob_coordinator.blobs.store import BlobStore
from qgjob_coordinator.errors import BlobsUnavailableError, OrgDamagedError, StoreUnavailableError
from qgjob_coordinator.policy.diagnosis.facts import BlobFacts, MissingBuild
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.shared import Shared
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.contents import NamedBuild

ANSWER_SECONDS = 2.0
LISTED_SECONDS = 2.0
"""What is not looked at by then is told as such. Both, with the fleet that is read then, are less than clients wait."""
WELL_SECONDS = 60.0
"""So long an answer is good that found nothing wrong: whoever watches a health page pays for no list each time."""
ILL_SECONDS = 1.0
_NOBODY = "doctor"
"""A path at which nothing is."""


class KeptBuilds:
    """Looks at all orgs at once, for everybody who asks."""

    def __init__(self, store: Store, blobs: BlobStore, faults: OrgFaults) -> None:
        self._store = store
        self._faults = faults
        self._blobs = blobs
        self._run = Shared(self._look, "kept-builds")
        self._good_for = ILL_SECONDS

    async def look(self) -> BlobFacts:
        """What was found, up to a minute ago."""
        return await self._run.get(self._good_for)

    async def _look(self) -> BlobFacts:
        facts = BlobFacts(await self._away())
        if facts.away is None:
            facts = await self._builds()
        self._good_for = WELL_SECONDS if facts.away is None and facts.whole and not facts.missing else ILL_SECONDS
        return facts

    async def _away(self) -> str | None:
        """Why it can't be used; None where it answers."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._blobs.size(_NOBODY)
        except TimeoutError:
            return f"no answer within {ANSWER_SECONDS:g} s"
        except BlobsUnavailableError as e:
            return e.message.partition(";")[0]
        return None

    async def _builds(self) -> BlobFacts:
        missing: list[MissingBuild] = []
        seen, whole = 0, True
        try:
            async with asyncio.timeout(LISTED_SECONDS):
                for org_id in sorted(await self._store.all_orgs()):
                    try:
                        builds, gone = await self._faults.guard("diagnosis", org_id, self._of_org(org_id))
                    except (StoreUnavailableError, OrgDamagedError):  # that is told
                        whole = False
                        continue
                    seen += builds
                    missing += gone
        except (TimeoutError, StoreUnavailableError, BlobsUnavailableError):
            whole = False
        return BlobFacts(None, seen, missing, whole)

    async def _of_org(self, org_id: str) -> tuple[int, list[MissingBuild]]:
        """How many builds an org has, and those without bytes."""
        named = await self._store.builds.all(org_id)
        if not named:
            return 0, []
        kept = {blob.path.rpartition("/")[2]: blob.size_bytes async for blob in self._blobs.list(of_org(org_id))}
        lost = [each for each in named if kept.get(each.build.digest) != each.build.size_bytes]
        return len(named), await self._still(org_id, lost)

    async def _still(self, org_id: str, lost: list[NamedBuild]) -> list[MissingBuild]:
        """Those of them that are so at a second look: builds come and go while others are listed."""
        if not lost:
            return []
        named = {each.build for each in await self._store.builds.all(org_id)}
        gone = []
        for each in lost:
            b = each.build
            if b in named and await self._blobs.size(blob_path(org_id, b.digest)) != b.size_bytes:
                gone.append(MissingBuild(org_id, b.app_version_id, b.slot))
        return gone
