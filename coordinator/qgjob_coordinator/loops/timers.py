"""What becomes due: waiting retries, queue deadlines, and what the dead left: unannounced work, runs to cancel.

Clients that went away are among the dead: see `bonds`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

import structlog

from qgjob_coordinator.errors import OrgDamagedError, StoreUnavailableError
from qgjob_coordinator.loops.bonds import Bonds
from qgjob_coordinator.loops.each_org import EachOrg, OrgsAwayError
from qgjob_coordinator.loops.overtaken import Overtaken
from qgjob_coordinator.model.enums import ErrorClass
from qgjob_coordinator.model.jobs import JobError
from qgjob_coordinator.policy.reasons.considered import consider
from qgjob_coordinator.policy.reasons.expired import expired
from qgjob_coordinator.service.beside import Beside
from qgjob_coordinator.service.clock import held_ms, wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.halving import NO_FAULTS, Halving, of_jobs
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import DUE_JOBS, OrgFaults
from qgjob_coordinator.service.transitions import tell_promoted, tell_settled
from qgjob_coordinator.sight import Sight
from qgjob_coordinator.store.jobs import MAX_JOBS
from qgjob_coordinator.store.snapshots import Due
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.waiting import Promoted
from qgjob_coordinator.telemetry import Telemetry

SWEEP_SECONDS = 1.0
REGISTRY_SECONDS = 30.0
MOST = 500

log = structlog.get_logger(__name__)


class Timers:
    """Looks at every active org each second, and at known due times when they come."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        fleet: FleetReader,
        telemetry: Telemetry,
        bonds: Bonds,
        faults: OrgFaults,
    ) -> None:
        self._store = store
        self._hub = hub
        self._fleet = fleet
        self._telemetry = telemetry
        self._bonds = bonds
        self._overtaken = Overtaken(store)
        self._due: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._faults = faults
        self._away = Beside(
            "timers",
            lambda org_id: self._org(org_id, wall_ms()),
            self._wake.set,
            part="timers",
            faults=self._faults,
        )
        self._swept = float("-inf")
        self._registry = time.monotonic()
        self._sight = Sight("timers_blind", log)

    def due(self, org_id: str, at: int) -> None:
        """A job of the org becomes ready at `at` (ms)."""
        if at < self._due.get(org_id, at + 1):
            self._due[org_id] = at
            self._wake.set()

    async def run(self) -> None:
        """Looks for ever."""
        try:
            while True:
                await self._look_and_wait()
        finally:
            await self._away.close()

    async def _look_and_wait(self) -> None:
        try:
            await self.look()
        except StoreUnavailableError as e:
            if not isinstance(e, OrgsAwayError):
                self._bonds.blind()
            self._sight.lost(e)
            await asyncio.sleep(SWEEP_SECONDS)  # what is due stays due: without a pause this would spin
        else:
            if not self._away.unreached:
                self._sight.seen()
            await self._wait()

    async def _wait(self) -> None:
        pause = SWEEP_SECONDS
        coming = [at for org_id, at in self._due.items() if org_id not in self._away.orgs]
        if coming:
            pause = min(pause, max(0.0, (min(coming) - wall_ms()) / 1000))
        self._wake.clear()
        try:
            async with asyncio.timeout(pause):
                await self._wake.wait()
        except TimeoutError:
            return

    async def look(self) -> None:
        """Serves what is due now, whatever orgs can't be reached or are damaged.

        Raises StoreUnavailableError: OrgsAwayError, when all others were served.
        """
        now = wall_ms()
        wanted = {org for org, at in self._due.items() if at <= now}
        monotonic = time.monotonic()
        if monotonic - self._swept >= SWEEP_SECONDS:
            wanted |= await self._store.active_orgs()
            self._swept = monotonic
        self._away.answered()
        wanted -= self._away.orgs
        orgs = EachOrg(self._faults)
        await orgs.serve("timers", wanted, lambda org_id: self._org(org_id, now))
        damaged = [org_id for org_id, error in orgs.failed.items() if isinstance(error, OrgDamagedError)]
        if damaged or len(orgs.failed) < len(wanted):  # else it is the store, and the next look finds that out
            for org_id, error in orgs.failed.items():
                self._away.add(org_id, error)
        if monotonic - self._registry >= REGISTRY_SECONDS:  # behind what is due: it may take long
            found = await self._repair(orgs)
            await orgs.serve("timers", found, lambda org_id: self._org(org_id, now))
            await orgs.serve("tidy", wanted | found, self._store.snapshots.tidy)
            await self._overtaken.look(orgs)
            self._registry = monotonic
        orgs.tell()

    async def _repair(self, orgs: EachOrg) -> set[str]:
        """Finds work of orgs that are not on the active set: a submitter may have died between its steps."""
        missing = await self._store.all_orgs() - await self._store.active_orgs()
        found = set()

        async def look(org_id: str) -> None:
            due = await self._store.snapshots.due(org_id)
            if due.waits:
                await self._store.mark_active(org_id)
                self._hub.work(org_id)
            if due.waits or due.runs_to_cancel or due.bonds:
                found.add(org_id)

        await orgs.serve("timers", missing, look)
        return found

    async def _org(self, org_id: str, now: int) -> None:
        known = self._due.pop(org_id, None)
        try:
            due = await self._store.snapshots.due(org_id)
            if due.next_overflow_at is not None and due.next_overflow_at <= now:
                self._hub.overflow_due(org_id)
            if due.waits and due.contents:
                self._hub.builds_due(org_id)
            if due.runs_to_cancel:
                self._hub.runs_to_cancel(org_id)
            if due.bonds:
                if await self._bonds.look(org_id, idle=not due.waits):
                    self._hub.runs_to_cancel(org_id)
            else:
                self._bonds.forget(org_id)
            due = await self._serve_rested(org_id, due, now)
        except Exception:
            self._bonds.forget(org_id)
            if known is not None:
                self.due(org_id, known)
            raise
        coming = due.next_after(now)
        if coming is not None:
            self.due(org_id, coming)

    async def _serve_rested(self, org_id: str, due: Due, now: int) -> Due:
        """Does what is due, unless some of it could not be used lately; what comes next.

        That rests by itself: were the org to rest, its bonds would not be looked at for longer than they last.
        """
        if self._faults.resting(DUE_JOBS, org_id) is None:
            with contextlib.suppress(OrgDamagedError):  # told; all else was done
                return await self._faults.guard(DUE_JOBS, org_id, self._serve_all(org_id, due, now))
        return due

    async def _serve_all(self, org_id: str, due: Due, now: int) -> Due:
        """Does all that is due at `now`; what comes next. Raises what it met, when all else is done."""
        did, met = await self._serve(org_id, due, now)
        while did:
            due = await self._store.snapshots.due(org_id)
            did, error = await self._serve(org_id, due, now)
            met = met or error
        if met is not None:
            raise met
        return due

    async def _serve(self, org_id: str, due: Due, now: int) -> tuple[bool, Exception | None]:
        """Does a batch of what is due at `now`; whether it did something, so that more may be due, and what it met.

        A job that can't be used keeps back no other one, whatever of the other is due.
        """
        did, met = False, None
        if due.next_retry_at is not None and due.next_retry_at <= now:
            did, met = await self._promote(org_id, now)
        surely = now - held_ms()
        if due.next_deadline_at is not None and due.next_deadline_at <= surely:
            more, error = await self._expire(org_id, now, surely)
            did, met = more or did, met or error
        return did, met

    async def _promote(self, org_id: str, now: int) -> tuple[bool, Exception | None]:
        """Puts a batch of due retries on their queues; whether there was one, and what kept others from theirs."""
        try:
            return self._promoted(org_id, await self._store.jobs.promote(org_id, now)), None
        except NO_FAULTS:
            raise
        except Exception as e:  # noqa: BLE001 - it is raised when the others are served
            due = await self._store.reads.due_retries(org_id, now, MAX_JOBS)
            damaged = await self._store.reads.unusable(org_id, due)
            if not damaged:
                return False, e
            return self._promoted(org_id, await self._store.jobs.promote(org_id, now, without=damaged)), e

    def _promoted(self, org_id: str, promoted: Sequence[Promoted]) -> bool:
        """Tells of jobs that are on their queues now; whether there are any."""
        tell_promoted(org_id, promoted)
        if promoted:
            self._hub.work(org_id)
            self._hub.changed(org_id)
        return bool(promoted)

    async def _expire(self, org_id: str, now: int, surely: int) -> tuple[bool, Exception | None]:
        """Ends, at `now`, a batch of jobs whose deadline had come at `surely`.

        Whether there may be more, and what kept some of them from their end.
        """
        ulids = await self._store.reads.due_deadlines(org_id, surely, MOST)
        ended = 0

        async def end(some: Sequence[str]) -> None:
            nonlocal ended
            ended += await self._end(org_id, some, now)

        halving = Halving(end, of_jobs(self._store.reads, org_id, lambda ulid: [ulid]))
        await halving.go(ulids)
        if halving.error is not None:  # what it met stays first: only what ended tells that there may be more
            return bool(ended), halving.error
        return bool(ended) or len(ulids) == MOST, None

    async def _end(self, org_id: str, ulids: Sequence[str], now: int) -> int:
        """Ends jobs whose deadline has come; how many."""
        jobs = await self._store.reads.get(org_id, ulids)
        pushed = await self._store.builds.pushed(org_id, {job.app_version_id for job in jobs if job is not None})
        devices = await self._fleet.devices()
        rows = []
        for ulid, job in zip(ulids, jobs, strict=True):
            if job is None:
                rows.append((ulid, JobError(ErrorClass.QUEUE_TIMEOUT, "")))
                continue
            considered = consider(job, devices, pushed=pushed[job.app_version_id])
            rows.append((ulid, expired(job, considered, now)))
        done = await self._store.jobs.expire(org_id, rows, now)
        ended = [(row, error.message) for row, (_, error) in zip(done, rows, strict=True) if row]
        tell_settled(self._telemetry, org_id, ended)
        self._hub.changed(org_id)
        return len(ended)
