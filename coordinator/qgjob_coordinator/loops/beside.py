"""Orgs that a loop could not serve: served beside it until they can be, so that it waits for none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Set

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.tasks import end_tasks

PAUSE_SECONDS = 1.0
AT_ONCE = 8


class Beside:
    """`serve` is tried for each of them, again and again, some at once."""

    def __init__(self, serve: Callable[[str], Awaitable[object]]) -> None:
        self._serve = serve
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def orgs(self) -> Set[str]:
        """Those that are not served yet. A fault of ours in one of them is raised here."""
        for org_id in [org_id for org_id, task in self._tasks.items() if task.done()]:
            self._tasks.pop(org_id).result()
        return self._tasks.keys()

    def add(self, org_id: str) -> None:
        """The org could not be served."""
        if org_id not in self.orgs:
            self._tasks[org_id] = asyncio.create_task(self._until_served(org_id), name="org_beside")

    async def close(self) -> None:
        """Tries no more."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        await end_tasks(tasks)

    async def _until_served(self, org_id: str) -> None:
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                async with self._gate:
                    await self._serve(org_id)
            except StoreUnavailableError:
                continue
            return
