"""Jobs and what streams tell of them, from protobuf messages to models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgjob._errors import ProtocolError
from qgjob._models import (
    Attempt,
    ConsideredDevice,
    Explanation,
    Job,
    JobError,
    JobPage,
    JobRef,
    JobSelection,
    LogChunk,
    Overflow,
    PendingReason,
    Requirements,
    TestResult,
    WatchEvent,
)
from qgjob._wire import (
    ERROR_CLASS,
    OUTCOME,
    PENDING_CODE,
    PRIORITY,
    STATUS,
    TARGET,
    WATCH_EVENT,
    optional,
    optional_int,
    optional_time,
)
from qgjob_proto.v1 import jobs_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qgjob_proto.v1 import types_pb2


def read_job(message: types_pb2.Job) -> Job:
    """A job that decodes its message when a field is first read."""
    job: Job = Job.of(_job_fields, message)
    return job


def read_jobs(messages: Iterable[types_pb2.Job]) -> tuple[Job, ...]:
    """Many jobs."""
    return tuple([read_job(message) for message in messages])


def _job_fields(message: types_pb2.Job) -> dict[str, Any]:
    return {
        "job_id": message.job_id,
        "org_id": message.org_id,
        "app_version_id": message.app_version_id,
        "test_path": message.test_path,
        "priority": PRIORITY.read(message.priority),
        "target": TARGET.read(message.target),
        "status": STATUS.read(message.status),
        "outcome": OUTCOME.read(message.outcome) if message.HasField("outcome") else None,
        "round": message.round,
        "run_ids": tuple(message.run_ids),
        "labels": dict(message.labels),
        "requirements": _read_requirements(message.requirements),
        "suite_digest": optional(message, "suite_digest"),
        "overflow": _read_overflow(message.overflow) if message.HasField("overflow") else None,
        "created_at": optional_time(message, "created_at"),
        "updated_at": optional_time(message, "updated_at"),
        "not_before": optional_time(message, "not_before"),
        "scheduled_at": optional_time(message, "scheduled_at"),
        "started_at": optional_time(message, "started_at"),
        "completed_at": optional_time(message, "completed_at"),
        "attempts": tuple([_read_attempt(attempt) for attempt in message.attempts]),
        "retry_count": message.retry_count,
        "max_retries": message.max_retries,
        "agent_id": optional(message, "agent_id"),
        "device_id": optional(message, "device_id"),
        "progress": message.progress,
        "result": _read_result(message.result) if message.HasField("result") else None,
        "error": _read_error(message.error) if message.HasField("error") else None,
        "pending_reason": _read_pending(message.pending_reason) if message.HasField("pending_reason") else None,
        "deduplicated": optional(message, "deduplicated"),
    }


def read_ref(message: types_pb2.Job) -> JobRef:
    """A job answered with JOB_VIEW_IDS."""
    return JobRef(message.job_id, message.org_id, STATUS.read(message.status), message.deduplicated)


def _read_requirements(message: types_pb2.Requirements) -> Requirements:
    return Requirements(
        platform=optional(message, "platform"),
        os_version=optional(message, "os_version"),
        device_model=optional(message, "device_model"),
        device_id=optional(message, "device_id"),
        labels=dict(message.labels),
    )


def _read_overflow(message: types_pb2.Overflow) -> Overflow:
    return Overflow(
        target=TARGET.read(message.target),
        after_seconds=message.after_seconds,
        moved_from=TARGET.read(message.moved_from) if message.HasField("moved_from") else None,
        moved_at=optional_time(message, "moved_at"),
        expected_wait_seconds=optional(message, "expected_wait_seconds"),
        message=message.message,
    )


def _read_attempt(message: types_pb2.Attempt) -> Attempt:
    return Attempt(
        attempt=message.attempt,
        round=message.round,
        agent_id=message.agent_id,
        device_id=message.device_id,
        outcome=OUTCOME.read(message.outcome) if message.HasField("outcome") else None,
        scheduled_at=optional_time(message, "scheduled_at"),
        started_at=optional_time(message, "started_at"),
        ended_at=optional_time(message, "ended_at"),
        install_ms=optional_int(message, "install_ms"),
        duration_ms=optional_int(message, "duration_ms"),
        error=_read_error(message.error) if message.HasField("error") else None,
        result=_read_result(message.result) if message.HasField("result") else None,
    )


def _read_result(message: types_pb2.TestResult) -> TestResult:
    return TestResult(message.passed, message.failed, message.skipped, message.duration_ms, message.summary or None)


def _read_error(message: types_pb2.JobError) -> JobError:
    return JobError(ERROR_CLASS.read(message.error_class), message.message)


def _read_pending(message: types_pb2.PendingReason) -> PendingReason:
    return PendingReason(
        code=PENDING_CODE.read(message.code),
        message=message.message,
        position=optional_int(message, "position"),
        estimated_start_at=optional_time(message, "estimated_start_at"),
        retry_at=optional_time(message, "retry_at"),
    )


def read_job_page(message: jobs_pb2.ListJobsResponse) -> JobPage:
    """One page of a job list."""
    return JobPage(
        read_jobs(message.jobs), message.next_page_token or None, message.org_id, message.status_filter or "all"
    )


def read_selection(message: jobs_pb2.CancelJobsResponse | jobs_pb2.RetryJobsResponse) -> JobSelection:
    """The jobs that a call on many changed."""
    if isinstance(message, jobs_pb2.CancelJobsResponse):
        return JobSelection(read_jobs(message.jobs), message.count, detached=message.detached)
    return JobSelection(read_jobs(message.jobs), message.count, equal=message.equal)


def read_explanation(message: jobs_pb2.ExplainJobResponse) -> Explanation:
    """Why a job waits."""
    return Explanation(
        job=read_job(message.job),
        devices=tuple([_read_considered(each) for each in message.devices]),
        summary=message.summary or None,
        earliest_start_at=optional_time(message, "earliest_start_at"),
        latest_start_at=optional_time(message, "latest_start_at"),
        expires_at=optional_time(message, "expires_at"),
    )


def _read_considered(message: jobs_pb2.ConsideredDevice) -> ConsideredDevice:
    return ConsideredDevice(
        device_id=message.device_id,
        feasible=message.feasible,
        message=message.message,
        unmet=tuple(message.unmet),
        code=PENDING_CODE.read(message.code) if message.HasField("code") else None,
        free_at=optional_time(message, "free_at"),
    )


def read_watch_event(message: jobs_pb2.WatchJobsResponse) -> WatchEvent:
    """One event of a watch."""
    return WatchEvent(
        event=WATCH_EVENT.read(message.event),
        cursor=message.cursor or None,
        job=read_job(message.job) if message.HasField("job") else None,
        version=optional_int(message, "version"),
    )


def read_log_chunk(message: jobs_pb2.TailLogsResponse) -> LogChunk:
    """A piece of a log."""
    return LogChunk(message.attempt, message.offset, message.data, message.skipped)


_HEALTH = {0: "unknown", 1: "serving", 2: "not_serving", 3: "unknown"}


def read_health(answer: bytes) -> str:
    """The status in a `grpc.health.v1.HealthCheckResponse`: field 1, a varint, left out when 0.

    Read by hand, since the generated code would come with a package that no client needs otherwise.
    """
    if not answer:
        return _HEALTH[0]
    if len(answer) != 2 or answer[0] != 8 or answer[1] not in _HEALTH:
        raise ProtocolError(f"the health service answered {answer!r}, which this client does not know")
    return _HEALTH[answer[1]]
