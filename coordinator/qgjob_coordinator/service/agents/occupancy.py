"""Tells the store what a session's devices do, a few times a second at most: readers of the fleet see it so."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import structlog

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.service.agents.session import Session
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.store.fleet import Occupancy
from qgjob_coordinator.store.store import Store

PAUSE_SECONDS = 0.1

log = structlog.get_logger(__name__)


class Occupants:
    """Collects changes of one session's devices and writes them together; what the store refuses is written later."""

    def __init__(self, session: Session, store: Store) -> None:
        self._session = session
        self._store = store
        self._touched: set[str] = set()
        # By device: what lies there, installations by org, ms of the last one, when that was done.
        self._installed: dict[str, tuple[tuple[str, str], Counter[str], int, int]] = {}
        self._ran: tuple[str, int] | None = None  # the last test that ran: on which device, ms
        # What was sent and not confirmed. By its time the store knows it again and counts installs once.
        self._sent: list[Occupancy] | None = None
        self._sent_at = 0
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Nothing is left to write."""
        return self._task is None

    def touch(self, device_id: str) -> None:
        """The device's current job changed."""
        self._touched.add(device_id)
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def installed(self, device_id: str, what: tuple[str, str], ms: int) -> None:
        """An installation was done in `ms`; `what` is (org, app version) that lies there now."""
        done = self._installed[device_id][1] if device_id in self._installed else Counter()
        done[what[0]] += 1
        self._installed[device_id] = (what, done, ms, wall_ms())
        self.touch(device_id)

    def ran(self, device_id: str, ms: int) -> None:
        """A test ran on the device in `ms`. One of those between two writes is enough for what the fleet learns."""
        self._ran = (device_id, ms)
        self.touch(device_id)

    async def _run(self) -> None:
        try:
            while self._due():
                last = self._closing.is_set()
                if not await self._write() and last:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PAUSE_SECONDS):
                        await self._closing.wait()
        except Exception:
            self._sent = None  # it would fail again
            log.exception("occupancy_failed", agent_id=self._session.agent_id)
        finally:
            self._task = None

    def _due(self) -> bool:
        return bool(self._sent or self._touched or self._installed)

    async def _write(self) -> bool:
        """One batch: the one that failed before, else what came since. False when the store is away."""
        if self._sent is None:
            touched, self._touched = self._touched, set()
            installed, self._installed = self._installed, {}
            ran, self._ran = self._ran, None
            rows = [self._row(d, installed.get(d), ran) for d in sorted(touched | set(installed))]
            self._sent_at = max(self._sent_at + 1, wall_ms())
            self._sent = rows
        try:
            await self._store.fleet.occupy(self._session.agent_id, self._session.epoch, self._sent, self._sent_at)
        except StoreUnavailableError as e:
            log.debug("occupancy_not_written", agent_id=self._session.agent_id, error=e.message)
            return False
        self._sent = None
        return True

    def _row(
        self,
        device_id: str,
        installed: tuple[tuple[str, str], Counter[str], int, int] | None,
        ran: tuple[str, int] | None,
    ) -> Occupancy:
        slot = self._session.slots.get(device_id)
        first = next(iter(slot.leases.values()), None) if slot else None
        job_id = f"{first.org_id}~{first.ulid}" if first else None
        what, done, install_ms, installed_at = installed or (None, Counter(), None, 0)
        ran_ms = ran[1] if ran is not None and ran[0] == device_id else None
        worked, free_at = 0, None
        if slot is not None:
            worked, slot.untold_ms = slot.untold_ms, 0
            free_at = slot.free_at if first is not None else None
        return Occupancy(device_id, job_id, what, done, worked, install_ms, ran_ms, free_at, installed_at)

    async def close(self) -> None:
        """Writes what is left, unless the store is away, and stops."""
        self._closing.set()
        if self._task is not None:
            await self._task
