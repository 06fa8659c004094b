"""Claims that were made, maybe, and that no agent is told of, since the data of their org are damaged: given back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from qgjob_coordinator.errors import OrgDamagedError, StoreUnavailableError
from qgjob_coordinator.service.beside import Beside
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.transitions import tell_settled
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.endings import Release, ReleaseCharge
from qgjob_coordinator.telemetry import Telemetry

PART = "undoing"


class Undoing:
    """A claim that failed in its middle, or whose answer can't be read, may stand in the store.

    Its session would be ended over it by `unbooked`, and its job wait for that, at each try. A token that was never
    claimed is released without effect.
    """

    def __init__(self, store: Store, telemetry: Telemetry, faults: OrgFaults) -> None:
        self._store = store
        self._telemetry = telemetry
        self._faults = faults
        self._owed: dict[str, dict[str, Release]] = defaultdict(dict)  # by org and token
        self._behind = Beside("claims that are given back", self._release, part=PART, faults=faults)

    def waits(self, org_id: str) -> bool:
        """Whether something of the org is still to be given back: nothing more is to be claimed there."""
        self._behind.answered()
        return org_id in self._behind.orgs

    async def give_back(self, org_id: str, jobs: Iterable[tuple[str, str]]) -> None:
        """Releases (ulid, token) pairs, now or as soon as the org can be served."""
        now = wall_ms()
        self._owed[org_id] |= {k: Release(ulid, k, now, ReleaseCharge.NOBODY, "never sent", 0.0) for ulid, k in jobs}
        try:
            await self._faults.guard(PART, org_id, self._release(org_id))
        except (StoreUnavailableError, OrgDamagedError) as e:
            self._behind.answered()  # one that was served just before is to be tried again
            self._behind.add(org_id, e)

    async def close(self) -> None:
        """Tries no more: `unbooked` finds what is left."""
        await self._behind.close()

    async def _release(self, org_id: str) -> None:
        """Gives back what the org is owed, also what comes meanwhile. Raises StoreUnavailableError."""
        while rows := list(self._owed[org_id].values()):
            _, settled = await self._store.leases.release(org_id, rows, wall_ms())
            for row in rows:
                self._owed[org_id].pop(row.token, None)  # another call may have given it back too
            tell_settled(self._telemetry, org_id, ((row, "never_sent") for row in settled if row))
        self._owed.pop(org_id, None)
