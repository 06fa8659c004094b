"""Reads of jobs by id and by index."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from dataclasses import dataclass
from heapq import merge
from typing import Any, cast

from redis.exceptions import ResponseError

from qgjob_coordinator.errors import JobDamagedError
from qgjob_coordinator.model.enums import Status, Target
from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.store import codec, keys, names
from qgjob_coordinator.store.commands import Commands
from qgjob_coordinator.store.scripts import ScriptRunner
from qgjob_coordinator.store.shapes import usable

CHUNK = 500
OLDEST_FIRST = 20
MOST_DAMAGED = 5
"""So many damaged jobs are named: a person takes them out one by one."""
LOOKED_AT = 5000
"""So many unfinished jobs are looked at for these."""
_HELD = (Status.SCHEDULED, Status.RUNNING)
_INDEX = {Status.QUEUED: "a", Status.COMPLETED: "c", Status.FAILED: "f", Status.CANCELLED: "x"}

Cursor = tuple[int, str]
"""(order, ulid) of the last job of a page."""


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs, newest first; `next_` is None on the last page."""

    jobs: list[Job]
    next_: Cursor | None


class JobReader:
    """Reads. All raise StoreUnavailableError.

    Waiting and running jobs share one index: what holds a lease is found by the leases, whose number the fleet bounds.
    """

    def __init__(self, runner: ScriptRunner, call: Commands) -> None:
        self._runner = runner
        self._call = call

    async def get(self, org_id: str, ulids: Sequence[str]) -> list[Job | None]:
        """Jobs in the order asked for; None for one that is not there. Aliases are followed.

        Raises JobDamagedError for the first that can't be read.
        """
        jobs: list[Job | None] = []
        for i in range(0, len(ulids), CHUNK):
            reply = await self._kept(org_id, list(ulids[i : i + CHUNK]))
            jobs += [_decoded(org_id, *r) if r else None for r in reply]
        return jobs

    async def _kept(self, org_id: str, ulids: list[str]) -> list[Any]:
        """What is kept of jobs. Raises JobDamagedError for one of another type: `read` can't name it."""
        try:
            return cast("list[Any]", await self._runner.run("read", keys.org(org_id), ulids))
        except ResponseError as e:
            damaged = await self.unusable(org_id, ulids)
            for ulid in ulids:
                if ulid in damaged:
                    raise JobDamagedError(org_id, ulid, e) from e
            raise

    async def unusable(self, org_id: str, ulids: Sequence[str]) -> set[str]:
        """Those of the jobs that are there and can't be read. No aliases."""
        found: set[str] = set()
        for i in range(0, len(ulids), CHUNK):
            chunk = list(ulids[i : i + CHUNK])
            reply = await self._runner.run("unusable", keys.org(org_id), chunk)
            found.update(ulid for ulid, r in zip(chunk, reply, strict=True) if not _reads(org_id, ulid, r))
        return found

    async def damaged_jobs(self, org_id: str) -> list[str]:
        """Ids of the first MOST_DAMAGED jobs that can't be used, of the LOOKED_AT oldest unfinished ones and of the
        oldest CHUNK of each verdict.
        """
        found: list[str] = []
        for index, most in (("a", LOOKED_AT), ("c", CHUNK), ("f", CHUNK), ("x", CHUNK)):
            for first in range(0, most, CHUNK):
                ulids: list[str] = await self._call("ZRANGE", f"{keys.org(org_id)}ix:{index}", first, first + CHUNK - 1)
                damaged = await self.unusable(org_id, ulids)
                found += [f"{org_id}~{ulid}" for ulid in ulids if ulid in damaged]
                if len(found) >= MOST_DAMAGED:
                    return found[:MOST_DAMAGED]
                if len(ulids) < CHUNK:
                    break
        return found

    async def resolve(self, org_id: str, ulids: Sequence[str]) -> list[str | None]:
        """The ulid of the job that each leads to, an alias to that of the job it stands for; None where there is none.

        One call, however many they are.
        """
        if not ulids:
            return []
        reply = await self._runner.run("resolve", keys.org(org_id), list(ulids))
        return [ulid or None for ulid in reply]

    async def page(
        self, org_id: str, status: Status | None, run_id: str | None, size: int, after: Cursor | None
    ) -> Page:
        """One page of an org's jobs, or of a run's."""
        if run_id is not None:
            return await self._page_of(org_id, [f"rj:{run_id}"], size, after, {status} if status else None)
        if status in _HELD:
            return await self._page_of_held(org_id, status, size, after)
        if status is not None:
            return await self._page_of(org_id, [f"ix:{_INDEX[status]}"], size, after, {status})
        return await self._page_of(org_id, [f"ix:{x}" for x in "acfx"], size, after, None)

    async def _page_of(
        self, org_id: str, indexes: list[str], size: int, after: Cursor | None, wanted: set[Status] | None
    ) -> Page:
        jobs: list[Job] = []
        cursor = after
        while True:
            entries = await self._entries(org_id, indexes, CHUNK if wanted else size + 1, cursor)
            found = await self.get(org_id, [ulid for _, ulid in entries])
            for entry, job in zip(entries, found, strict=True):
                if job is not None and (wanted is None or job.status in wanted):
                    if len(jobs) == size:
                        return Page(jobs, cursor)
                    jobs.append(job)
                cursor = entry
            if len(entries) < (CHUNK if wanted else size + 1):
                return Page(jobs, None)

    async def _entries(
        self, org_id: str, indexes: list[str], count: int, after: Cursor | None
    ) -> list[tuple[int, str]]:
        """The next `count` (order, ulid) of all `indexes` together, newest first."""
        rows = await asyncio.gather(*(self._index(org_id, x, count, after) for x in indexes))
        return list(merge(*rows, reverse=True))[:count]

    async def _index(self, org_id: str, index: str, count: int, after: Cursor | None) -> list[tuple[int, str]]:
        """The next `count` (order, ulid). The place is kept by value: jobs that leave the index meanwhile hide none."""
        highest = "+inf" if after is None else str(after[0])
        limit = count + 1  # the job at `after` comes once more
        while True:
            flat: list[tuple[str, float]] = await self._call(
                "ZREVRANGEBYSCORE", f"{keys.org(org_id)}{index}", highest, "-inf", "WITHSCORES", "LIMIT", 0, limit
            )
            entries = ((int(order), ulid) for ulid, order in flat)
            rows = [entry for entry in entries if after is None or entry < after]
            if len(rows) >= count or len(flat) < limit:
                return rows[:count]
            limit *= 2  # several jobs have the order of `after`

    async def walk(self, org_id: str, run_id: str | None, statuses: Set[Status]) -> AsyncIterator[list[Job]]:
        """The jobs of a run, or without one all unfinished jobs, that have one of the statuses: newest first, in parts
        of at most CHUNK. What comes or leaves during the walk makes it miss no other job.
        """
        if run_id is None and statuses <= set(_HELD):
            held = [j for j in await self.held(org_id) if j.status in statuses]
            for i in range(0, len(held), CHUNK):
                yield held[i : i + CHUNK]
            return
        index = "ix:a" if run_id is None else f"rj:{run_id}"
        after: Cursor | None = None
        while entries := await self._index(org_id, index, CHUNK, after):
            found = await self.get(org_id, [ulid for _, ulid in entries])
            if wanted := [j for j in found if j is not None and j.status in statuses]:
                yield wanted
            after = entries[-1]

    async def _page_of_held(self, org_id: str, status: Status, size: int, after: Cursor | None) -> Page:
        held = [j for j in await self.held(org_id) if j.status is status]
        orders = await self._orders(org_id, held)
        rows = sorted(
            ((orders[j.ulid], j.ulid, j) for j in held if j.ulid in orders), key=lambda r: r[:2], reverse=True
        )
        rows = [r for r in rows if after is None or r[:2] < after]
        more = len(rows) > size
        return Page([r[2] for r in rows[:size]], rows[size - 1][:2] if more else None)

    async def _orders(self, org_id: str, jobs: Sequence[Job]) -> dict[str, int]:
        if not jobs:
            return {}
        scores: list[float | None] = await self._call("ZMSCORE", f"{keys.org(org_id)}ix:a", *(j.ulid for j in jobs))
        return {j.ulid: int(s) for j, s in zip(jobs, scores, strict=True) if s is not None}

    async def held(self, org_id: str) -> list[Job]:
        """All jobs of the org that have a lease."""
        agents: list[str] = await self._call("HKEYS", f"{keys.org(org_id)}fl")
        ulids: set[str] = set()
        for agent in agents:
            ulids |= set(await self.leased(org_id, agent))
        return [j for j in await self.get(org_id, sorted(ulids)) if j is not None]

    async def leased(self, org_id: str, agent_id: str) -> list[str]:
        """ULIDs of the jobs of the org that the agent has a lease of."""
        return list(await self._call("SMEMBERS", f"{keys.org(org_id)}la:{agent_id}"))

    async def revoked(self, org_id: str, agent_id: str) -> list[str]:
        """Tokens of the agent's revoked leases."""
        members: list[str] = await self._call("SMEMBERS", f"{keys.org(org_id)}rv:{agent_id}")
        return [m.split(" ")[1] for m in members]

    async def has_run(self, org_id: str, run_id: str) -> bool:
        """Whether the run has a job, or had some until a cancel left them to others who want them."""
        org = keys.org(org_id)
        return bool(await self._call("EXISTS", f"{org}rj:{run_id}", f"{org}rl:{run_id}"))

    async def left_at(self, org_id: str, run_id: str) -> int | None:
        """When a cancel last took a job off the run that others want (ms); None where it did not, or long ago."""
        found: str | None = await self._call("GET", f"{keys.org(org_id)}rl:{run_id}")
        return None if found is None else int(found)

    async def run_ulids(self, org_id: str, run_id: str) -> list[str]:
        """All jobs of a run, oldest first."""
        return list(await self._call("ZRANGE", f"{keys.org(org_id)}rj:{run_id}", 0, -1))

    async def due_deadlines(self, org_id: str, now: int, limit: int) -> list[str]:
        """Jobs whose queue deadline has come."""
        return list(await self._call("ZRANGEBYSCORE", f"{keys.org(org_id)}qx", "-inf", now, "LIMIT", 0, limit))

    async def due_retries(self, org_id: str, now: int, limit: int) -> list[str]:
        """Jobs whose not_before has come, the longest due first."""
        return list(await self._call("ZRANGEBYSCORE", f"{keys.org(org_id)}dl", "-inf", now, "LIMIT", 0, limit))

    async def due_overflows(self, org_id: str, now: int, limit: int) -> list[str]:
        """Jobs whose overflow is to be judged, the longest due first."""
        return list(await self._call("ZRANGEBYSCORE", f"{keys.org(org_id)}ov", "-inf", now, "LIMIT", 0, limit))

    async def overflowing(self, org_id: str, first: int, limit: int) -> list[str]:
        """Jobs that may still go to their second target, from the `first` of them on, counted from 0."""
        return list(await self._call("ZRANGE", f"{keys.org(org_id)}ov", first, first + limit - 1))

    async def positions(self, org_id: str, ulids: Sequence[str]) -> list[int | None]:
        """Places of queued jobs among the ready jobs of their groups, from 1; None for one that is on no queue."""
        if not ulids:
            return []
        reply = await self._runner.run("positions", keys.org(org_id), list(ulids))
        return [int(x) or None for x in reply]

    async def counters(self, org_id: str) -> tuple[dict[tuple[Status, Target], int], int]:
        """Jobs by (status, target); attempts that found their build installed."""
        flat: Mapping[str, str] = await self._call("HGETALL", f"{keys.org(org_id)}ct")
        jobs: dict[tuple[Status, Target], int] = {}
        for field, n in flat.items():
            if len(field) == 2:
                jobs[codec.LETTER_STATUS[field[0]], names.LETTER_TARGET[field[1]]] = int(n)
        return jobs, int(flat.get("saved", "0"))

    async def installs(self, orgs: Sequence[str]) -> int:
        """Installations that devices did for these orgs, by the counts of the fleet."""
        counts: Sequence[str | None] = await self._call("HMGET", f"{keys.FLEET}in", *orgs) if orgs else ()
        return sum(int(n or 0) for n in counts)

    async def all_installs(self) -> Mapping[str, int]:
        """The same of each org, those too of which nothing else is left."""
        counts: Mapping[str, str] = await self._call("HGETALL", f"{keys.FLEET}in")
        return {org_id: int(n) for org_id, n in counts.items()}

    async def oldest_waiting_at(self, org_id: str) -> int | None:
        """When the oldest queued job was accepted. What holds a lease is older as a rule, so it looks on behind it."""
        start, size = 0, OLDEST_FIRST
        while True:
            ulids: list[str] = await self._call("ZRANGE", f"{keys.org(org_id)}ix:a", start, start + size - 1)
            for job in await self.get(org_id, ulids):
                if job is not None and job.status is Status.QUEUED:
                    return job.created_at
            if len(ulids) < size:
                return None
            start, size = start + size, CHUNK

    async def delayed_count(self, org_id: str) -> int:
        """Jobs that wait for their not_before."""
        return int(await self._call("ZCARD", f"{keys.org(org_id)}dl"))


def _decoded(org_id: str, ulid: str, flat: list[Any], text: str) -> Job:
    """A job as `read` answers with it. Raises JobDamagedError."""
    try:
        return codec.decode_job(org_id, ulid, codec.pairs(flat), text)
    except Exception as e:
        raise JobDamagedError(org_id, ulid, e) from e


def _reads(org_id: str, ulid: str, kept: list[Any] | int) -> bool:
    """Whether what `unusable` answers of a job is a job, or none at all."""
    if kept == 1:
        return False
    if kept:
        flat, text = cast("list[Any]", kept)
        fields = codec.pairs(flat)
        if not usable(fields):
            return False
        try:
            codec.decode_job(org_id, ulid, fields, text)
        except Exception:  # noqa: BLE001 - that is what is asked; who asks tells the error that it met before
            return False
    return True
