"""Reports of one session on their way to the store, each org's alone: none waits for another one's part of it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from qgjob_coordinator.service.agents.messages import Report
from qgjob_coordinator.service.agents.report_inbox import ReportInbox

MOST = 1000
"""Reports in one round; bounds how long a script may hold the store."""
MOST_WAITING = 20_000
"""Above it the stream is not read, until half of them are written: the agent's spool has more room than our memory."""


class ReportLanes:
    """An inbox and a writer for each org that has reports.

    `write` takes the reports of a round and gives back those that could not be written, and after how many seconds they
    are tried again. `replaced` is told the ids of progress reports that newer ones replaced. `failed` is called when
    `write` raises; then no more is taken.
    """

    def __init__(
        self,
        write: Callable[[str, Sequence[Report]], Awaitable[tuple[Sequence[Report], float]]],
        replaced: Callable[[Sequence[int]], None],
        failed: Callable[[Exception], None],
        most: int = MOST_WAITING,
    ) -> None:
        self._write = write
        self._replaced = replaced
        self._failed = failed
        self._most = most
        self._inboxes: dict[str, ReportInbox] = {}
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
            inbox = self._inboxes.get(org_id)
            if inbox is None:
                inbox = self._inboxes[org_id] = ReportInbox()
                self._writers[org_id] = asyncio.create_task(self._run(org_id, inbox), name="reports")
            self._tell(inbox.put(some))
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
        for inbox in self._inboxes.values():
            inbox.clear()
        self._room.set()

    def _waiting(self) -> int:
        return sum(map(len, self._inboxes.values()))

    def _tell(self, report_ids: Sequence[int]) -> None:
        if report_ids:
            self._replaced(report_ids)

    async def _run(self, org_id: str, inbox: ReportInbox) -> None:
        try:
            while inbox and not self._over:
                batch = inbox.take(MOST)
                if self._waiting() <= self._most // 2:
                    self._room.set()
                left, pause = await self._write(org_id, batch)
                if left and not self._over:
                    # Not acknowledged, so the agent keeps them; scripts may run twice, so they are written again.
                    self._tell(inbox.give_back(left))
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await self._closing.wait()
        except Exception as e:  # noqa: BLE001 - who made this tells it
            self._end()
            self._failed(e)
        finally:
            del self._inboxes[org_id], self._writers[org_id]
