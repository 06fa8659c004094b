"""Orgs that can't be served, as their part of the store is away or their data are damaged: tried beside all others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Set
from typing import Generic, TypeVar

import structlog

from qgjob_coordinator.errors import OrgDamagedError, StoreUnavailableError
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.tasks import end_tasks

PAUSE_SECONDS = 0.5
AT_ONCE = 8
"""Tries under way: each may hold a connection for as long as a call of the store may take."""

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Beside(Generic[T]):
    """`serve` is tried for each org again and again, some at once, until it answers; then `wake` is called.

    `what` names in the log what the orgs wait for, `part` is who serves them, for `faults`: an org whose data are
    damaged is tried at pauses that grow.
    """

    def __init__(
        self,
        what: str,
        serve: Callable[[str], Awaitable[T]],
        wake: Callable[[], None] = lambda: None,
        *,
        part: str,
        faults: OrgFaults,
    ) -> None:
        self._what = what
        self._serve = serve
        self._wake = wake
        self._part = part
        self._faults = faults
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[str, asyncio.Task[T]] = {}
        self._damaged: set[str] = set()

    @property
    def orgs(self) -> Set[str]:
        """Those that are not to be asked: they wait for an answer, or have one that `answered` has not given yet."""
        return self._tasks.keys()

    @property
    def unreached(self) -> bool:
        """Whether some of them wait for their part of the store, and not for their data to be mended."""
        return not self._tasks.keys() <= self._damaged

    def add(self, org_id: str, error: StoreUnavailableError | OrgDamagedError) -> None:
        """The org could not be served."""
        if org_id in self._tasks:
            return
        if not isinstance(error, OrgDamagedError):  # that is told already
            log.warning("org_away", org_id=org_id, what=self._what, error=error.message)
        task = self._tasks[org_id] = asyncio.create_task(self._until_served(org_id, error), name="org_beside")
        task.add_done_callback(lambda _: self._wake())

    def answered(self) -> list[tuple[str, T]]:
        """Those that were served since, with the answers; from now on they may be asked."""
        done = [org_id for org_id, task in self._tasks.items() if task.done()]
        self._damaged.difference_update(done)
        return [(org_id, self._tasks.pop(org_id).result()) for org_id in done]

    async def close(self) -> None:
        """Tries no more."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        await end_tasks(tasks)

    async def _until_served(self, org_id: str, error: StoreUnavailableError | OrgDamagedError) -> T:
        begun, told = time.monotonic(), isinstance(error, StoreUnavailableError)
        while True:
            await asyncio.sleep(self._pause(org_id, error))
            try:
                async with self._gate:
                    answer = await self._faults.guard(self._part, org_id, self._serve(org_id))
            except (StoreUnavailableError, OrgDamagedError) as e:
                error = e
            else:
                if told:
                    away = round(time.monotonic() - begun, 1)
                    log.info("org_back", org_id=org_id, what=self._what, away_seconds=away)
                return answer

    def _pause(self, org_id: str, error: StoreUnavailableError | OrgDamagedError) -> float:
        """How long (s) it is not tried again."""
        if isinstance(error, OrgDamagedError):
            self._damaged.add(org_id)
            return error.again_in_seconds
        self._damaged.discard(org_id)
        return PAUSE_SECONDS
