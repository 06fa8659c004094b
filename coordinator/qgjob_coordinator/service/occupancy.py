"""Tells the store what a session's devices do, a few times a second at most: readers of the fleet see it so."""

from __future__ import annotations

import asyncio

import structlog

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.session import Session
from qgjob_coordinator.store.fleet import Occupancy
from qgjob_coordinator.store.store import Store

PAUSE_SECONDS = 0.1

log = structlog.get_logger(__name__)


class Occupants:
    """Collects changes of one session's devices and writes them together."""

    def __init__(self, session: Session, store: Store) -> None:
        self._session = session
        self._store = store
        self._touched: set[str] = set()
        self._installed: dict[str, tuple[tuple[str, str], int]] = {}
        self._task: asyncio.Task[None] | None = None

    def touch(self, device_id: str) -> None:
        """The device's current job changed."""
        self._touched.add(device_id)
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def installed(self, device_id: str, what: tuple[str, str], done: int) -> None:
        """`done` installations were done; `what` is (org, app version) that lies there now."""
        before = self._installed.get(device_id, (what, 0))[1]
        self._installed[device_id] = (what, before + done)
        self.touch(device_id)

    async def _run(self) -> None:
        try:
            while self._touched or self._installed:
                touched, self._touched = self._touched, set()
                installed, self._installed = self._installed, {}
                rows = [self._row(d, installed.get(d)) for d in sorted(touched | set(installed))]
                try:
                    await self._store.fleet.occupy(self._session.agent_id, self._session.epoch, rows, wall_ms())
                except StoreUnavailableError as e:
                    log.debug("occupancy_not_written", agent_id=self._session.agent_id, error=e.message)
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            self._task = None

    def _row(self, device_id: str, installed: tuple[tuple[str, str], int] | None) -> Occupancy:
        slot = self._session.slots.get(device_id)
        first = next(iter(slot.leases.values()), None) if slot else None
        job_id = f"{first.org_id}~{first.ulid}" if first else None
        what, done = installed or (None, 0)
        return Occupancy(device_id, job_id, what, done)

    async def close(self) -> None:
        """Stops writing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
