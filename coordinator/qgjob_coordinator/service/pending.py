"""Why queued jobs wait: computed when they are read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.policy.explain import Considered, consider, pending_reason
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.store.store import Store


class Pending:
    """Fills in pending reasons for the jobs of a page."""

    def __init__(self, store: Store, fleet: FleetReader, quota: int | None) -> None:
        self._store = store
        self._fleet = fleet
        self._quota = quota

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
            over = await self._over_quota(org_id)
            for job, place in zip(waiting, places, strict=True):
                job.pending_reason = pending_reason(
                    job, consider(job, devices), now=now, position=place, over_quota=over
                )

    async def considered(self, job: Job) -> list[Considered]:
        """Every device with its verdict on the job."""
        return consider(job, await self._fleet.devices(fresh=True))

    async def _over_quota(self, org_id: str) -> bool:
        if self._quota is None:
            return False
        counts, _, _ = await self._store.reads.counters(org_id)
        held = sum(n for (status, _), n in counts.items() if status in (Status.SCHEDULED, Status.RUNNING))
        return held >= self._quota
