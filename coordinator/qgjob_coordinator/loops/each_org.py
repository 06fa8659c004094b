"""Serves many orgs, of which some can't be reached: their slot of a Cluster moves, or the node that has it hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.tasks import together

ORGS_AT_ONCE = 8
NAMED = 5
"""So many orgs are named in a line of the log."""


class OrgsAwayError(StoreUnavailableError):
    """Some orgs could not be served; all others were."""

    def __init__(self, message: str, orgs: frozenset[str]) -> None:
        super().__init__(message)
        self.orgs = orgs


class EachOrg:
    """Serves orgs, some at once, each whatever becomes of another; one that failed is not asked for anything more."""

    def __init__(self, at_once: int = ORGS_AT_ONCE) -> None:
        self._gate = asyncio.Semaphore(at_once)
        self.failed: dict[str, StoreUnavailableError] = {}

    async def serve(self, org_ids: Iterable[str], serve: Callable[[str], Awaitable[object]]) -> None:
        """Returns when all were tried. A fault of ours is raised, when the others are over."""

        async def one(org_id: str) -> None:
            async with self._gate:
                try:
                    await serve(org_id)
                except StoreUnavailableError as e:
                    self.failed[org_id] = e

        await together([one(org_id) for org_id in sorted(set(org_ids) - self.failed.keys())])

    def tell(self) -> None:
        """Raises OrgsAwayError, which names the orgs, when some could not be served."""
        if self.failed:
            orgs = sorted(self.failed)
            more = f" and {len(orgs) - NAMED} more" if len(orgs) > NAMED else ""
            raise OrgsAwayError(f"{', '.join(orgs[:NAMED])}{more}: {self.failed[orgs[0]].message}", frozenset(orgs))
