"""Why queued jobs wait: computed when they are read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from qgjob_coordinator.errors import OrgDamagedError, StoreUnavailableError
from qgjob_coordinator.model.enums import DeviceState, PendingCode, Status, Target
from qgjob_coordinator.model.fleet import Device
from qgjob_coordinator.model.jobs import Job, JobSpec, Overflow, PendingReason, Requirements
from qgjob_coordinator.policy.feasible import meets, view
from qgjob_coordinator.policy.reasons.considered import Considered, Judge, consider, free_ones, unjudged
from qgjob_coordinator.policy.reasons.held import Holder, held
from qgjob_coordinator.policy.reasons.overflow import Second, second_devices, waiting_words
from qgjob_coordinator.policy.reasons.pending import StartEstimate, free_words, pending_reason, placed
from qgjob_coordinator.policy.reasons.summary import summary
from qgjob_coordinator.policy.reasons.unbuilt import second_target
from qgjob_coordinator.policy.snapshot import NO_BUILDS
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader, as_seen_by
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.service.views.forecast import Forecast, NoForecast
from qgjob_coordinator.store.store import Store

GIVE_UP_SECONDS = 62.0
"""After so long an agent that is not heard is given up, where no other time is set."""
SKETCH_SECONDS = 2.0
"""Reading a large fleet takes milliseconds: what submissions are told may be a little older than what readers are."""
MOST_JUDGED = 16
"""Of so many of the free devices the plan is asked for each job of a list; `explain` asks of all."""

log = structlog.get_logger(__name__)


class Reasons:
    """Considers the fleet once for all jobs that ask for the same.

    `pushed`: for which slots app versions have builds; one that is not among them has none.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        now: int,
        *,
        over_quota: bool,
        pushed: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self.devices = devices
        self._now = now
        self._over_quota = over_quota
        self._pushed = pushed or {}
        self._known: dict[
            tuple[Target, Target | None, bool, Requirements, bool, str], tuple[PendingReason, Sequence[str]]
        ] = {}
        self._second: dict[tuple[Target, Requirements, frozenset[str]], Second] = {}
        self._servable: dict[tuple[Target, Requirements, frozenset[str]], bool] = {}
        self._built: dict[frozenset[tuple[str, frozenset[str]]], Reasons] = {}
        self.some_need_builds = any(device.build_slot is not None for device in devices)
        """Whether some device can have no build that was not pushed."""

    def with_builds(self, pushed: Mapping[str, frozenset[str]]) -> Reasons:
        """The same, for app versions with these builds; kept for others that ask for the same."""
        key = frozenset(pushed.items())
        if key not in self._built:
            self._built[key] = Reasons(self.devices, self._now, over_quota=self._over_quota, pushed=pushed)
        return self._built[key]

    def of(
        self, job: Job, position: int | None, estimate: StartEstimate | None = None, judge: Judge = unjudged
    ) -> PendingReason:
        """Why the job waits. One that is on no queue was taken since it was read, and no quota keeps it."""
        over_quota = self._over_quota and position is not None
        version = job.app_version_id if self._pushed.get(job.app_version_id) else ""  # whose words may name it
        second = None if job.overflow is None else job.overflow.target  # which the words may name too
        key = (job.target, second, second_target(job) is None, job.requirements, over_quota, version)
        waits = job.not_before is not None and job.not_before > self._now
        found = self._made(job, over_quota) if waits else self._known.get(key)
        if found is None:
            found = self._known[key] = self._made(job, over_quota)
        reason, free = found
        if free:
            reason = PendingReason(reason.code, free_words([judge(i) for i in free[:MOST_JUDGED]], len(free)))
        return placed(reason, position, estimate)

    def overflow(self, job: Job) -> Overflow | None:
        """The job's second target, with why it has not gone there."""
        overflow = job.overflow
        if overflow is None or overflow.moved_from is not None:
            return overflow
        pushed = self._pushed.get(job.app_version_id, NO_BUILDS)
        key = (overflow.target, job.requirements, pushed)
        if key not in self._second:
            self._second[key] = second_devices(job, overflow, self.devices, pushed)
        return replace(overflow, waits=waiting_words(job, overflow, self._second[key], self._now))

    def could_serve(self, target: Target, requirements: Requirements, pushed: frozenset[str] = NO_BUILDS) -> bool:
        """Whether a device is known that could serve such jobs, of an app version with the `pushed` builds."""
        key = (target, requirements, pushed)
        if key not in self._servable:
            self._servable[key] = any(d.target is target and meets(requirements, view(d), pushed) for d in self.devices)
        return self._servable[key]

    def _made(self, job: Job, over_quota: bool) -> tuple[PendingReason, Sequence[str]]:
        """The reason, and the free devices of which the plan has to be asked."""
        considered = consider(job, self.devices, pushed=self._pushed.get(job.app_version_id, NO_BUILDS))
        reason = pending_reason(job, considered, now=self._now, position=None, over_quota=over_quota)
        free = [c.device_id for c in free_ones(considered)] if reason.code is PendingCode.ALL_BUSY else []
        return reason, free


@dataclass(frozen=True, slots=True)
class Explanation:
    """A job with its reason, every device's verdict, the devices in words, and what is expected (ms).

    The `summary` of a job that has a device is what it does there.
    """

    job: Job
    devices: Sequence[Considered]
    summary: str = ""
    estimate: StartEstimate | None = None
    expires_at: int | None = None


class Pending:
    """Fills in pending reasons for the jobs of a page."""

    def __init__(
        self,
        store: Store,
        fleet: FleetReader,
        quota: int | None,
        forecast: Forecast | None = None,
        give_up_seconds: float = GIVE_UP_SECONDS,
        *,
        faults: OrgFaults,
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._quota = quota
        self._forecast = forecast or NoForecast()
        self._give_up_ms = round(give_up_seconds * 1000)
        self._faults = faults
        self._sketches: Reasons | None = None

    async def explain(self, jobs: Sequence[Job]) -> None:
        """Sets `pending_reason` of those that are queued, and of their `overflow` why they wait."""
        by_org: dict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            if job.status is Status.QUEUED:
                by_org[job.org_id].append(job)
        if not by_org:
            return
        devices = await self._fleet.devices()
        now = wall_ms()
        for org_id, waiting in by_org.items():
            over_quota = await self._over_quota(org_id)
            places = await self._store.reads.positions(org_id, [j.ulid for j in waiting])
            starts = await self._forecast.starts(org_id, waiting, places)
            pushed = await self._store.builds.pushed(org_id, {j.app_version_id for j in waiting})
            reasons = Reasons(devices, now, over_quota=over_quota, pushed=pushed)
            for job, place, start in zip(waiting, places, starts, strict=True):
                job.pending_reason = reasons.of(job, place, start, await self._forecast.judge(job))
                job.overflow = reasons.overflow(job)

    async def reasons(self, specs: Sequence[JobSpec]) -> Reasons:
        """Reasons without quotas, for answers to submissions to one org.

        Kept for as long as the reading of the fleet. Before a submitter is told that nothing could ever serve a job,
        the fleet is read again: the device may have come, or got its label, a second ago. Builds are looked up, once
        for all jobs, only where a device can have no others than those that were pushed.
        """
        sketch = await self._sketch(await self._fleet.devices(max_age_seconds=SKETCH_SECONDS))
        pushed = await self._pushed_for(specs) if sketch.some_need_builds else {}
        kinds = {(s.target, id(s.requirements), s.app_version_id): s for s in specs}  # few, and no hash of each
        if not all(
            sketch.could_serve(s.target, s.requirements, pushed.get(s.app_version_id, NO_BUILDS))
            for s in kinds.values()
        ):
            sketch = await self._sketch(await self._fleet.devices())
        return sketch.with_builds(pushed) if any(pushed.values()) else sketch

    async def _pushed_for(self, specs: Sequence[JobSpec]) -> Mapping[str, frozenset[str]]:
        """Of none where that can't be read: the jobs are accepted, and what they are told are only words."""
        org_id = specs[0].org_id
        try:
            reading = self._store.builds.pushed(org_id, {s.app_version_id for s in specs})
            return await self._faults.guard("reasons", org_id, reading)
        except OrgDamagedError:
            return {}  # told
        except StoreUnavailableError as e:
            log.warning("reasons_without_builds", org_id=org_id, error=e.message)
            return {}

    async def _sketch(self, devices: Sequence[Device]) -> Reasons:
        if self._sketches is None or self._sketches.devices is not devices:
            self._sketches = Reasons(devices, wall_ms(), over_quota=False)
        return self._sketches

    async def explanation(self, principal: Principal, job: Job) -> Explanation:
        """All that is known of why a job waits, from one fresh reading of the fleet; sets what `explain` does."""
        devices = [as_seen_by(principal, d) for d in await self._fleet.devices(max_age_seconds=0)]
        now = wall_ms()
        if job.status is not Status.QUEUED:
            found = consider(job, devices, pushed=await self._pushed(job))
            return Explanation(job, found, await self._held(job, devices, now))
        over_quota = await self._over_quota(job.org_id)
        (place,) = await self._store.reads.positions(job.org_id, [job.ulid])
        (start,) = await self._forecast.starts(job.org_id, [job], [place], fresh=True)
        pushed = await self._pushed(job)
        considered = consider(job, devices, await self._forecast.judge(job), pushed)
        over_quota = over_quota and place is not None
        job.pending_reason = pending_reason(
            job, considered, now=now, position=place, over_quota=over_quota, estimate=start, explained=True
        )
        reasons = Reasons(devices, now, over_quota=over_quota, pushed={job.app_version_id: pushed})
        job.overflow = reasons.overflow(job)
        expected = start if job.pending_reason.estimated_start_at is not None else None
        aside = self._faults.keeps_waiting(job.org_id, for_its_time=place is None and job.not_before is not None)
        text = summary(job, considered, now)
        return Explanation(job, considered, f"{aside}; {text}" if aside else text, expected, job.queue_deadline)

    async def _pushed(self, job: Job) -> frozenset[str]:
        """The slots for which the job's app version has a build."""
        return (await self._store.builds.pushed(job.org_id, [job.app_version_id]))[job.app_version_id]

    async def _held(self, job: Job, devices: Sequence[Device], now: int) -> str:
        """What a job does that has a device; empty where it has none, or one that is no longer known."""
        device = next((d for d in devices if d.device_id == job.device_id), None)
        if job.status.final or device is None:
            return ""
        agent = next((a for a in await self._fleet.rows() if a.agent_id == device.agent_id), None)
        if agent is None:
            return ""
        online = device.state is not DeviceState.OFFLINE
        holder = Holder(agent.agent_id, agent.state == "open", agent.seen_at, online, device.current_job_id)
        return held(job, holder, now, self._give_up_ms)

    async def _over_quota(self, org_id: str) -> bool:
        """To be asked before the places of jobs: what has one then is none of those that fill the quota."""
        if self._quota is None:
            return False
        counts, _ = await self._store.reads.counters(org_id)
        held = sum(n for (status, _), n in counts.items() if status in (Status.SCHEDULED, Status.RUNNING))
        return held >= self._quota
