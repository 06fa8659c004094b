"""The legal moves of a job. The store's scripts commit them; docs/protocol.md draws them.

Everything that affects which status may follow which lives here. A move that is not in the table is refused with an
error that names the job, the event and the status.
"""

from __future__ import annotations

from enum import StrEnum

from qgjob_coordinator.model.enums import FINAL, Outcome, Status


class JobEvent(StrEnum):
    """What can happen to a job."""

    CLAIM = "claim"  # a lease was granted
    START = "start"  # the agent says that the attempt runs
    PASS = "pass"  # noqa: S105 - a word of the table
    FAIL = "fail"  # a verdict other than passed, or the budgets are used up
    RELEASE = "release"  # the lease ended without a verdict, or a retry is due
    EXPIRE = "expire"  # waited longer than its queue timeout
    REJECT = "reject"  # fails without an attempt: poison, or no build for any device that it may have
    CANCEL = "cancel"
    RETRY = "retry"  # by hand: a new round


# (event, status before) -> status after
MOVES: dict[tuple[JobEvent, Status], Status] = {
    (JobEvent.CLAIM, Status.QUEUED): Status.SCHEDULED,
    (JobEvent.START, Status.SCHEDULED): Status.RUNNING,
    (JobEvent.PASS, Status.SCHEDULED): Status.COMPLETED,
    (JobEvent.PASS, Status.RUNNING): Status.COMPLETED,
    (JobEvent.FAIL, Status.SCHEDULED): Status.FAILED,
    (JobEvent.FAIL, Status.RUNNING): Status.FAILED,
    (JobEvent.RELEASE, Status.SCHEDULED): Status.QUEUED,
    (JobEvent.RELEASE, Status.RUNNING): Status.QUEUED,
    (JobEvent.EXPIRE, Status.QUEUED): Status.FAILED,
    (JobEvent.REJECT, Status.QUEUED): Status.FAILED,
    (JobEvent.CANCEL, Status.QUEUED): Status.CANCELLED,
    (JobEvent.CANCEL, Status.SCHEDULED): Status.CANCELLED,
    (JobEvent.CANCEL, Status.RUNNING): Status.CANCELLED,
    (JobEvent.RETRY, Status.FAILED): Status.QUEUED,
    (JobEvent.RETRY, Status.CANCELLED): Status.QUEUED,
}


class IllegalMoveError(ValueError):
    """The event does not apply to a job in this status."""

    def __init__(self, job_id: str, event: JobEvent, status: Status) -> None:
        super().__init__(f"job {job_id}: {event.value} does not apply to a job that is {status.value}")
        self.job_id = job_id
        self.event = event
        self.status = status


def move(job_id: str, event: JobEvent, status: Status) -> Status:
    """The status after `event`. Raises IllegalMoveError for a move that is not in the table."""
    after = MOVES.get((event, status))
    if after is None:
        raise IllegalMoveError(job_id, event, status)
    return after


def status_of(outcome: Outcome) -> Status:
    """The status that a job's outcome means."""
    if outcome in (Outcome.PASSED, Outcome.FLAKY):
        return Status.COMPLETED
    if outcome is Outcome.CANCELLED:
        return Status.CANCELLED
    return Status.FAILED


__all__ = ["FINAL", "MOVES", "IllegalMoveError", "JobEvent", "move", "status_of"]
