"""Finds leases of the sessions here that stand in none of their books: nobody runs them, and no reaper looks for them.

A claim that reaches the store late, after its attempt has ended, leaves one: no agent is told of it, and the session
lives on. Only a new session settles it, by what its agent shows.
"""

from __future__ import annotations

import asyncio

import structlog

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops.each_org import EachOrg
from qgjob_coordinator.service.agents.live import LiveSession
from qgjob_coordinator.service.agents.messages import Refused, RefusedReason
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.sight import Sight
from qgjob_coordinator.store.store import Store

LOOK_SECONDS = 30.0

log = structlog.get_logger(__name__)

Place = tuple[str, str]
"""Org and ULID of a job."""


class Unbooked:
    """Compares the store with the books of the sessions here, again and again.

    What is in one of them only may be on its way into the other. So it takes two looks, and a session that lasted.
    """

    def __init__(self, store: Store, sessions: Sessions, faults: OrgFaults) -> None:
        self._store = store
        self._sessions = sessions
        self._faults = faults
        self._suspects: dict[LiveSession, frozenset[Place]] = {}
        self._sight = Sight("unbooked_blind", log)

    async def run(self) -> None:
        """Looks for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except StoreUnavailableError as e:
                self._sight.lost(e)
            else:
                if self._sessions.here():  # else nothing was asked
                    self._sight.seen()

    async def look(self) -> None:
        """One look; ends sessions with a lease that two looks in a row missed.

        Raises StoreUnavailableError, at the end: what can't be reached keeps no other session from its look.
        """
        before, self._suspects = self._suspects, {}
        orgs = EachOrg(self._faults)
        for live in self._sessions.here():
            found = await self._unbooked(live, orgs)
            lasting = found & before.get(live, frozenset())
            if lasting:
                self._end(live, sorted(lasting))
            elif found:
                self._suspects[live] = found
        orgs.tell()

    async def _unbooked(self, live: LiveSession, orgs: EachOrg) -> frozenset[Place]:
        session = live.session
        leased: set[Place] = set()

        async def look(org_id: str) -> None:
            leased.update((org_id, ulid) for ulid in await self._store.reads.leased(org_id, session.agent_id))

        await orgs.serve("unbooked", session.orgs, look)
        known = (*session.leases.values(), *session.untold.values())
        booked = {(lease.org_id, lease.ulid) for lease in known}
        return frozenset(leased) - booked

    @staticmethod
    def _end(live: LiveSession, places: list[Place]) -> None:
        jobs = [f"{org_id}~{ulid}" for org_id, ulid in places]
        log.warning("lease_not_booked", agent_id=live.session.agent_id, job_ids=jobs)
        live.session.end(Refused(RefusedReason.STALE_EPOCH, "a lease of this session was never sent; connect again"))
