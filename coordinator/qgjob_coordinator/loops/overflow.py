"""Sends jobs to their second targets whose wait for the first one is expected to be too long.

The timers say which orgs have such jobs to be judged, so that others cost nothing. Any number of coordinators do this:
a job that another one judged, or gave to a device, has another version by then, and is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from qgjob_coordinator.loops.due_orgs import LOOK_SECONDS, DueOrgs
from qgjob_coordinator.loops.each_org import EachOrg
from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.policy.forecast.overflow import Candidate, Judgement, judge
from qgjob_coordinator.policy.rank import ORDER_EPOCH_MS, ORDERS_PER_MS, queue_score
from qgjob_coordinator.policy.reasons.overflow import waits_since
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.halving import Halving, of_jobs
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.transitions import tell_moved
from qgjob_coordinator.service.views.looking_ahead import LookAhead
from qgjob_coordinator.sight import Sight
from qgjob_coordinator.store.names import group_id
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.waiting import Judged, OverflowWord
from qgjob_coordinator.telemetry import Telemetry

PART = "overflow"
MOST = 500
"""Jobs of an org that are judged at a look; the others are the first of the next one."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A job whose overflow is to be judged; as a `candidate`, unless it is past that, which the store will find too."""

    ulid: str
    job: Job | None
    candidate: Candidate | None


def _waits(ulid: str, job: Job | None, place: int | None) -> _Waiting:
    """`place` is the job's in its group."""
    j = job
    if j is None or j.status is not Status.QUEUED or j.overflow is None or j.overflow.moved_at is not None:
        return _Waiting(ulid, job, None)
    candidate = Candidate(
        j.org_id,
        j.ulid,
        j.app_version_id,
        group_id(j.app_version_id, j.target),
        group_id(j.app_version_id, j.overflow.target),
        j.overflow.target,
        queue_score(j.priority, (j.created_at - ORDER_EPOCH_MS) * ORDERS_PER_MS),
        place,
        waits_since(j, j.overflow),
        j.overflow.after_ms,
        j.requirements,
    )
    return _Waiting(ulid, job, candidate)


class Overflow:
    """Judges the jobs of the orgs that are `due`, all in one look."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        looks: LookAhead,
        telemetry: Telemetry,
        faults: OrgFaults,
        *,
        log_transitions: bool,
    ) -> None:
        self._store = store
        self._faults = faults
        self._hub = hub
        self._looks = looks
        self._telemetry = telemetry
        self._log_transitions = log_transitions
        self._orgs = DueOrgs(Sight("overflow_blind", log))
        hub.overflow_due = self.due

    def due(self, org_id: str) -> None:
        """The org has jobs to be judged. It is told again for as long as it has."""
        self._orgs.add(org_id)

    async def run(self) -> None:
        """Judges for ever."""
        await self._orgs.run(self.round)

    async def round(self) -> None:
        """Judges what is due, whatever orgs can't be reached or are damaged.

        Raises StoreUnavailableError: OrgsAwayError, when all others were served.
        """
        orgs, waiting = EachOrg(self._faults), dict[str, list[_Waiting]]()
        met: dict[str, Exception] = {}

        async def read(org_id: str) -> None:
            waiting[org_id], error = await self._waiting(org_id)
            if error is not None:
                met[org_id] = error

        async def commit(org_id: str) -> None:
            await self._commit(org_id, waiting[org_id], judged, met.get(org_id))

        await orgs.serve(PART, self._orgs.take(), read, last=False)
        # Behind them: a look is never older than the jobs that it judges.
        judged = await self._judge([w for found in waiting.values() for w in found])
        await orgs.serve(PART, waiting, commit)
        orgs.tell()

    async def _waiting(self, org_id: str) -> tuple[list[_Waiting], Exception | None]:
        """Those that are to be judged, but for some that can't be used, and what was met at these."""
        found: list[_Waiting] = []

        async def read(ulids: Sequence[str]) -> None:
            jobs = await self._store.reads.get(org_id, ulids)
            places = await self._store.reads.positions(org_id, ulids)
            found.extend([_waits(*row) for row in zip(ulids, jobs, places, strict=True)])  # all of them, or none

        ulids = await self._store.reads.due_overflows(org_id, wall_ms(), MOST)
        halving = Halving(read, of_jobs(self._store.reads, org_id, lambda ulid: [ulid]))
        if ulids:
            await halving.go(ulids)
        return found, halving.error

    async def _judge(self, waiting: Iterable[_Waiting]) -> dict[tuple[str, str], Judgement]:
        """By org and ULID."""
        candidates = [c for w in waiting if (c := w.candidate) is not None]
        found = judge(await self._looks.whole(), candidates) if candidates else []
        return {(c.org_id, c.ulid): j for c, j in zip(candidates, found, strict=True)}

    async def _commit(
        self,
        org_id: str,
        waiting: Sequence[_Waiting],
        judged: Mapping[tuple[str, str], Judgement],
        met: Exception | None,
    ) -> None:
        """One that can't be used keeps back no other one: what was met, also before, is raised when these are told."""

        async def tell(some: Sequence[_Waiting]) -> None:
            await self._tell(org_id, some, judged)

        halving = Halving(tell, of_jobs(self._store.reads, org_id, lambda w: [w.ulid]))
        if waiting:
            await halving.go(waiting)
        if (error := met or halving.error) is not None:
            raise error

    async def _tell(
        self, org_id: str, waiting: Sequence[_Waiting], judged: Mapping[tuple[str, str], Judgement]
    ) -> None:
        rows = [_row(w, judged.get((org_id, w.ulid))) for w in waiting]
        now = wall_ms()
        words = await self._store.jobs.overflow(org_id, rows, now)
        moved = [
            _moved(w.job, row, now)
            for w, row, word in zip(waiting, rows, words, strict=True)
            if word is OverflowWord.MOVED and w.job is not None
        ]
        if moved:
            self._telemetry.overflows.update(job.target.value for job in moved)
            if self._log_transitions:
                tell_moved(moved)
            self._hub.work(org_id)
            self._hub.changed(org_id)


def _row(w: _Waiting, judgement: Judgement | None) -> Judged:
    """What the store is told of a job; one that nobody judged stays, if it is still there."""
    job = w.job
    if job is None or job.overflow is None or judgement is None:
        version = 0 if job is None else job.version
        return Judged(w.ulid, version, "", None, None, wall_ms() + round(1000 * LOOK_SECONDS))
    to = job.overflow.target if judgement.moves else None
    return Judged(w.ulid, job.version, job.app_version_id, to, judgement.expected_wait_ms, judgement.again)


def _moved(job: Job, row: Judged, now: int) -> Job:
    """The job as it went, at `now`."""
    if job.overflow is None or row.move_to is None:
        return job
    gone = replace(job.overflow, moved_from=job.target, moved_at=now, expected_wait_ms=row.expected_wait_ms)
    return replace(job, target=row.move_to, overflow=gone)
