"""Reports: taken up, written down, sent, acknowledged. In this order, always."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob_agent.core.instructions import FlushAt, Persist, SendInstalled, SendReports, Unspool
from qgjob_agent.core.values import Finished, Installation, Verdict

if TYPE_CHECKING:
    from qgjob_agent.core.events import FlushDue, ReportsAcknowledged
    from qgjob_agent.core.leases import Lease
    from qgjob_agent.core.state import State
    from qgjob_agent.core.values import Assignment, Outcome, ReportBody


def report(state: State, lease: Lease, body: ReportBody) -> None:
    """Takes up one report; it goes with the next flush."""
    outbox = state.outbox
    outbox.add(lease, body)
    if not state.flush_pending:
        _flush_soon(state)
    elif len(outbox.unsent) >= state.limits.flush_reports:
        flush(state)


def tell_installed(state: State, what: Assignment, outcome: Outcome, install_ms: int) -> None:
    """Takes up an installation that ended; it goes with the next flush."""
    state.installed_unsent.append(
        Installation(what.device_id, what.org_id, what.app_version_id, outcome, install_ms, what.job_id, what.token)
    )
    if not state.flush_pending:
        _flush_soon(state)


def _flush_soon(state: State) -> None:
    state.flush_pending = True
    state.out.append(FlushAt(max(state.now, state.last_flush_at + state.limits.flush_seconds)))


def flush_due(state: State, _event: FlushDue) -> None:
    """The pause between two flushes is over."""
    state.flush_pending = False
    flush(state)


def flush(state: State) -> None:
    """Writes down what must be, then sends what can be."""
    persist(state)
    if state.session_open:
        session = state.session
        installed, state.installed_unsent = state.installed_unsent, []
        if not session.joined_reports:
            state.out.extend(SendInstalled(session.epoch, x) for x in installed)
            installed = []
        reports = state.outbox.take_unsent(joined=session.joined_reports)
        if reports or installed:
            state.out.append(SendReports(session.epoch, reports, installed))
            state.last_flush_at = state.now


def persist(state: State) -> None:
    """Writes down all last reports that are not yet in the spool.

    Where the disk refuses, the shell says so (SpoolFailed) and the reports are sent all the same: a result that the
    coordinator has is safer than one that waits in memory for a disk.
    """
    reports = state.outbox.take_to_persist()
    if reports:
        state.out.append(Persist(reports))


def acknowledged(state: State, event: ReportsAcknowledged) -> None:
    """Whatever the verdict, the report has done its work: it leaves the spool, and a last one ends its lease here."""
    unacked, leases = state.outbox.unacked, state.leases
    done: list[int] = []
    tokens: list[str] = []
    for report_id, verdict in event.entries:
        found = unacked.pop(report_id, None)
        if found is not None and found.final:
            what = found.lease.assignment
            leases.pop(what.token, None)
            done.append(report_id)
            tokens.append(what.token)
            if verdict is Verdict.STALE:
                outcome = found.body.outcome.value if isinstance(found.body, Finished) else None
                state.warn(
                    "result_not_taken",
                    job_id=what.job_id,
                    attempt=what.attempt,
                    device_id=what.device_id,
                    outcome=outcome,
                )
    if done:
        state.out.append(Unspool(done, tokens))
