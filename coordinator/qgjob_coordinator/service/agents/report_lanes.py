"""Reports of one session on their way to the store, each org's alone: none waits for another one's part of it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from qgjob_coordinator.service.agents.messages import Report
from qgjob_coordinator.service.agents.report_inbox import ReportInbox

MOST = 1000
"""Reports in one round; bounds how long a script may hold the store."""
MOST_WAITING = 20_000
"""Above it the stream is not read, until half of them are written: the agent's spool has more room than our memory."""


class Unwritten(NamedTuple):
    """What a round could not write, and after how many seconds it is tried again."""

    reports: Sequence[Report] = ()
    seconds: float = 0.0
    alone: bool = False
    """Other jobs go on meanwhile."""


class _Lane:
    """One org's: what is to be written, and what rests until a time, by job. What comes of such a job wakes it."""

    def __init__(self, tell: Callable[[Sequence[int]], None]) -> None:
        self._tell = tell
        self._inbox = ReportInbox()
        self._resting: dict[str, list[Report]] = {}
        self._due_at = 0.0
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._inbox) + sum(map(len, self._resting.values()))

    def put(self, reports: Sequence[Report]) -> None:
        """Reports came in."""
        self._wake({report.ulid for report in reports} & self._resting.keys())
        self._tell(self._inbox.put(reports))
        self._changed.set()

    async def take(self) -> list[Report]:
        """The reports of the next round, when there are any; none if `clear` came first."""
        self._changed.clear()
        if not self._inbox and self._resting:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._due_at):
                    await self._changed.wait()
        if self._resting and asyncio.get_running_loop().time() >= self._due_at:
            self._wake(set(self._resting))
        return self._inbox.take(MOST)

    def give_back(self, reports: Sequence[Report]) -> None:
        """They are the next again."""
        self._tell(self._inbox.give_back(reports))

    def rest(self, left: Unwritten) -> None:
        """They are taken again when their time has come, with all that rests, or with what comes of their jobs."""
        due_at = asyncio.get_running_loop().time() + left.seconds
        self._due_at = min(self._due_at, due_at) if self._resting else due_at
        for report in left.reports:
            self._resting.setdefault(report.ulid, []).append(report)

    def clear(self) -> None:
        """Forgets all."""
        self._inbox.clear()
        self._resting.clear()
        self._changed.set()

    def _wake(self, ulids: set[str]) -> None:
        woken = [ulid for ulid in self._resting if ulid in ulids]
        self._tell(self._inbox.give_back([report for ulid in woken for report in self._resting.pop(ulid)]))


class ReportLanes:
    """An inbox and a writer for each org that has reports.

    `write` takes the reports of a round and gives back those that could not be written. `replaced` is told the ids of
    progress reports that newer ones replaced. `failed` is called when `write` raises; then no more is taken.
    """

    def __init__(
        self,
        write: Callable[[str, Sequence[Report]], Awaitable[Unwritten]],
        replaced: Callable[[Sequence[int]], None],
        failed: Callable[[Exception], None],
        most: int = MOST_WAITING,
    ) -> None:
        self._write = write
        self._replaced = replaced
        self._failed = failed
        self._most = most
        self._lanes: dict[str, _Lane] = {}
        self._writers: dict[str, asyncio.Task[None]] = {}
        self._over = False
        self._closing = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def put(self, reports: Sequence[Report]) -> None:
        """Reports came in; they are written with whatever else has come by the time their org's part is free."""
        if self._over:
            return
        by_org: dict[str, list[Report]] = defaultdict(list)
        for report in reports:
            by_org[report.org_id].append(report)
        for org_id, some in by_org.items():
            lane = self._lanes.get(org_id)
            if lane is None:
                lane = self._lanes[org_id] = _Lane(self._tell)
                self._writers[org_id] = asyncio.create_task(self._run(org_id, lane), name="reports")
            lane.put(some)
        if self._waiting() > self._most:
            self._room.clear()

    async def room(self) -> None:
        """Returns when more reports may be put: half of the most that may wait are written, if there were too many."""
        await self._room.wait()

    async def close(self) -> None:
        """Waits for the rounds that are under way; what is left stays in the agent's spool."""
        self._end()
        await asyncio.gather(*self._writers.values(), return_exceptions=True)

    def _end(self) -> None:
        self._over = True
        self._closing.set()
        for lane in self._lanes.values():
            lane.clear()
        self._room.set()

    def _waiting(self) -> int:
        return sum(map(len, self._lanes.values()))

    def _tell(self, report_ids: Sequence[int]) -> None:
        if report_ids:
            self._replaced(report_ids)

    async def _run(self, org_id: str, lane: _Lane) -> None:
        try:
            while lane and not self._over:
                batch = await lane.take()
                if self._waiting() <= self._most // 2:
                    self._room.set()
                if batch:
                    await self._put_back(lane, await self._write(org_id, batch))
        except Exception as e:  # noqa: BLE001 - who made this tells it
            self._end()
            self._failed(e)
        finally:
            del self._lanes[org_id], self._writers[org_id]

    async def _put_back(self, lane: _Lane, left: Unwritten) -> None:
        """Not acknowledged, so the agent keeps them; scripts may run twice, so they are written again."""
        if not left.reports or self._over:
            return
        if left.alone:
            lane.rest(left)
            return
        lane.give_back(left.reports)
        with suppress(TimeoutError):
            async with asyncio.timeout(left.seconds):
                await self._closing.wait()
