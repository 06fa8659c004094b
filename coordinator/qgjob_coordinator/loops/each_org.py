"""Serves many orgs, of which some can't be reached (their slot of a Cluster moves, its node hangs) or are damaged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from qgjob_coordinator.errors import OrgDamagedError, StoreUnavailableError
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.tasks import together

ORGS_AT_ONCE = 8
NAMED = 5
"""So many orgs are named in a line of the log."""


class OrgsAwayError(StoreUnavailableError):
    """Some orgs could not be reached; all others were served, but for those whose data are damaged."""

    def __init__(self, message: str, orgs: frozenset[str]) -> None:
        super().__init__(message)
        self.orgs = orgs


class EachOrg:
    """Serves orgs, some at once, each whatever becomes of another; one that failed is not asked for anything more."""

    def __init__(self, faults: OrgFaults, at_once: int = ORGS_AT_ONCE) -> None:
        self._faults = faults
        self._gate = asyncio.Semaphore(at_once)
        self.failed: dict[str, StoreUnavailableError | OrgDamagedError] = {}

    async def serve(
        self, part: str, org_ids: Iterable[str], serve: Callable[[str], Awaitable[object]], *, last: bool = True
    ) -> None:
        """Returns when all were tried, but for those that rest, since the part found their data damaged lately.

        Not the `last`: the part does more for them at this look, and none counts as served before that.
        """

        async def one(org_id: str) -> None:
            async with self._gate:
                try:
                    await self._faults.guard(part, org_id, serve(org_id), last=last)
                except (StoreUnavailableError, OrgDamagedError) as e:
                    self.failed[org_id] = e

        wanted = sorted(set(org_ids) - self.failed.keys())
        resting = {org_id: error for org_id in wanted if (error := self._faults.resting(part, org_id)) is not None}
        self.failed |= resting
        await together([one(org_id) for org_id in wanted if org_id not in resting])

    def tell(self) -> None:
        """Raises OrgsAwayError, which names the orgs, when some can't be reached. Of damaged ones all is told."""
        away = {org_id: e for org_id, e in self.failed.items() if isinstance(e, StoreUnavailableError)}
        if away:
            orgs = sorted(away)
            more = f" and {len(orgs) - NAMED} more" if len(orgs) > NAMED else ""
            raise OrgsAwayError(f"{', '.join(orgs[:NAMED])}{more}: {away[orgs[0]].message}", frozenset(orgs))
