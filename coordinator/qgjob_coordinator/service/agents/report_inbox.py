"""Reports that wait for the store: the progress of an attempt once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from qgjob_coordinator.service.agents.messages import ProgressReport, Report


class ReportInbox:
    """First in, first out; progress comes after everything else."""

    def __init__(self) -> None:
        self._reports: list[Report] = []
        self._progress: dict[str, ProgressReport] = {}

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
        return replaced

    def take(self, most: int) -> list[Report]:
        """The next reports, at most so many."""
        taken = self._reports[:most]
        del self._reports[:most]
        if self._progress and len(taken) < most:
            tokens = list(islice(self._progress, most - len(taken)))
            taken += [self._progress.pop(token) for token in tokens]
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
