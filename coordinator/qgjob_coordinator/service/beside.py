"""Orgs whose part of the store can't be reached: tried beside the work of all others, which waits for none of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Set
from typing import Generic, TypeVar

import structlog

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.tasks import end_tasks

PAUSE_SECONDS = 0.5
AT_ONCE = 8
"""Tries under way: each may hold a connection for as long as a call of the store may take."""

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Beside(Generic[T]):
    """`serve` is tried for each org again and again, some at once, until it answers; then `wake` is called.

    `what` names in the log what the orgs wait for.
    """

    def __init__(
        self, what: str, serve: Callable[[str], Awaitable[T]], wake: Callable[[], None] = lambda: None
    ) -> None:
        self._what = what
        self._serve = serve
        self._wake = wake
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[str, asyncio.Task[T]] = {}

    @property
    def orgs(self) -> Set[str]:
        """Those that are not to be asked: they wait for an answer, or have one that `answered` has not given yet."""
        return self._tasks.keys()

    def add(self, org_id: str, error: StoreUnavailableError) -> None:
        """The org could not be served."""
        if org_id in self._tasks:
            return
        log.warning("org_away", org_id=org_id, what=self._what, error=error.message)
        task = self._tasks[org_id] = asyncio.create_task(self._until_served(org_id), name="org_beside")
        task.add_done_callback(lambda _: self._wake())

    def answered(self) -> list[tuple[str, T]]:
        """Those that were served since, with the answers; from now on they may be asked. A fault of ours is raised."""
        done = [org_id for org_id, task in self._tasks.items() if task.done()]
        return [(org_id, self._tasks.pop(org_id).result()) for org_id in done]

    async def close(self) -> None:
        """Tries no more."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        await end_tasks(tasks)

    async def _until_served(self, org_id: str) -> T:
        begun = time.monotonic()
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                async with self._gate:
                    answer = await self._serve(org_id)
            except StoreUnavailableError:
                continue
            log.info("org_back", org_id=org_id, what=self._what, away_seconds=round(time.monotonic() - begun, 1))
            return answer
