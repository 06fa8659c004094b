"""Snapshots of many orgs, of which some may not answer: their slot of a Cluster moves, or its node hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.store.snapshots import OrgSnapshot, SnapshotStore
from qgjob_coordinator.tasks import together

PATIENCE_SECONDS = 1.0
"""So long those who ask wait for an org."""
AT_ONCE = 32
"""More would wait for a connection, and seem to be away."""


class OrgLooks:
    """Asks orgs at once, and waits for none that is slow."""

    def __init__(self, snapshots: SnapshotStore) -> None:
        self._snapshots = snapshots
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def ask(
        self, org_ids: Iterable[str], heads: int
    ) -> tuple[list[OrgSnapshot], dict[str, StoreUnavailableError]]:
        """Snapshots of those that answer in time, in their order, and why the others don't."""
        failed: dict[str, StoreUnavailableError] = {}

        async def one(org_id: str) -> OrgSnapshot | None:
            try:
                async with self._gate, asyncio.timeout(PATIENCE_SECONDS):
                    return await self._snapshots.org(org_id, heads)
            except TimeoutError:
                failed[org_id] = StoreUnavailableError(f"no answer came within {PATIENCE_SECONDS:g} s")
            except StoreUnavailableError as e:
                failed[org_id] = e
            return None

        answers = await together([one(org_id) for org_id in org_ids])
        return [seen for seen in answers if seen is not None], failed
