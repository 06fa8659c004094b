"""Snapshots of many orgs, of which some may not answer: their slot of a Cluster moves, or its node hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from qgjob_coordinator.errors import OrgDamagedError, StoreUnavailableError
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.snapshots import OrgSnapshot, SnapshotStore
from qgjob_coordinator.tasks import together

PATIENCE_SECONDS = 1.0
"""So long those who ask wait for an org."""
AT_ONCE = 32
"""More would wait for a connection, and seem to be away."""


class OrgLooks:
    """Asks orgs at once, and waits for none that is slow.

    `part` is who asks, for `faults`. What stands in the queues is else read only where a plan looks at it; with `whole`
    all of it is at once, so that what is damaged there is known to be the org's.
    """

    def __init__(self, snapshots: SnapshotStore, part: str, faults: OrgFaults, *, whole: bool = False) -> None:
        self._snapshots = snapshots
        self._part = part
        self._faults = faults
        self._whole = whole
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def ask(
        self, org_ids: Iterable[str], heads: int
    ) -> tuple[list[OrgSnapshot], dict[str, StoreUnavailableError | OrgDamagedError]]:
        """Snapshots of those that answer in time, in their order, and why the others don't."""
        failed: dict[str, StoreUnavailableError | OrgDamagedError] = {}

        async def one(org_id: str) -> OrgSnapshot | None:
            try:
                async with self._gate, asyncio.timeout(PATIENCE_SECONDS):
                    return await self._faults.guard(self._part, org_id, self.look(org_id, heads))
            except TimeoutError:
                failed[org_id] = StoreUnavailableError(f"no answer came within {PATIENCE_SECONDS:g} s")
            except (StoreUnavailableError, OrgDamagedError) as e:
                failed[org_id] = e
            return None

        answers = await together([one(org_id) for org_id in org_ids])
        return [seen for seen in answers if seen is not None], failed

    async def look(self, org_id: str, heads: int) -> OrgSnapshot:
        """One org, however long it takes. Raises StoreUnavailableError, and whatever its data lead to."""
        seen = await self._snapshots.org(org_id, heads)
        if self._whole:
            for queue in (q for g in seen.groups for q in g.queues):
                tuple(queue.heads)
        return seen
