"""Groups, runs and statistics: what is computed from many jobs."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from qgjob_coordinator.errors import NotFoundError, OrgDamagedError
from qgjob_coordinator.model.enums import AgentState, DeviceHealth, DeviceState, Outcome, Status
from qgjob_coordinator.model.fleet import Device, QueueStats, SchedulerStats, Stats
from qgjob_coordinator.model.jobs import Group, Job, Run
from qgjob_coordinator.service import validation
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.service.views.forecast import Forecast, NoForecast
from qgjob_coordinator.store.names import group_id
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry, Totals


class Overview:
    """Reads over many jobs. All raise StoreUnavailableError."""

    def __init__(
        self,
        store: Store,
        fleet: FleetReader,
        totals: Totals,
        forecast: Forecast | None = None,
        *,
        faults: OrgFaults,
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._totals = totals
        self._faults = faults
        self._forecast = forecast or NoForecast()

    async def orgs(self, principal: Principal, org_id: object) -> list[str]:
        """The orgs that are meant: one, or all that the caller sees."""
        if org_id is not None:
            org = validation.check_id("org_id", org_id)
            principal.require_org(org)
            return [org]
        return sorted(o for o in await self._store.all_orgs() if principal.sees(o))

    async def groups(self, principal: Principal, org_id: object) -> list[Group]:
        """Groups with unfinished jobs, by id."""
        return [g for org in await self.orgs(principal, org_id) for g in await self._groups_of(org)]

    async def _groups_of(self, org_id: str) -> list[Group]:
        snapshot = await self._store.snapshots.org(org_id, 0)
        held: Counter[tuple[str, Status]] = Counter()
        if snapshot.groups:
            for job in await self._store.reads.held(org_id):
                held[group_id(job.app_version_id, job.target), job.status] += 1
        ends = await self._forecast.group_ends(org_id)
        found = []
        for g in sorted(snapshot.groups, key=lambda g: g.gid):
            scheduled, running = held[g.gid, Status.SCHEDULED], held[g.gid, Status.RUNNING]
            queued = max(0, g.unfinished - scheduled - running)
            name = f"{org_id}~{g.gid}"
            serving = tuple(sorted(g.serving))
            counts = (queued, scheduled, running)
            end = ends.get(g.gid)
            found.append(Group(name, org_id, g.app_version_id, g.target, *counts, serving, g.installs, end))
        return found

    async def run(self, principal: Principal, org_id: object, run_id: object) -> Run:
        """A run, counted; one that a cancel left no job in is over with that. Raises NotFoundError."""
        org = validation.check_id("org_id", org_id)
        run = validation.check_id("run_id", run_id)
        count = _RunCount()
        if principal.sees(org):
            async for jobs in self._store.reads.walk(org, run, set(Status)):
                count.add(jobs)
        if count.started_at is None:
            left_at = await self._store.reads.left_at(org, run) if principal.sees(org) else None
            if left_at is None:
                raise NotFoundError(f"run {run} not found in org {org}", field="run_id")
            count.completed_at = left_at
        return count.run(org, run)

    async def stats(self, principal: Principal, org_id: object) -> Stats:
        """Queue and fleet in numbers; of all orgs without those whose data are damaged. Raises ParentSilentError."""
        now = wall_ms()
        orgs = await self.orgs(principal, org_id)
        if org_id is None:
            parts = [part for org in orgs if (part := await self._unless_damaged(org)) is not None]
        else:
            parts = [await self._org_stats(org) for org in orgs]
        counts = sum((part.by_status for part in parts), Counter[Status]())
        waiting, groups = sum(part.delayed for part in parts), sum(part.groups for part in parts)
        saved = sum(part.saved for part in parts)
        installs = await self._installs(principal, orgs if org_id is not None else None)
        oldest = min((part.oldest for part in parts if part.oldest is not None), default=None)
        agents = await self._fleet.agents()
        age = 0.0 if oldest is None else max(0, now - oldest) / 1000
        by_status = {s.value: max(0, counts[s]) for s in Status}
        queue = QueueStats(**by_status, retry_wait=waiting, oldest_queued_age_seconds=age)
        devices = await self._fleet.devices()
        online = sum(a.state is not AgentState.OFFLINE for a in agents)
        planned = await self._totals()
        return Stats(queue, _scheduler(planned, devices, online, groups, installs, saved), now)

    async def _installs(self, principal: Principal, orgs: Sequence[str] | None) -> int:
        """For these orgs, or for all that the caller sees and ever saw."""
        if orgs is not None:
            return await self._store.reads.installs(orgs)
        counts = await self._store.reads.all_installs()
        return sum(n for org, n in counts.items() if principal.sees(org))

    async def _unless_damaged(self, org_id: str) -> _OrgStats | None:
        try:
            return await self._faults.guard("statistics", org_id, self._org_stats(org_id))
        except OrgDamagedError:
            return None  # told

    async def _org_stats(self, org_id: str) -> _OrgStats:
        by, saved = await self._store.reads.counters(org_id)
        part = _OrgStats(saved=saved)
        for (status, _), n in by.items():
            part.by_status[status] += n
        if any(n for (s, _), n in by.items() if not s.final):
            part.delayed = await self._store.reads.delayed_count(org_id)
            part.groups = len((await self._store.snapshots.org(org_id, 0)).groups)
            part.oldest = await self._store.reads.oldest_waiting_at(org_id)
        return part


@dataclass(slots=True)
class _OrgStats:
    """One org in numbers; `oldest` is since when its oldest job waits (ms)."""

    by_status: Counter[Status] = field(default_factory=Counter)
    saved: int = 0
    delayed: int = 0
    groups: int = 0
    oldest: int | None = None


def _scheduler(
    planned: Telemetry, devices: Sequence[Device], agents: int, groups: int, installs: int, saved: int
) -> SchedulerStats:
    states = Counter(d.state for d in devices)
    recent_ms = planned.recent_plan_ms
    return SchedulerStats(
        agents_online=agents,
        devices_total=len(devices),
        devices_idle=states[DeviceState.IDLE],
        devices_busy=states[DeviceState.BUSY],
        devices_offline=states[DeviceState.OFFLINE],
        devices_bad=sum(d.health is DeviceHealth.BAD for d in devices),
        groups=groups,
        installs=installs,
        installs_saved=saved,
        plans=planned.plans,
        plan_ms_p50=round(statistics.median(recent_ms), 3) if recent_ms else 0.0,
    )


@dataclass(slots=True)
class _RunCount:
    """A run's jobs in numbers, part by part."""

    statuses: Counter[Status] = field(default_factory=Counter)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    installs: int = 0
    started_at: int | None = None
    finished: int = 0
    completed_at: int = 0

    def add(self, jobs: Sequence[Job]) -> None:
        """Counts some of the jobs."""
        for j in jobs:
            self.statuses[j.status] += 1
            if j.outcome is not None:
                self.outcomes[j.outcome] += 1
            if j.completed_at is not None:
                self.finished += 1
                self.completed_at = max(self.completed_at, j.completed_at)
            self.installs += sum(a.install_ms is not None for a in j.attempts)
            self.started_at = j.created_at if self.started_at is None else min(self.started_at, j.created_at)

    def run(self, org_id: str, run_id: str) -> Run:
        """The run as it was counted."""
        return Run(
            run_id=run_id,
            org_id=org_id,
            status_counts={s.value: self.statuses[s] for s in Status},
            outcome_counts={o.value: self.outcomes[o] for o in Outcome if self.outcomes[o]},
            installs=self.installs,
            started_at=self.started_at,
            completed_at=self.completed_at if self.finished == self.statuses.total() else None,
        )
