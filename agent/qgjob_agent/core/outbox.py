"""Reports on their way: results first to the spool, then all to the coordinator, gone when acknowledged.

The outbox is this list, in memory. The spool is the folder on the disk that keeps the results of it over a restart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgjob_agent.core.values import Finished, Progress, ReportBody, SpooledReport, Started, TreeDead

if TYPE_CHECKING:
    from qgjob_agent.core.leases import Lease


@dataclass(slots=True, eq=False)
class Report:
    """One report on one lease. `report_id` is unique within the spool of its agent."""

    report_id: int
    lease: Lease
    body: ReportBody

    @property
    def final(self) -> bool:
        """True for the last report on a lease, the one that is spooled."""
        return type(self.body) is Finished or type(self.body) is TreeDead

    def spooled(self) -> SpooledReport:
        """This last report as the spool keeps it."""
        what, body = self.lease.assignment, self.body
        if isinstance(body, Started | Progress):
            raise TypeError(f"report {self.report_id} is a {type(body).__name__}; only last reports are spooled")
        return SpooledReport(self.report_id, what.job_id, what.token, what.attempt, what.device_id, body)


class Outbox:
    """Reports by stage. All but progress stay until they are acknowledged and are sent again in a new session."""

    __slots__ = ("_next_id", "_progress", "_starts", "to_persist", "unacked", "unsent")

    def __init__(self) -> None:
        self._next_id = 1
        self._progress: dict[str, Report] = {}
        self._starts = False  # some Started may be unsent
        self.to_persist: list[Report] = []
        self.unsent: list[Report] = []
        self.unacked: dict[int, Report] = {}

    def add(self, lease: Lease, body: ReportBody) -> None:
        """Takes one report. A progress replaces the unsent one of the same lease."""
        report = Report(self._next_id, lease, body)
        self._next_id += 1
        if type(body) is Progress:
            self._progress[lease.assignment.token] = report
            return
        self.unsent.append(report)
        if type(body) is Started:
            self._starts = True
        else:
            self.to_persist.append(report)

    def restore(self, report_id: int, lease: Lease, body: Finished | TreeDead) -> None:
        """Takes a report that an earlier daemon had spooled."""
        self.unacked[report_id] = Report(report_id, lease, body)
        self._next_id = max(self._next_id, report_id + 1)

    def take_to_persist(self) -> list[Report]:
        """What must be written to the spool before anything is sent."""
        taken, self.to_persist = self.to_persist, []
        return taken

    def take_unsent(self, *, joined: bool) -> list[Report]:
        """What is to be sent now, the latest progress of running attempts included.

        `joined`: the coordinator takes a Finished for its Started too, so one that would go with it is left out.
        """
        taken, self.unsent = self.unsent, []
        if self._starts:
            self._starts = False
            if joined:
                taken = _without_told_starts(taken)
        unacked = self.unacked
        for report in taken:
            unacked[report.report_id] = report
        if self._progress:
            finished = {report.lease.assignment.token for report in taken if report.final}
            taken.extend(report for token, report in self._progress.items() if token not in finished)
            self._progress.clear()
        return taken

    def resend(self) -> None:
        """A new session begins: everything unacknowledged is unsent again, in its first order."""
        self.unsent = [*self.unacked.values(), *self.unsent]
        self.unacked = {}
        self._starts = True

    @property
    def empty(self) -> bool:
        """True when every report was acknowledged."""
        return not (self.unsent or self.unacked or self.to_persist)

    @property
    def unacknowledged(self) -> int:
        """How many last reports nobody has acknowledged."""
        return sum(report.final for report in [*self.unsent, *self.unacked.values()])


def _without_told_starts(reports: list[Report]) -> list[Report]:
    """The reports less each Started whose Finished is among them and says that the test had begun."""
    told = {report.lease for report in reports if type(report.body) is Finished and report.body.begun}
    return [report for report in reports if type(report.body) is not Started or report.lease not in told]
