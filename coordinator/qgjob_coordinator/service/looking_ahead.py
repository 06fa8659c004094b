"""The forecast of this coordinator: its policy's look ahead over the groups of all active orgs and the devices it sees.

Devices of other coordinators count for what the store shows of them: which groups they serve, and not until when. So
with several coordinators an estimate errs on the late side.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from itertools import islice

from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.policy import forecast as policy
from qgjob_coordinator.policy.explain import StartEstimate
from qgjob_coordinator.policy.snapshot import DeviceView, Limits, Snapshot
from qgjob_coordinator.policy.work import Work
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.sessions import Sessions
from qgjob_coordinator.store.codec import group_id
from qgjob_coordinator.store.store import Store

LOOK_SECONDS = 2.0
"""So long a look serves all who ask, but for those who want a fresh one: it reads every active org."""
HEADS = 64


class LookAhead:
    """Answers as service.forecast.Forecast."""

    def __init__(self, store: Store, sessions: Sessions, limits: Limits, weights: Mapping[str, float]) -> None:
        self._store = store
        self._sessions = sessions
        self._limits = limits
        self._weights = weights
        self._last: tuple[float, int, policy.Forecast] | None = None
        self._looking = asyncio.Lock()

    async def starts(
        self, org_id: str, jobs: Sequence[Job], places: Sequence[int | None], *, fresh: bool = False
    ) -> Sequence[StartEstimate | None]:
        """When queued jobs are expected to start; None for those that wait for a time, or that no device comes to."""
        at, forecast = await self._look(fresh=fresh)
        return [self._start(forecast, at, org_id, job, place) for job, place in zip(jobs, places, strict=True)]

    async def free_at(self) -> Mapping[str, int]:
        """When devices of this coordinator's sessions are expected to have done what they hold."""
        return {d.device_id: d.free_at for d in self._sessions.serving()}

    async def group_ends(self, org_id: str) -> Mapping[str, int]:
        """When the waiting work of an org's groups is expected to be done."""
        at, forecast = await self._look()
        found = {}
        for key in forecast.groups():
            end = forecast.end(key) if key[0] == org_id else None
            if end is not None:
                found[key[1]] = at + round(end.seconds * 1000)
        return found

    def _start(
        self, forecast: policy.Forecast, at: int, org_id: str, job: Job, place: int | None
    ) -> StartEstimate | None:
        key = (org_id, group_id(job.app_version_id, job.target))
        work = forecast.work(key)
        if work is None or not place:
            return None
        found = forecast.start(key, _ahead(work, place), place)
        if found is None:
            return None
        return StartEstimate(*(at + round(1000 * s) for s in (found.seconds, found.least, found.most)))

    async def _look(self, *, fresh: bool = False) -> tuple[int, policy.Forecast]:
        """The time (ms) and the forecast of a look that began a moment ago, or, if `fresh`, after this call.

        Whoever asks while a look is under way shares the next one.
        """
        oldest = time.monotonic() - (0.0 if fresh else LOOK_SECONDS)
        async with self._looking:
            if self._last is None or self._last[0] < oldest:
                begun = time.monotonic()
                self._last = begun, *await self._look_now()
            return self._last[1], self._last[2]

    async def _look_now(self) -> tuple[int, policy.Forecast]:
        orgs = sorted(await self._store.active_orgs())
        await self._store.estimates.read()
        groups = [g for o in orgs for g in (await self._store.snapshots.org(o, HEADS)).groups]
        now = wall_ms()
        free, busy = self._devices(now)
        snapshot = Snapshot(
            free,
            tuple(groups),
            self._limits,
            now=now,
            busy=busy,
            weights=self._weights,
            install_seconds=self._store.estimates.install_seconds,
        )
        return now, policy.Forecast(snapshot)

    def _devices(self, now: int) -> tuple[tuple[DeviceView, ...], tuple[DeviceView, ...]]:
        busy = tuple(self._sessions.serving())
        known = {d.device_id for d in busy}
        return tuple(d for d in self._sessions.wanting(0, now) if d.device_id not in known), busy


def _ahead(work: Work, place: int) -> float:
    """Seconds of work before the `place`-th job of a group."""
    heads = sorted(h for q in work.group.queues for h in q.heads)
    seen = list(islice(heads, place - 1))
    mean = work.seconds / max(1, work.left)
    return sum(work.seconds_of(h) for h in seen) + (place - 1 - len(seen)) * mean
