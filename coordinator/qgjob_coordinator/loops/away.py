"""Orgs that did not answer a round of the scheduler: looked at beside the rounds, so that no round waits for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Set

import structlog

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.policy.snapshot import GroupView
from qgjob_coordinator.store.snapshots import OrgSnapshot, SnapshotStore
from qgjob_coordinator.tasks import end_tasks

PAUSE_SECONDS = 0.5
AT_ONCE = 32

log = structlog.get_logger(__name__)


class OrgsAway:
    """Each is looked at until it answers, with `heads` of each queue; then `wake` is called.

    `groups`: of all of them, as they were seen last. Their builds are in use.
    """

    def __init__(self, snapshots: SnapshotStore, heads: int, wake: Callable[[], None]) -> None:
        self._snapshots = snapshots
        self._heads = heads
        self._wake = wake
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._looks: dict[str, asyncio.Task[OrgSnapshot]] = {}
        self.groups: dict[str, tuple[GroupView, ...]] = {}

    @property
    def orgs(self) -> Set[str]:
        """Those that no round is to ask."""
        return self._looks.keys()

    def add(self, org_id: str, groups: tuple[GroupView, ...], error: StoreUnavailableError) -> None:
        """The org did not answer."""
        log.warning("org_away", org_id=org_id, error=error.message)
        self.groups[org_id] = groups
        look = self._looks[org_id] = asyncio.create_task(self._until_it_answers(org_id), name="org_away")
        look.add_done_callback(lambda _: self._wake())

    def answered(self) -> Iterator[tuple[str, OrgSnapshot]]:
        """Those that answered since, with what they are; from now on rounds ask them. A fault of ours is raised."""
        for org_id in [org_id for org_id, look in self._looks.items() if look.done()]:
            del self.groups[org_id]
            yield org_id, self._looks.pop(org_id).result()

    async def close(self) -> None:
        """Looks no more."""
        looks = list(self._looks.values())
        self._looks.clear()
        await end_tasks(looks)

    async def _until_it_answers(self, org_id: str) -> OrgSnapshot:
        begun = time.monotonic()
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                async with self._gate:
                    seen = await self._snapshots.org(org_id, self._heads)
            except StoreUnavailableError:
                continue
            log.info("org_back", org_id=org_id, away_seconds=round(time.monotonic() - begun, 1))
            return seen
