"""What becomes due: waiting retries, queue deadlines, and work that a dead submitter left unannounced."""

from __future__ import annotations

import asyncio
import time

import structlog

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.model.enums import ErrorClass, PendingCode
from qgjob_coordinator.model.jobs import Job, JobError
from qgjob_coordinator.policy.explain import consider, pending_reason
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.transitions import tell_promoted, tell_settled
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry

SWEEP_SECONDS = 1.0
REGISTRY_SECONDS = 30.0
MOST = 500

log = structlog.get_logger(__name__)


class Timers:
    """Looks at every active org each second, and at known due times when they come."""

    def __init__(self, store: Store, hub: Hub, fleet: FleetReader, telemetry: Telemetry) -> None:
        self._store = store
        self._hub = hub
        self._fleet = fleet
        self._telemetry = telemetry
        self._due: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._swept = float("-inf")
        self._registry = time.monotonic()

    def due(self, org_id: str, at: int) -> None:
        """A job of the org becomes ready at `at` (ms)."""
        if at < self._due.get(org_id, at + 1):
            self._due[org_id] = at
            self._wake.set()

    async def run(self) -> None:
        """Looks for ever."""
        while True:
            try:
                await self.look()
            except StoreUnavailableError as e:
                log.warning("timers_blind", error=e.message)
            await self._wait()

    async def _wait(self) -> None:
        pause = SWEEP_SECONDS
        if self._due:
            pause = min(pause, max(0.0, (min(self._due.values()) - wall_ms()) / 1000))
        self._wake.clear()
        try:
            async with asyncio.timeout(pause):
                await self._wake.wait()
        except TimeoutError:
            return

    async def look(self) -> None:
        """Serves what is due now. Raises StoreUnavailableError."""
        now = wall_ms()
        orgs = {org for org, at in self._due.items() if at <= now}
        monotonic = time.monotonic()
        if monotonic - self._swept >= SWEEP_SECONDS:
            self._swept = monotonic
            orgs |= await self._store.active_orgs()
        if monotonic - self._registry >= REGISTRY_SECONDS:
            self._registry = monotonic
            orgs |= await self._repair()
        for org_id in sorted(orgs):
            self._due.pop(org_id, None)
            await self._org(org_id, now)

    async def _repair(self) -> set[str]:
        """Finds work of orgs that are not on the active set: a submitter may have died between its steps."""
        missing = await self._store.all_orgs() - await self._store.active_orgs()
        found = set()
        for org_id in missing:
            if (await self._store.snapshots.org(org_id, 0)).waits:
                await self._store.mark_active(org_id)
                self._hub.work(org_id)
                found.add(org_id)
        return found

    async def _org(self, org_id: str, now: int) -> None:
        snapshot = await self._store.snapshots.org(org_id, 0)
        if snapshot.next_retry_at is not None and snapshot.next_retry_at <= now:
            if promoted := await self._store.jobs.promote(org_id, now):
                tell_promoted(org_id, promoted)
                self._hub.work(org_id)
                self._hub.changed(org_id)
            snapshot = await self._store.snapshots.org(org_id, 0)
        if snapshot.next_deadline_at is not None and snapshot.next_deadline_at <= now:
            await self._expire(org_id, now)
        coming = [t for t in (snapshot.next_retry_at, snapshot.next_deadline_at) if t is not None and t > now]
        if coming:
            self.due(org_id, min(coming))

    async def _expire(self, org_id: str, now: int) -> None:
        ulids = await self._store.reads.due_deadlines(org_id, now, MOST)
        devices = await self._fleet.devices()
        rows = []
        for ulid, job in zip(ulids, await self._store.reads.get(org_id, ulids), strict=True):
            if job is None:
                rows.append((ulid, JobError(ErrorClass.QUEUE_TIMEOUT, "")))
                continue
            reason = pending_reason(job, consider(job, devices), now=now, position=None, over_quota=False)
            rows.append((ulid, _error(job, reason.code, reason.message)))
        done = await self._store.jobs.expire(org_id, rows, now)
        ended = [(row, error.message) for row, (_, error) in zip(done, rows, strict=True) if row]
        tell_settled(self._telemetry, org_id, ended)
        self._hub.changed(org_id)


def _error(job: Job, code: PendingCode, why: str) -> JobError:
    never = code is PendingCode.NO_RESOURCE
    seconds = (job.queue_timeout_ms or 0) / 1000
    kind = ErrorClass.NO_RESOURCE if never else ErrorClass.QUEUE_TIMEOUT
    return JobError(kind, f"not started within {seconds:g} s: {why}")
