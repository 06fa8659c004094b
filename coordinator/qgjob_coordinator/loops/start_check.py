"""Compares estimated starts with what happened, for a sample of the jobs that wait.

Submissions leave the name of one job each, as long as few are left. A moment later those that still wait are estimated
as `ExplainJob` would do it, and remembered. When they should have started, the store is asked when they did: it knows
that too of jobs that another coordinator gave out, and no report of an agent has to pass by here. Nobody waits for any
of this, and it takes a small part of the process: the longer a look takes, the rarer it is.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops.each_org import EachOrg
from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.model.jobs import Job, JobSpec
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.views.forecast import Forecast
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry

PART = "start_check"
SETTLE_SECONDS = 0.25
"""By then a job that a device was free for has gone to it, and is no question."""
PAUSE_SECONDS = 5.0
BUSY_SHARE = 0.01
"""Of the process's time, the part that this may take. What else the process does meanwhile counts too."""
MOST_NAMED = 64
MOST_REMEMBERED = 1000
MOST_ASKED = 100
"""Jobs that the store is asked for at once."""
SHORTEST_WAIT_MS = 1000
"""Errors of shorter waits are in shares of this."""
OVERDUE_SHARE = 0.1
"""A job that has not started is asked for again when it has waited longer by this share."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, order=True, slots=True)
class _Told:
    """A job's estimate, made at `told_at` when it had `tried` attempts; asked for next at `ask_at`. In ms."""

    ask_at: int
    ulid: str
    org_id: str = field(compare=False)
    told_at: int = field(compare=False)
    expected_at: int = field(compare=False)
    tried: int = field(compare=False)


class StartCheck:
    """Feeds `Telemetry.start_error`."""

    def __init__(self, store: Store, forecast: Forecast, telemetry: Telemetry, faults: OrgFaults) -> None:
        self._store = store
        self._forecast = forecast
        self._telemetry = telemetry
        self._faults = faults
        self._named: list[tuple[str, str]] = []
        self._remembered: list[_Told] = []  # a heap
        self._wake = asyncio.Event()

    def accepted(self, specs: Sequence[JobSpec]) -> None:
        """Jobs of one submission were accepted: one of them may be looked at."""
        if len(self._named) < MOST_NAMED:
            spec = specs[0] if len(specs) == 1 else random.choice(specs)  # noqa: S311 - a sample
            self._named.append((spec.org_id, spec.ulid))
            self._wake.set()

    async def run(self) -> None:
        """Checks for ever."""
        while True:
            if not self._remembered:
                await self._wake.wait()
            await asyncio.sleep(SETTLE_SECONDS)
            begun = time.thread_time()
            try:
                await self.round()
            except StoreUnavailableError as e:
                log.debug("starts_not_checked", error=e.message)
            await asyncio.sleep(max(PAUSE_SECONDS, (time.thread_time() - begun) / BUSY_SHARE))

    async def round(self) -> None:
        """Estimates the jobs that were named, and checks those that are due. Raises StoreUnavailableError."""
        self._wake.clear()
        named, self._named = self._named, []
        by_org: dict[str, list[str]] = defaultdict(list)
        for org_id, ulid in named[: MOST_REMEMBERED - len(self._remembered)]:
            by_org[org_id].append(ulid)
        orgs = EachOrg(self._faults, at_once=1)
        await orgs.serve(PART, by_org, lambda org_id: self._estimate(org_id, by_org[org_id]))
        await self._check(orgs, wall_ms())
        orgs.tell()

    async def _estimate(self, org_id: str, ulids: Sequence[str]) -> None:
        found = await self._store.reads.get(org_id, ulids)
        jobs = [job for job in found if job is not None and job.status is Status.QUEUED]
        if not jobs:
            return
        places = await self._store.reads.positions(org_id, [job.ulid for job in jobs])
        starts = await self._forecast.starts(org_id, jobs, places, fresh=True)
        now = wall_ms()
        for job, start in zip(jobs, starts, strict=True):
            if start is not None:
                told = _Told(max(start.at, now), job.ulid, org_id, now, start.at, len(job.attempts))
                heapq.heappush(self._remembered, told)

    async def _check(self, orgs: EachOrg, now: int) -> None:
        """Asks the store for those that should have started. Those of which the answer does not come are let go."""
        due: dict[str, list[_Told]] = defaultdict(list)
        for _ in range(MOST_ASKED):
            if not self._remembered or self._remembered[0].ask_at > now:
                break
            told = heapq.heappop(self._remembered)
            due[told.org_id].append(told)

        async def compare(org_id: str) -> None:
            jobs = await self._store.reads.get(org_id, [told.ulid for told in due[org_id]])
            for told, job in zip(due[org_id], jobs, strict=True):
                if job is not None:
                    self._compare(told, job, now)

        await orgs.serve(PART, due, compare)

    def _compare(self, told: _Told, job: Job, now: int) -> None:
        started_at = next((a.started_at for a in job.attempts[told.tried :] if a.started_at is not None), None)
        if started_at is not None:
            wait = max(started_at - told.told_at, SHORTEST_WAIT_MS)
            self._telemetry.start_error.observe(abs(told.expected_at - started_at) / wait)
        elif not job.status.final:
            later = max(SHORTEST_WAIT_MS, round(OVERDUE_SHARE * (now - told.told_at)))
            again = _Told(now + later, told.ulid, told.org_id, told.told_at, told.expected_at, told.tried)
            heapq.heappush(self._remembered, again)
