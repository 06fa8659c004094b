"""Finds leases of sessions that the fleet does not know: it is an older state, and no reaper would look for them."""

from __future__ import annotations

import structlog

from qgjob_coordinator.loops.each_org import EachOrg
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.store.store import Store

YOUNG_MS = 600_000
"""So long after a store's new life a session that its older state does not know may still take a lease, by far."""

log = structlog.get_logger(__name__)


class Overtaken:
    """Looks through all orgs once in each life of the store, and again and again while that life is young.

    A look takes some of the agents that ever claimed in an org, and the next one goes on with others.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._life: int | None = None  # epoch of the store's life in which it looked last
        self._cursors: dict[str, str] = {}  # orgs that are not looked through, and where to go on

    async def look(self, orgs: EachOrg) -> None:
        """One look. A session that is found is watched by the reapers from now on.

        An org that can't be reached is looked through later. Raises StoreUnavailableError when the fleet can't be.
        """
        life = self._store.epoch
        if life != self._life or wall_ms() - life < YOUNG_MS:
            begun = self._cursors if life == self._life else {}
            self._cursors = {org_id: begun.get(org_id, "0") for org_id in await self._store.all_orgs()}
            self._life = life
        if not self._cursors:
            return
        _, rows = await self._store.sessions.watch()
        known = {row.agent_id: row.epoch for row in rows}
        await orgs.serve("overtaken", self._cursors, lambda org_id: self._org(org_id, known))

    async def _org(self, org_id: str, known: dict[str, int]) -> None:
        cursor, holders = await self._store.leases.holders(org_id, self._cursors[org_id])
        for agent_id, epoch in holders.items():
            # Sessions that were opened since are known to the script.
            if epoch > known.get(agent_id, 0) and await self._store.sessions.overtaken(agent_id, epoch):
                log.warning("session_found", agent_id=agent_id, epoch=epoch, org_id=org_id)
        if cursor == "0":
            del self._cursors[org_id]
        else:
            self._cursors[org_id] = cursor
