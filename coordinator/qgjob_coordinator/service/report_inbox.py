"""Reports of one session that wait for the store: a bounded number, the progress of an attempt once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from itertools import islice

from qgjob_coordinator.service.messages import ProgressReport, Report

MOST_WAITING = 20_000
"""Above it the stream is not read, until half of them are written: the agent's spool has more room than our memory."""


class ReportInbox:
    """First in, first out; progress comes after everything else."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._reports: list[Report] = []
        self._progress: dict[str, ProgressReport] = {}
        self._room = asyncio.Event()
        self._room.set()

    def __len__(self) -> int:
        return len(self._reports) + len(self._progress)

    def put(self, reports: Iterable[Report]) -> list[int]:
        """Takes reports; gives the ids of progress reports that newer ones replaced."""
        replaced: list[int] = []
        add = self._reports.append
        for report in reports:
            if type(report) is ProgressReport:
                older = self._progress.get(report.token)
                if older is not None:
                    replaced.append(older.report_id)
                self._progress[report.token] = report
            else:
                add(report)
        if len(self) > self._most:
            self._room.clear()
        return replaced

    def take(self, most: int) -> list[Report]:
        """The next reports, at most so many."""
        taken = self._reports[:most]
        del self._reports[:most]
        if self._progress and len(taken) < most:
            tokens = list(islice(self._progress, most - len(taken)))
            taken += [self._progress.pop(token) for token in tokens]
        if len(self) <= self._most // 2:
            self._room.set()
        return taken

    def give_back(self, reports: Sequence[Report]) -> list[int]:
        """Reports that were taken and could not be written: they are the next again. Ids as `put` gives them."""
        replaced: list[int] = []
        first: list[Report] = []
        for report in reports:
            if type(report) is not ProgressReport:
                first.append(report)
            elif self._progress.setdefault(report.token, report) is not report:
                replaced.append(report.report_id)
        self._reports[:0] = first
        return replaced

    def clear(self) -> None:
        """Forgets all."""
        self._reports.clear()
        self._progress.clear()
        self._room.set()

    async def room(self) -> None:
        """Returns when more may come."""
        await self._room.wait()
