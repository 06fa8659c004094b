"""Finds leases of sessions that the fleet does not know: it is an older state, and no reaper would look for them."""

from __future__ import annotations

import asyncio

import structlog

from qgjob_coordinator.store.store import Store

ORGS_AT_ONCE = 8

log = structlog.get_logger(__name__)


class Overtaken:
    """Looks at all orgs, in each at some of the agents that ever claimed there, and goes on with the next ones."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cursors: dict[str, str] = {}

    async def look(self) -> None:
        """One look. A session that is found is watched by the reapers from now on. Raises StoreUnavailableError."""
        orgs = await self._store.all_orgs()
        _, rows = await self._store.sessions.watch()
        known = {row.agent_id: row.epoch for row in rows}
        self._cursors = {org_id: at for org_id, at in self._cursors.items() if org_id in orgs}
        gate = asyncio.Semaphore(ORGS_AT_ONCE)

        async def one(org_id: str) -> None:
            async with gate:
                await self._org(org_id, known)

        for result in await asyncio.gather(*map(one, sorted(orgs)), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _org(self, org_id: str, known: dict[str, int]) -> None:
        cursor, holders = await self._store.leases.holders(org_id, self._cursors.get(org_id, "0"))
        for agent_id, epoch in holders.items():
            # Sessions that were opened since are known to the script.
            if epoch > known.get(agent_id, 0) and await self._store.sessions.overtaken(agent_id, epoch):
                log.warning("session_found", agent_id=agent_id, epoch=epoch, org_id=org_id)
        if cursor == "0":
            self._cursors.pop(org_id, None)
        else:
            self._cursors[org_id] = cursor
