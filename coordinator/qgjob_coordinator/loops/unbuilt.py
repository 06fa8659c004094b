"""Ends jobs whose app version has builds, and none for any device that the fleet knows and that they may have.

Such a job would wait for a push that nobody knows to be wanted. The timers say which orgs have builds and work, so that
others cost nothing; of each of these a look reads one snapshot without jobs, and the fleet once for all. Records are
read only of jobs that are about to end. Any number of coordinators do this: what another one ended, or somebody pushed
a build for meanwhile, is left alone by the script.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import structlog

from qgjob_coordinator.errors import OrgDamagedError, StoreUnavailableError
from qgjob_coordinator.loops.due_orgs import LOOK_SECONDS, DueOrgs
from qgjob_coordinator.loops.each_org import EachOrg
from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.model.jobs import Job, Requirements
from qgjob_coordinator.policy.feasible import view
from qgjob_coordinator.policy.reasons.unbuilt import KnownDevices, Lacking, Steady, unbuilt
from qgjob_coordinator.policy.snapshot import HEADS, GroupView, Queue
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.halving import Halving, of_jobs
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.transitions import tell_settled
from qgjob_coordinator.sight import Sight
from qgjob_coordinator.store import builds
from qgjob_coordinator.store.snapshots import OrgSnapshot
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.waiting import Unbuilt
from qgjob_coordinator.telemetry import Telemetry

PART = "unbuilt"
LOOKS = 10
"""So many looks in a row have to find the same. An agent that comes for the first time shows its devices as it finds
them: emulators at once, simulators after an answer of Xcode's, which takes seconds."""
SETTLED_MS = round(1000 * LOOKS * LOOK_SECONDS)
"""So long a job is in its queue at least: who submits and pushes at once may push last."""
FLEET_SECONDS = 2.0
"""A look may go by a reading of the fleet that is so old. Before anything ends, the fleet is read again."""
NEW_LIFE_SECONDS = 60.0
"""So long nothing ends in a new life of the store: where it lost the fleet's devices, those are known that come back
first, and all agents of a large fleet need up to a minute to connect again (docs/performance.md)."""
MOST = 500
"""Jobs of an org that are ended in one call."""

log = structlog.get_logger(__name__)


class _Queue(NamedTuple):
    """Jobs that wait for the same."""

    org_id: str
    gid: str
    requirements: Requirements


Why = tuple[frozenset[str], Lacking]
"""The builds that an app version has, and what devices lack: those of other targets too, where a job may go to one."""


class UnbuiltJobs:
    """Looks at the orgs that are `due`, and at those in which it has found something, until that is over."""

    def __init__(self, store: Store, hub: Hub, fleet: FleetReader, telemetry: Telemetry, faults: OrgFaults) -> None:
        self._store = store
        self._hub = hub
        self._fleet = fleet
        self._telemetry = telemetry
        self._faults = faults
        self._orgs = DueOrgs(Sight("unbuilt_blind", log))
        self._steady = Steady[_Queue, Why](LOOKS)
        self._life = store.epoch
        self._quiet_until = float("-inf")  # monotonic, s
        hub.builds_due = self.due

    def due(self, org_id: str) -> None:
        """The org has builds, and jobs. It is told again for as long as it has."""
        self._orgs.add(org_id)

    async def run(self) -> None:
        """Looks for ever."""
        await self._orgs.run(self.round)

    async def round(self) -> None:
        """Looks once, whatever orgs can't be reached or are damaged, and ends what was found for long enough.

        Raises StoreUnavailableError: OrgsAwayError, when all others were served.
        """
        due = self._orgs.take(queue.org_id for queue in self._steady.found)
        orgs, seen = EachOrg(self._faults), list[OrgSnapshot]()

        async def read(org_id: str) -> None:
            seen.append(await self._store.snapshots.org(org_id, 0))

        await orgs.serve(PART, due, read, last=False)
        try:
            found = await self._found(seen)
        except StoreUnavailableError:
            self._steady.forget()
            raise
        if self._fleet_may_be_coming():
            self._steady.forget()
            orgs.tell()
            return
        steady = self._steady.look(found)
        await orgs.serve(PART, (org.org_id for org in seen), lambda org_id: self._end(org_id, steady))
        orgs.tell()

    def _fleet_may_be_coming(self) -> bool:
        """Whether the store began a new life a moment ago, after one that this process knew."""
        known, self._life = self._life, self._store.epoch
        if known not in (0, self._life):
            self._quiet_until = time.monotonic() + NEW_LIFE_SECONDS
        return time.monotonic() < self._quiet_until

    async def _found(self, seen: Sequence[OrgSnapshot]) -> dict[_Queue, Why]:
        """The queues whose jobs no device can run, and why; none of orgs of whose queues that can't be said."""
        if not any(group.pushed and group.queues for org in seen for group in org.groups):
            return {}
        known, found = await self._known(FLEET_SECONDS), dict[_Queue, Why]()

        def lacking(orgs: Sequence[OrgSnapshot]) -> dict[_Queue, Why]:
            return _lacking(known, (group for org in orgs for group in org.groups))

        for org in seen:
            with contextlib.suppress(OrgDamagedError):  # told; it rests, and is asked for nothing more
                found |= self._faults.computed(PART, [org], lacking, last=False)
        return found

    async def _known(self, max_age_seconds: float) -> KnownDevices:
        return KnownDevices(map(view, await self._fleet.devices(max_age_seconds=max_age_seconds)))

    async def _end(self, org_id: str, steady: Mapping[_Queue, Why]) -> None:
        """Ends the jobs of those of the org's queues of which the same is still so, a batch after the other.

        A job that can't be used keeps back no other one: what was met is raised when these have ended.
        """
        ended, met, heads = any(queue.org_id == org_id for queue in steady), None, HEADS
        while ended:
            seen = await self._store.snapshots.org(org_id, heads)
            known = await self._known(0)
            still = dict(_lacking(known, seen.groups).items() & steady.items())
            pushed = {
                head.ulid: group.pushed
                for group in seen.groups
                for queue in group.queues
                if _queue(group, queue) in still
                for head in queue.heads
            }
            ended, error = await self._end_batch(org_id, dict(islice(pushed.items(), MOST)), known)
            met = met or error
            if not ended and heads < MOST and _more_behind(seen, still):
                ended, heads = True, MOST  # the first ones may all wait for their second target
        if met is not None:
            raise met

    async def _end_batch(
        self, org_id: str, pushed: Mapping[str, frozenset[str]], known: KnownDevices
    ) -> tuple[bool, Exception | None]:
        """Whether any of the jobs ended, so that there may be more behind, and what kept others from their end."""
        ended = 0

        async def end(some: Sequence[str]) -> None:
            nonlocal ended
            jobs = [job for job in await self._store.reads.get(org_id, some) if job is not None]
            now = wall_ms()
            rows = list(_rows(jobs, pushed, known, now))
            ended += await self._reject(org_id, rows, now) if rows else 0

        halving = Halving(end, of_jobs(self._store.reads, org_id, lambda ulid: [ulid]))
        await halving.go(list(pushed))
        return bool(ended), halving.error

    async def _reject(self, org_id: str, rows: Sequence[Unbuilt], now: int) -> int:
        """How many of them ended."""
        done = await self._store.jobs.reject(org_id, rows, now)
        ended = [(row, job.error.message) for row, job in zip(done, rows, strict=True) if row]
        tell_settled(self._telemetry, org_id, ended)
        if ended:
            self._hub.changed(org_id)
        return len(ended)


def _queue(group: GroupView, queue: Queue) -> _Queue:
    return _Queue(group.org_id, group.gid, queue.requirements)


def _more_behind(seen: OrgSnapshot, queues: Mapping[_Queue, Why]) -> bool:
    """Whether one of the queues has jobs that the snapshot does not show."""
    shown = ((group, queue) for group in seen.groups for queue in group.queues)
    return any(queue.waiting > len(queue.heads) for group, queue in shown if _queue(group, queue) in queues)


def _lacking(known: KnownDevices, groups: Iterable[GroupView]) -> dict[_Queue, Why]:
    return {
        _queue(group, queue): (group.pushed, known.all_lacking(queue.requirements, group.pushed))
        for group in groups
        if group.pushed
        for queue in group.queues
        if known.lacking(group.target, queue.requirements, group.pushed)
    }


def _rows(
    jobs: Iterable[Job], pushed: Mapping[str, frozenset[str]], known: KnownDevices, now: int
) -> Iterable[Unbuilt]:
    """Those that end, of jobs that were on their queues; `pushed` are the builds that there were for each."""
    for job in jobs:
        since = max(job.created_at, job.updated_at, job.not_before or 0)
        lacking = known.lacking_for(job, pushed[job.ulid])
        if job.status is Status.QUEUED and lacking and now - since >= SETTLED_MS:
            names = sorted({builds.name(job.app_version_id, slot) for _, slot in lacking})
            yield Unbuilt(job.ulid, job.version, tuple(names), unbuilt(job, lacking, pushed[job.ulid]))
