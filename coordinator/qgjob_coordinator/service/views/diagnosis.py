"""Looks at everything that people ask about when something is wrong, and lets the policy judge it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

from qgjob_coordinator.errors import OrgDamagedError, QgjobError, StoreUnavailableError
from qgjob_coordinator.model.enums import Status, Target
from qgjob_coordinator.model.findings import Diagnosis, Finding
from qgjob_coordinator.model.fleet import Device
from qgjob_coordinator.model.jobs import Requirements
from qgjob_coordinator.policy.diagnosis import (
    agents,
    blobs,
    coordinator,
    devices,
    keeping_data,
    orgs,
    queue,
    rights,
    store,
    words,
)
from qgjob_coordinator.policy.diagnosis.facts import CoordinatorFacts, FleetFacts, QueueFacts, StoreFacts, Unserved
from qgjob_coordinator.policy.health.hosts import worth_telling
from qgjob_coordinator.policy.health.record import Record, recent
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.service.shared import Shared
from qgjob_coordinator.service.views.kept_builds import KeptBuilds
from qgjob_coordinator.service.views.overview import Overview
from qgjob_coordinator.service.views.pending import Reasons
from qgjob_coordinator.service.views.readiness import PROBE_SECONDS, Readiness, Verdict
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.fleet import AgentRow
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry

ORGS_AT_ONCE = 8
SHARED_SECONDS = 1.0
"""Who asks within so long after a diagnosis gets that one."""
FLEET_SECONDS = 5.0
"""Fleet and queue that are not read by then are told as such. Clients wait for twice as long."""
SCOPES_MOST = 64
"""Of so many scopes the last diagnosis is remembered."""


OVERFLOWS_MOST = 4000
OVERFLOWS_AT_ONCE = 500
"""So many jobs of an org that may go to their second target are looked at, and in one read."""

T = TypeVar("T")


class _Kind(NamedTuple):
    """What jobs of one queue have in common."""

    app_version_id: str
    target: Target
    requirements: Requirements


@dataclass(frozen=True, slots=True)
class Self:
    """What a coordinator knows of itself. `store` is the store's address without its secrets."""

    name: str
    version: str
    host: str
    exposed: bool
    store: str
    blobs: str
    durability: str
    heartbeat_seconds: float
    session_timeout_seconds: float
    lease_seconds: float


class Doctor:
    """One coordinator's view of the whole. A store that is away is a finding, and no error."""

    def __init__(
        self,
        me: Self,
        store: Store,
        readiness: Readiness,
        fleet: FleetReader,
        overview: Overview,
        sessions: Sessions,
        telemetry: Telemetry,
        kept: KeptBuilds,
        faults: OrgFaults,
    ) -> None:
        self._me = me
        self._store = store
        self._readiness = readiness
        self._fleet = fleet
        self._overview = overview
        self._sessions = sessions
        self._telemetry = telemetry
        self._kept = kept
        self._faults = faults
        self._begun = time.monotonic()
        self._runs: dict[str | None, Shared[Diagnosis]] = {}

    async def diagnose(self, principal: Principal) -> Diagnosis:
        """All findings, at most SHARED_SECONDS old; those who ask at once, and see the same, share one run.

        Raises ForbiddenError for one who may not act on the fleet.
        """
        principal.require_operator()
        run = self._runs.pop(principal.org_id, None) or Shared(lambda: self._diagnose(principal), "diagnosis")
        self._runs[principal.org_id] = run  # the latest is last
        if len(self._runs) > SCOPES_MOST:
            del self._runs[next(iter(self._runs))]
        return await run.get(SHARED_SECONDS)

    async def _diagnose(self, principal: Principal) -> Diagnosis:
        verdict, (seen, away), lacking, kept = await asyncio.gather(
            self._readiness.look(), self._seen(), self._lacking(), self._kept.look()
        )
        findings = store.usable(verdict.store.fault, away, self._me.store, keys.SCHEMA_VERSION)
        by_server = {
            name: [*keeping_data.judge(one, self._me.durability), *store.judge(one)] for name, one in seen.items()
        }
        findings += words.of_servers(by_server)
        findings += rights.judge(lacking, self._store.hints_refused) if lacking else []
        own = replace(kept, missing=[each for each in kept.missing if principal.sees(each.org_id)])
        findings += blobs.judge(own, self._me.blobs)
        findings += coordinator.judge(self._facts(verdict))
        if seen and not away:
            findings += await self._of_fleet(principal)
            seen_orgs = [each for each in self._faults.damaged() if principal.sees(each.org_id)]
            findings += orgs.judge(seen_orgs)
        epoch = self._store.epoch if verdict.store.fault is None else 0
        return Diagnosis(self._me.name, self._me.version, epoch, wall_ms(), tuple(findings))

    async def _seen(self) -> tuple[Mapping[str, StoreFacts], Mapping[str, str]]:
        """What each server of the store says of itself, and why others don't.

        Neither where the verdict tells all: there is one server alone, or nobody says which there are.
        """
        try:
            looked = await self._store.look(PROBE_SECONDS)
        except (TimeoutError, StoreUnavailableError):
            return {}, {}
        if not looked.told and len(looked.away) == 1:
            return {}, {}
        return looked.told, {at: error.message for at, error in looked.away.items()}

    async def _lacking(self) -> Mapping[str, Sequence[str]]:
        """What the user may not do at each server that answers; that others don't is told by `_seen`."""
        try:
            return await self._store.lacking(PROBE_SECONDS)
        except (TimeoutError, StoreUnavailableError):
            return {}

    def _facts(self, verdict: Verdict) -> CoordinatorFacts:
        me = self._me
        return CoordinatorFacts(
            version=me.version,
            uptime_seconds=time.monotonic() - self._begun,
            lag_seconds=self._telemetry.worst_lag_seconds,
            stopping=verdict.stopping,
            host=me.host,
            exposed=me.exposed,
            store=me.store,
            durability=me.durability,
            heartbeat_seconds=me.heartbeat_seconds,
            session_timeout_seconds=me.session_timeout_seconds,
            lease_seconds=me.lease_seconds,
        )

    async def _of_fleet(self, principal: Principal) -> list[Finding]:
        """Of the fleet and the queue, or of the fleet alone where some org can't be read."""
        deadline = asyncio.get_running_loop().time() + FLEET_SECONDS
        fleet = await _read("the fleet and the queue", deadline, self._fleet_facts())
        if isinstance(fleet, Finding):
            return [fleet]
        waiting = await _read("the queue", deadline, self._queue_facts(principal, fleet.devices))
        of_queue = [waiting] if isinstance(waiting, Finding) else queue.judge(waiting, fleet)
        return [*agents.judge(fleet, self._me.version), *devices.judge(fleet), *of_queue]

    async def _fleet_facts(self) -> FleetFacts:
        now = wall_ms()
        known = await self._fleet.agents()
        unstarted = {a.agent_id: _unstarted(a, now) for a in await self._fleet.rows()}
        return FleetFacts(
            now=now,
            agents=known,
            devices=await self._fleet.devices(),
            refusals=self._sessions.attendance.refusals(now),
            opened=self._sessions.attendance.opened(now),
            clock_ahead_ms=self._sessions.clocks(),
            unstarted={agent_id: jobs for agent_id, jobs in unstarted.items() if jobs},
        )

    async def _queue_facts(self, principal: Principal, known: Sequence[Device]) -> QueueFacts:
        counts = (await self._overview.stats(principal, None)).queue
        unserved: list[Unserved] = []
        reasons = Reasons(known, wall_ms(), over_quota=False)
        names = sorted(o for o in await self._store.active_orgs() if principal.sees(o))
        for first in range(0, len(names), ORGS_AT_ONCE):
            some = names[first : first + ORGS_AT_ONCE]
            for found in await asyncio.gather(*(self._unserved(org_id, reasons) for org_id in some)):
                unserved += found
        return QueueFacts(counts.queued, counts.retry_wait, counts.oldest_queued_age_seconds, unserved)

    async def _unserved(self, org_id: str, reasons: Reasons) -> list[Unserved]:
        """What waits in an org for a device that is not known, kind by kind; nothing of one that is damaged."""
        try:
            return await self._faults.guard("diagnosis", org_id, self._waiting(org_id, reasons))
        except OrgDamagedError:
            return []  # told

    async def _waiting(self, org_id: str, reasons: Reasons) -> list[Unserved]:
        snapshot = await self._store.snapshots.org(org_id, 0)
        found = [
            (g, q)
            for g in snapshot.groups
            for q in g.queues
            if q.waiting and not reasons.could_serve(g.target, q.requirements, g.pushed)
        ]
        if not found:
            return []
        pushed = {g.app_version_id: g.pushed for g, _ in found}
        going = await self._going(org_id, pushed, reasons)
        left = [(g, q, q.waiting - going[_Kind(g.app_version_id, g.target, q.requirements)]) for g, q in found]
        return [
            Unserved(org_id, g.app_version_id, g.target, _asked(q.requirements), jobs)
            for g, q, jobs in left
            if jobs > 0
        ]

    async def _going(self, org_id: str, pushed: Mapping[str, frozenset[str]], reasons: Reasons) -> Counter[_Kind]:
        """How many of the jobs of some app versions a known device of their second target could serve, by kind."""
        now, found = wall_ms(), Counter[_Kind]()
        for first in range(0, OVERFLOWS_MOST, OVERFLOWS_AT_ONCE):
            ulids = await self._store.reads.overflowing(org_id, first, OVERFLOWS_AT_ONCE)
            for job in await self._store.reads.get(org_id, ulids) if ulids else ():
                if job is None or job.overflow is None or job.app_version_id not in pushed:
                    continue
                ready = job.status is Status.QUEUED and (job.not_before or 0) <= now
                builds = pushed[job.app_version_id]
                if ready and reasons.could_serve(job.overflow.target, job.requirements, builds):
                    found[_Kind(job.app_version_id, job.target, job.requirements)] += 1
            if len(ulids) < OVERFLOWS_AT_ONCE:
                break
        return found


async def _read(what: str, deadline: float, reading: Coroutine[Any, Any, T]) -> T | Finding:
    """What is read until the deadline (loop time, s), or a finding that it could not be."""
    try:
        async with asyncio.timeout_at(deadline):
            return await reading
    except QgjobError as e:
        return words.problem("store.reads", f"{what} could not be read: {e.message}", "ask again")
    except TimeoutError:
        slow = f"{what} could not be read within {FLEET_SECONDS:g} s"
        return words.problem("store.reads", slow, "look at the load of the store and of the coordinator's machine")


def _asked(r: Requirements) -> str:
    named = {
        "platform": r.platform,
        "os_version": r.os_version,
        "device_model": r.device_model,
        "device_id": r.device_id,
        **dict(r.labels),
    }
    return ", ".join(f"{name}={value}" for name, value in named.items() if value is not None)


def _unstarted(agent: AgentRow, now: int) -> int:
    """How many jobs of the last hour could not be started there, where they are enough to tell of."""
    records: dict[Target, list[Record]] = defaultdict(list)
    for device in (d for d in agent.devices if d.present):
        records[device.info.target].append(recent(device.kept.record, now))
    return sum(map(worth_telling, records.values()))
