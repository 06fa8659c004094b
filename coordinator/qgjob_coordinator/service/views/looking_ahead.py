"""The forecast of this coordinator: its policy's look ahead over the groups of all active orgs and the devices it sees.

Devices of other coordinators count for what the store shows of them: which groups they serve, and not until when, what
they are, or (but for `whole`) that they idle. So with several coordinators an estimate errs on the late side, and what
only such a device may serve has none. An org that can't be reached is left out: its own jobs have no estimate then, and
those of others are estimated as they are planned, without its waiting ones. So is one whose data are damaged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.policy.forecast import forecast as policy
from qgjob_coordinator.policy.reasons.considered import Judge
from qgjob_coordinator.policy.reasons.pending import StartEstimate
from qgjob_coordinator.policy.reasons.verdict import Verdicts
from qgjob_coordinator.policy.snapshot import HEADS, DeviceView, Limits, Snapshot
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.beside import Beside
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.views.alternatives import alternatives
from qgjob_coordinator.service.views.org_looks import OrgLooks
from qgjob_coordinator.store.names import group_id
from qgjob_coordinator.store.store import Store

PART = "estimates"
LOOK_SECONDS = 2.0
"""So long a look serves all who ask, but for those who want a fresh one: it reads every active org."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen at `at` (ms); the look began at `begun` (monotonic, s)."""

    begun: float
    at: int
    forecast: policy.Forecast
    verdicts: Verdicts


class LookAhead:
    """Answers as service.forecast.Forecast. `quota` is how many attempts each org may hold; None: any number."""

    def __init__(
        self,
        store: Store,
        sessions: Sessions,
        fleet: FleetReader,
        limits: Limits,
        weights: Mapping[str, float],
        quota: int | None = None,
        *,
        faults: OrgFaults,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._fleet = fleet
        self._limits = limits
        self._weights = weights
        self._quota = quota
        self._orgs = OrgLooks(store.snapshots, PART, faults, whole=True)
        # Left out, nobody waits.
        self._away = Beside("estimates", lambda org_id: self._orgs.look(org_id, HEADS), part=PART, faults=faults)
        self._last: _Look | None = None
        self._looking = asyncio.Lock()

    async def starts(
        self, org_id: str, jobs: Sequence[Job], places: Sequence[int | None], *, fresh: bool = False
    ) -> Sequence[StartEstimate | None]:
        """When queued jobs are expected to start; None for those that wait for a time, or that no device comes to."""
        look = await self._look(fresh=fresh)
        return [self._start(look, org_id, job, place) for job, place in zip(jobs, places, strict=True)]

    async def judge(self, job: Job) -> Judge:
        """What the plan says of devices that idle while the job waits."""
        look = await self._look()
        return partial(look.verdicts.of, job, (job.org_id, group_id(job.app_version_id, job.target)))

    async def group_ends(self, org_id: str) -> Mapping[str, int]:
        """When the waiting work of an org's groups is expected to be done, or, where nothing waits, what devices hold
        of them; of those that end as things are."""
        look = await self._look()
        found = {}
        for key in look.forecast.groups():
            end = look.forecast.end(key) if key[0] == org_id else None
            if end is not None:
                found[key[1]] = look.at + round(end.seconds * 1000)
        return found

    def _start(self, look: _Look, org_id: str, job: Job, place: int | None) -> StartEstimate | None:
        key = (org_id, group_id(job.app_version_id, job.target))
        asks = job.requirements, job.avoid_devices
        stands = look.forecast.before(key, job.ulid, place, *asks) if place else None
        found = look.forecast.start(key, *stands, *asks) if stands is not None else None
        if found is None:
            return None
        return StartEstimate(*(look.at + round(1000 * s) for s in (found.seconds, found.least, found.most)))

    async def whole(self) -> Snapshot:
        """All active orgs as they stand, with the devices that idle in sessions of other coordinators too.

        So all coordinators judge alike what may be done once only. Raises StoreUnavailableError.
        """
        async with self._looking:
            seen = await self._seen()
        here = {d.device_id for d in chain(seen.devices, seen.busy)}
        serving = {device_id for group in seen.groups for device_id in group.serving}
        idle = [
            d
            for d in await self._fleet.idle()
            if d.device_id not in here | serving and self._sessions.get(d.agent_id) is None
        ]
        return replace(seen, devices=(*seen.devices, *idle))

    async def close(self) -> None:
        """Ends its tasks."""
        await self._away.close()

    async def _look(self, *, fresh: bool = False) -> _Look:
        """A look that began a moment ago, or, if `fresh`, after this call.

        Whoever asks while a look is under way shares the next one.
        """
        oldest = time.monotonic() - (0.0 if fresh else LOOK_SECONDS)
        async with self._looking:
            if self._last is None or self._last.begun < oldest:
                self._last = await self._look_now(time.monotonic())
            return self._last

    async def _look_now(self, begun: float) -> _Look:
        snapshot = await self._seen()
        return _Look(begun, snapshot.now, policy.Forecast(snapshot), Verdicts(snapshot))

    async def _seen(self) -> Snapshot:
        """A snapshot as the scheduler makes it."""
        self._away.answered()
        orgs = sorted(await self._store.active_orgs() - self._away.orgs)
        await self._store.estimates.read()
        seen, failed = await self._orgs.ask(orgs, HEADS)
        for org_id, error in failed.items():
            self._away.add(org_id, error)
        groups = tuple(g for o in seen for g in o.groups)
        limited = self._quota is not None or self._limits.group_max_devices is not None
        candidates = await alternatives(self._fleet, groups, limited=limited)
        now = wall_ms()
        taking, busy = self._devices(now)
        return Snapshot(
            taking,
            groups,
            self._limits,
            {} if self._quota is None else {o.org_id: max(0, self._quota - o.held) for o in seen},
            candidates,
            now=now,
            busy=busy,
            weights=self._weights,
            install_seconds=self._store.estimates.install_seconds,
        )

    def _devices(self, now: int) -> tuple[tuple[DeviceView, ...], tuple[DeviceView, ...]]:
        """Those that take work now, and those that hold attempts and take none."""
        taking = tuple(self._sessions.wanting(self._limits.batch // 2, now))
        known = {d.device_id for d in taking}
        return taking, tuple(d for d in self._sessions.serving() if d.device_id not in known)
