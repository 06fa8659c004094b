"""The orgs that a loop is told to look at, and the pace of its looks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.sight import Sight

LOOK_SECONDS = 1.0
"""Between two looks, at least."""
BUSY_SHARE = 0.02
"""Of the process's time, the part that each such loop may take: a look costs more the larger the fleet is."""


class DueOrgs:
    """Looks at orgs when some are due: at all of them in one look, so that others cost nothing."""

    def __init__(self, sight: Sight) -> None:
        """`sight` tells of looks that did not reach all of the store."""
        self._sight = sight
        self._due: set[str] = set()
        self._wake = asyncio.Event()

    def add(self, org_id: str) -> None:
        """The org is due."""
        self._due.add(org_id)
        self._wake.set()

    def take(self, more: Iterable[str] = ()) -> set[str]:
        """Those that are due, and `more`. What becomes due from now on is for the next look."""
        self._wake.clear()
        due, self._due = self._due | set(more), set()
        return due

    async def run(self, look: Callable[[], Awaitable[object]]) -> None:
        """Looks for ever, whatever can't be reached: `look` takes what is due, and raises StoreUnavailableError."""
        while True:
            await self._wake.wait()
            begun = time.thread_time()
            try:
                await look()
            except StoreUnavailableError as e:
                self._sight.lost(e)
            else:
                self._sight.seen()
            await asyncio.sleep(max(LOOK_SECONDS, (time.thread_time() - begun) / BUSY_SHARE))
