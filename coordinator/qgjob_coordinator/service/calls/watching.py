"""Watching jobs: a snapshot, then what changes, with a cursor to go on from."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.service import validation
from qgjob_coordinator.service.calls.refusals import job_not_found
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.service.views.pending import Pending
from qgjob_coordinator.store.events import place_of
from qgjob_coordinator.store.store import Store

POLL_SECONDS = 0.25
"""How late a change of another coordinator is seen whose hint was lost."""
MAX_IDS = 1000
PAGE = 500
FINISHED_KEPT = 1_000
"""Of so many jobs that ended a watch knows which version was sent; the events behind a verdict follow soon."""
_CURSOR = re.compile(r"\d{1,20}\.\d{1,20}-\d{1,20}\Z", re.ASCII)


class WatchKind(Enum):
    """What a watch event says."""

    SNAPSHOT = "snapshot"
    READY = "ready"
    TRANSITION = "transition"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One event, and the cursor to go on from after it."""

    kind: WatchKind
    cursor: str
    job: Job | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs of an org are watched. Without a run and ids: all that change, and in the snapshot the unfinished."""

    org_id: str
    run_id: str | None
    ulids: frozenset[str]

    def wants(self, job: Job) -> bool:
        """Whether the job is watched."""
        if self.ulids and job.ulid not in self.ulids:
            return False
        return self.run_id is None or self.run_id in job.run_ids


class Sent:
    """The version of each job that a watch has sent last; of those that ended, the latest."""

    def __init__(self) -> None:
        self._unfinished: dict[str, int] = {}
        self._finished: OrderedDict[str, int] = OrderedDict()

    def __contains__(self, ulid: str) -> bool:
        """Whether the job was sent and has not ended since."""
        return ulid in self._unfinished

    def older_than(self, job: Job) -> bool:
        """Whether this version of the job is news."""
        sent = self._unfinished.get(job.ulid) or self._finished.get(job.ulid, 0)
        return job.version > sent

    def add(self, job: Job) -> None:
        """The job is sent."""
        self._unfinished.pop(job.ulid, None)
        self._finished.pop(job.ulid, None)
        if not job.status.final:
            self._unfinished[job.ulid] = job.version
            return
        self._finished[job.ulid] = job.version
        if len(self._finished) > FINISHED_KEPT:
            self._finished.popitem(last=False)


class Watching:
    """Watch streams of any number of callers."""

    def __init__(self, store: Store, hub: Hub, pending: Pending) -> None:
        self._store = store
        self._hub = hub
        self._pending = pending

    async def filter(
        self, principal: Principal, org_id: object, run_id: object, job_ids: Sequence[str], *, resumed: bool
    ) -> Filter:
        """A checked filter; an alias is watched as the job that it stands for. An org left out is the first id's.

        Raises InvalidError, StoreUnavailableError, and NotFoundError naming the first of `job_ids` that is not there. A
        watch that is `resumed` goes on with those that are left, since retention may have removed some meanwhile.
        """
        org = self._org(principal, org_id, job_ids)
        run = None if run_id is None else validation.check_id("run_id", run_id)
        if len(job_ids) > MAX_IDS:
            raise InvalidError("job_ids", f"has {len(job_ids)} entries; watch at most {MAX_IDS}")
        asked = []
        for i, job_id in enumerate(job_ids):
            job_org, ulid = validation.split_job_id(job_id, f"job_ids[{i}]")
            if job_org != org:
                raise InvalidError(f"job_ids[{i}]", f"is of org {job_org}; watch one org with one stream")
            asked.append(ulid)
        found = await self._store.reads.resolve(org, asked)
        ulids = frozenset(ulid for ulid in found if ulid is not None)
        if None in found and not (resumed and ulids):
            missing = found.index(None)
            raise job_not_found(job_ids[missing], f"job_ids[{missing}]")
        return Filter(org, run, ulids)

    def _org(self, principal: Principal, org_id: object, job_ids: Sequence[str]) -> str:
        if org_id or not job_ids:
            org = validation.check_id("org_id", org_id)
            principal.require_org(org)
            return org
        org, _ = validation.split_job_id(job_ids[0], "job_ids[0]")
        if not principal.sees(org):
            raise job_not_found(job_ids[0], "job_ids[0]")
        return org

    async def watch(self, wanted: Filter, cursor: str | None, alive: Callable[[], bool]) -> AsyncIterator[WatchEvent]:
        """Events while the caller is `alive`: an abandoned call is not always cancelled.

        Raises InvalidError for a cursor that is none, StoreUnavailableError.
        """
        changed = self._hub.subscribe(wanted.org_id)
        try:
            position = await self._resume(wanted.org_id, cursor) if cursor else None
            lost = position is None and cursor is not None
            while alive():
                sent = Sent()
                if position is None:
                    epoch = self._store.epoch
                    position = await self._store.events.last_id(wanted.org_id)
                    if lost:
                        yield WatchEvent(WatchKind.RESET, self._cursor(position))
                    async for job in self._snapshot(wanted):
                        sent.add(job)
                        yield WatchEvent(WatchKind.SNAPSHOT, self._cursor(position), job)
                    yield WatchEvent(WatchKind.READY, self._cursor(position))
                else:
                    epoch = self._store.epoch
                async for event in self._follow(wanted, position, epoch, sent, changed, alive):
                    yield event
                position, lost = None, True
        finally:
            self._hub.unsubscribe(wanted.org_id, changed)

    async def _follow(
        self,
        wanted: Filter,
        position: str,
        epoch: int,
        sent: Sent,
        changed: asyncio.Event,
        alive: Callable[[], bool],
    ) -> AsyncIterator[WatchEvent]:
        """Transitions after `position`; ends when some may be lost: it was too slow, or the store is another."""
        while alive():
            changed.clear()
            entries = await self._store.events.after(wanted.org_id, position)
            if entries and await self._store.events.trimmed(wanted.org_id, position):
                return
            if self._store.epoch != epoch:
                return
            for id_, transitions in entries:
                ulids = list(dict.fromkeys(t.ulid for t in transitions))
                for job in await self._read(wanted, ulids, sent):
                    yield WatchEvent(WatchKind.TRANSITION, self._cursor(id_), job)
                position = id_
            if not entries:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await changed.wait()

    async def _read(self, wanted: Filter, ulids: list[str], sent: Sent) -> list[Job]:
        """Jobs that are wanted and newer than what was sent of them."""
        if wanted.ulids:
            ulids = [u for u in ulids if u in wanted.ulids]
        news = []
        for job in await self._store.reads.get(wanted.org_id, ulids):
            if job is None or not sent.older_than(job):
                continue
            if not wanted.wants(job) and job.ulid not in sent:
                continue
            sent.add(job)
            news.append(job)
        return news

    async def _snapshot(self, wanted: Filter) -> AsyncIterator[Job]:
        reads = self._store.reads
        if wanted.ulids or wanted.run_id is not None:
            ulids = sorted(wanted.ulids) or await reads.run_ulids(wanted.org_id, str(wanted.run_id))
            for i in range(0, len(ulids), PAGE):
                jobs = [j for j in await reads.get(wanted.org_id, ulids[i : i + PAGE]) if j and wanted.wants(j)]
                await self._pending.explain(jobs)
                for job in jobs:
                    yield job
            return
        for status in (Status.RUNNING, Status.SCHEDULED, Status.QUEUED):
            after = None
            while True:
                page = await reads.page(wanted.org_id, status, None, PAGE, after)
                await self._pending.explain(page.jobs)
                for job in page.jobs:
                    yield job
                after = page.next_
                if after is None:
                    break

    def _cursor(self, position: str) -> str:
        return f"{self._store.epoch}.{position}"

    async def _resume(self, org_id: str, cursor: str) -> str | None:
        """The event id of a cursor; None when it was trimmed or is of another life of the store."""
        if not _CURSOR.match(cursor):
            raise InvalidError("cursor", f"{validation.shown(cursor)} is no cursor of this service; leave it out")
        epoch, _, position = cursor.partition(".")
        if int(epoch) != self._store.epoch:
            return None
        if place_of(position) > place_of(await self._store.events.last_id(org_id)):
            return None
        return None if await self._store.events.trimmed(org_id, position) else position
