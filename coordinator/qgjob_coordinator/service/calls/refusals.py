"""What the store refused to do with a job, as the caller's error."""

from __future__ import annotations

from qgjob_coordinator.errors import ConflictError, NotFoundError
from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.model.lifecycle import IllegalMoveError, JobEvent, move
from qgjob_coordinator.store.types.asked import Cancelled, CancelWord, Retried, RetryWord


def job_not_found(job_id: object, field: str = "job_id") -> NotFoundError:
    """The error of a job that is not there, or of an org that the caller does not see: both are told alike."""
    org_id = str(job_id).partition("~")[0]
    return NotFoundError(
        f"job {job_id} not found: removed by its age, or of another coordinator's store; "
        f"`qgjob list --org-id={org_id}` lists those that are here",
        field=field,
    )


def raise_for_cancel(job_id: str, meant: int, done: Cancelled) -> None:
    """Raises NotFoundError or ConflictError for a cancel that had no effect."""
    if done.word is CancelWord.MISSING or done.status is None:
        raise job_not_found(job_id)
    if done.word is CancelWord.ROUND:
        raise ConflictError(f"job {job_id} is in round {done.round}; the cancel was meant for {meant}", field="round")
    if done.word is CancelWord.ILLEGAL:
        raise _illegal(job_id, JobEvent.CANCEL, done.status)


def raise_for_retry(job: Job, meant: int, done: Retried) -> None:
    """Raises NotFoundError or ConflictError for a retry that had no effect."""
    if done.word is RetryWord.MISSING or done.status is None:
        raise job_not_found(job.job_id)
    if done.word is RetryWord.ROUND:
        raise ConflictError(
            f"job {job.job_id} is in round {done.round}; the retry was meant for {meant}", field="round"
        )
    if done.word is RetryWord.EQUAL:
        raise ConflictError(
            f"job {job.job_id} can't be retried while an equal job is unfinished: {job.org_id}~{done.equal}",
            field="job_id",
        )
    if done.word is RetryWord.ILLEGAL:
        raise _illegal(job.job_id, JobEvent.RETRY, done.status)


_WHAT_TO_DO = {
    JobEvent.CANCEL: "it has its verdict, and nothing of it is left to cancel",
    JobEvent.RETRY: "wait for its verdict, or cancel it first",
}
_PASSED = "it passed; to run the test again, submit it as a new job"


def _illegal(job_id: str, event: JobEvent, status: Status) -> ConflictError:
    try:
        move(job_id, event, status)
    except IllegalMoveError as e:
        advice = _PASSED if (event, status) == (JobEvent.RETRY, Status.COMPLETED) else _WHAT_TO_DO[event]
        return ConflictError(f"{e}: {advice}", field="job_id")
    raise AssertionError(f"the store refused a legal move: {event} of a job that is {status}")
