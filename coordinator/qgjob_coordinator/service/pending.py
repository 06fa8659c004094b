"""Why queued jobs wait: computed when they are read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from qgjob_coordinator.model.enums import Status, Target
from qgjob_coordinator.model.fleet import Device
from qgjob_coordinator.model.jobs import Job, PendingReason, Requirements
from qgjob_coordinator.policy.explain import Considered, consider, pending_reason
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.store.store import Store

SKETCH_SECONDS = 2.0
"""Reading a large fleet takes milliseconds: what submissions are told may be a little older than what readers are."""


class Reasons:
    """Considers the fleet once for all jobs that ask for the same."""

    def __init__(self, devices: Sequence[Device], now: int, *, over_quota: bool) -> None:
        self.devices = devices
        self._now = now
        self._over_quota = over_quota
        self._known: dict[tuple[Target, Requirements], PendingReason] = {}

    def of(self, job: Job, position: int | None) -> PendingReason:
        """Why the job waits."""
        key = (job.target, job.requirements)
        found = self._known.get(key)
        if found is None or job.not_before is not None:
            found = pending_reason(
                job, consider(job, self.devices), now=self._now, position=None, over_quota=self._over_quota
            )
            if job.not_before is None:
                self._known[key] = found
        if position is None or found.retry_at is not None:
            return found
        return PendingReason(found.code, found.message, position)


class Pending:
    """Fills in pending reasons for the jobs of a page."""

    def __init__(self, store: Store, fleet: FleetReader, quota: int | None) -> None:
        self._store = store
        self._fleet = fleet
        self._quota = quota
        self._sketches: Reasons | None = None

    async def explain(self, jobs: Sequence[Job]) -> None:
        """Sets `pending_reason` of those that are queued."""
        by_org: dict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            if job.status is Status.QUEUED:
                by_org[job.org_id].append(job)
        if not by_org:
            return
        devices = await self._fleet.devices()
        now = wall_ms()
        for org_id, waiting in by_org.items():
            places = await self._store.reads.positions(org_id, [j.ulid for j in waiting])
            reasons = Reasons(devices, now, over_quota=await self._over_quota(org_id))
            for job, place in zip(waiting, places, strict=True):
                job.pending_reason = reasons.of(job, place)

    async def reasons(self) -> Reasons:
        """Reasons without quotas, kept for as long as the reading of the fleet: for answers to submissions."""
        devices = await self._fleet.devices(max_age_seconds=SKETCH_SECONDS)
        if self._sketches is None or self._sketches.devices is not devices:
            self._sketches = Reasons(devices, wall_ms(), over_quota=False)
        return self._sketches

    async def considered(self, job: Job) -> list[Considered]:
        """Every device with its verdict on the job."""
        return consider(job, await self._fleet.devices(max_age_seconds=0))

    async def _over_quota(self, org_id: str) -> bool:
        if self._quota is None:
            return False
        counts, _, _ = await self._store.reads.counters(org_id)
        held = sum(n for (status, _), n in counts.items() if status in (Status.SCHEDULED, Status.RUNNING))
        return held >= self._quota
