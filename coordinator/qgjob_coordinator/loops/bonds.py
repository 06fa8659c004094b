"""Gives up clients that don't show themselves, so that the runs that are bound to them are cancelled.

No deadline is stored: a bond that this observer has seen unchanged for its time on its own monotonic clock is ended by
compare-and-set. Where the observer could not look, a client could perhaps not show itself either: its time begins anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from qgjob_coordinator.store.runs import Bond
from qgjob_coordinator.store.store import Store

LONGEST_GAP = 0.5
"""Of a bond's time. A client shows itself each third of it, so with such a gap a sixth is left to it."""

SHORTEST_GAP_SECONDS = 2.0
"""Looks are a second apart: a gap that is no longer than this says nothing, however short the bond is."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Seen:
    """A bond as it was found, and since when it stands still (s)."""

    found: str
    since: float


class Bonds:
    """One of any number of observers. `clock`: seconds, monotonic."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._seen: dict[str, dict[tuple[str, str], _Seen]] = {}
        self._looked_at: dict[str, float] = {}

    def blind(self) -> None:
        """The store could not be read."""
        self._seen.clear()

    def forget(self, org_id: str) -> None:
        """The org has no bonds, or could not be read."""
        if self._seen.pop(org_id, None) is not None:
            del self._looked_at[org_id]

    async def look(self, org_id: str, *, idle: bool) -> bool:
        """One look at an org's bonds; whether runs were marked to be cancelled.

        `idle`: the org has nothing unfinished, so nothing is lost by a wrong guess. Raises StoreUnavailableError.
        """
        before = self._clock()
        bonds = await self._store.runs.bonds(org_id)
        after = self._clock()
        gap = 0.0 if idle else after - self._looked_at.get(org_id, after)
        known = self._seen.get(org_id, {})
        self._seen[org_id], self._looked_at[org_id] = {}, after
        marked = False
        for bond in bonds:
            key = bond.run_id, bond.client_id
            seen = known.get(key)
            if (
                seen is None
                or seen.found != bond.found
                or gap > max(LONGEST_GAP * bond.after_seconds, SHORTEST_GAP_SECONDS)
            ):
                seen = _Seen(bond.found, after)
            if before - seen.since >= bond.after_seconds:
                marked = await self._part(org_id, bond) or marked
            else:
                self._seen[org_id][key] = seen
        return marked

    async def _part(self, org_id: str, bond: Bond) -> bool:
        silent = bond.after_seconds
        reason = f"the client of run {bond.run_id} has gone: nothing was heard of it for {silent:g} s"
        marked = await self._store.runs.part(org_id, bond, reason)
        if marked:
            log.info("client_gone", org_id=org_id, run_id=bond.run_id, client_id=bond.client_id, silent_seconds=silent)
        return marked
