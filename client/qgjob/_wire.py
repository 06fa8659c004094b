"""Jobs between models and protobuf messages. `_wire_fleet` does the same for devices, agents and counts."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from qgjob import _enums as enums
from qgjob._errors import InvalidError, ProtocolError
from qgjob._models import (
    Attempt,
    ConsideredDevice,
    Explanation,
    Job,
    JobError,
    JobPage,
    JobRef,
    JobSelection,
    JobSpec,
    LogChunk,
    PendingReason,
    Requirements,
    TestResult,
    WatchEvent,
)
from qgjob_proto.v1 import jobs_pb2, types_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


SubmitJobRequest = jobs_pb2.SubmitJobRequest
JobMessage = types_pb2.Job

EnumT = TypeVar("EnumT", bound=StrEnum)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Words(Generic[EnumT]):
    """An enum of the wire and the one of the models, both ways. `wire` is a generated enum, which the stubs mistype."""

    def __init__(self, model: type[EnumT], wire: Any) -> None:
        self._name = wire.DESCRIPTOR.name
        unspecified = wire.DESCRIPTOR.values_by_number[0].name
        prefix = unspecified.removesuffix("UNSPECIFIED")
        self._models: dict[int, EnumT] = {
            number: model(name.removeprefix(prefix).lower()) for name, number in wire.items() if number != 0
        }
        self._numbers: dict[str, int] = {member.value: number for number, member in self._models.items()}

    def read(self, number: int) -> EnumT:
        """The model of a number. Raises ProtocolError for one that this client does not know."""
        member = self._models.get(number)
        if member is None:
            raise ProtocolError(
                f"the coordinator sent {self._name} {number}, which this client does not know: upgrade it"
            )
        return member

    def write(self, word: str | None, field: str) -> int:
        """The number of a word, 0 for None. Raises InvalidError naming `field`."""
        if word is None:
            return 0
        number = self._numbers.get(word)
        if number is None:
            raise InvalidError(f"{field}: {word!r} is none of {', '.join(self._numbers)}", field=field)
        return number


PRIORITY = Words(enums.Priority, types_pb2.Priority)
TARGET = Words(enums.Target, types_pb2.Target)
STATUS = Words(enums.JobStatus, types_pb2.JobStatus)
OUTCOME = Words(enums.Outcome, types_pb2.Outcome)
ERROR_CLASS = Words(enums.ErrorClass, types_pb2.ErrorClass)
PENDING_CODE = Words(enums.PendingCode, types_pb2.PendingCode)
WATCH_EVENT = Words(enums.WatchEventKind, jobs_pb2.WatchEvent)


def read_time(moment: Timestamp) -> datetime:
    """An aware datetime, cut to microseconds."""
    return _EPOCH + timedelta(seconds=moment.seconds, microseconds=moment.nanos // 1000)


def write_time(moment: datetime | None, field: str) -> Timestamp | None:
    """A timestamp. Raises InvalidError for a time without zone, which means another moment on another machine."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise InvalidError(f"{field}: {moment.isoformat()} has no time zone; give an aware datetime", field=field)
    since = moment - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1000)


def optional_time(message: Any, name: str) -> datetime | None:
    """The time in a field of a message, None when it is unset."""
    return read_time(getattr(message, name)) if message.HasField(name) else None


def optional(message: Any, name: str) -> Any:
    """The value of an optional scalar field, None when it is unset."""
    return getattr(message, name) if message.HasField(name) else None


def optional_int(message: Any, name: str) -> int | None:
    """As `optional`, for numbers."""
    return int(getattr(message, name)) if message.HasField(name) else None


# --- requests ---------------------------------------------------------------------------------------------------------


def write_spec(spec: JobSpec, job_id: str) -> jobs_pb2.SubmitJobRequest:
    """A submission. Raises InvalidError for what the wire can't hold; all other rules are the coordinator's."""
    try:
        request = jobs_pb2.SubmitJobRequest(
            org_id=spec.org_id,
            app_version_id=spec.app_version_id,
            test_path=spec.test_path,
            priority=PRIORITY.write(spec.priority, "priority"),  # type: ignore[arg-type]
            target=TARGET.write(spec.target, "target"),  # type: ignore[arg-type]
            job_id=job_id,
        )
        _write_options(spec, request)
    except (TypeError, ValueError) as error:
        raise _unfit(spec, error) from error
    return request


def _unfit(spec: JobSpec, error: Exception) -> InvalidError:
    """The error that names the field whose value the wire can't hold."""
    for each in fields(spec):
        value = getattr(spec, each.name)
        if value is None or each.name in ("priority", "target", "requirements", "not_before"):
            continue
        try:
            SubmitJobRequest(**{each.name: value})
        except (TypeError, ValueError) as culprit:
            return InvalidError(f"{each.name}: {value!r} does not fit: {culprit}", field=each.name)
    return InvalidError(f"requirements: a value does not fit: {error}", field="requirements")


def _write_options(spec: JobSpec, request: jobs_pb2.SubmitJobRequest) -> None:
    # One by one: most submissions set few of them, and this is the hottest path of the client.
    if spec.run_id is not None:
        request.run_id = spec.run_id
    if spec.labels:
        request.labels.update(spec.labels)
    if spec.requirements is not None:
        request.requirements.CopyFrom(_write_requirements(spec.requirements))
    if spec.env:
        request.env.update(spec.env)
    if spec.max_retries is not None:
        request.max_retries = spec.max_retries
    if spec.idempotency_key is not None:
        request.idempotency_key = spec.idempotency_key
    if (not_before := write_time(spec.not_before, "not_before")) is not None:
        request.not_before.CopyFrom(not_before)
    if spec.timeout_seconds is not None:
        request.timeout_seconds = spec.timeout_seconds
    if spec.queue_timeout_seconds is not None:
        request.queue_timeout_seconds = spec.queue_timeout_seconds
    if spec.no_dedup:
        request.no_dedup = True


def _write_requirements(needs: Requirements) -> types_pb2.Requirements:
    return types_pb2.Requirements(
        platform=needs.platform,
        os_version=needs.os_version,
        device_model=needs.device_model,
        device_id=needs.device_id,
        labels=dict(needs.labels),
    )


def write_submit_jobs(requests: Iterable[jobs_pb2.SubmitJobRequest], view: str) -> jobs_pb2.SubmitJobsRequest:
    """One call for many jobs of one org."""
    wire_view = jobs_pb2.JOB_VIEW_IDS if view == "ids" else jobs_pb2.JOB_VIEW_UNSPECIFIED
    return jobs_pb2.SubmitJobsRequest(jobs=requests, view=wire_view)


# --- answers ----------------------------------------------------------------------------------------------------------


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
    )


def _read_result(message: types_pb2.TestResult) -> TestResult:
    return TestResult(message.passed, message.failed, message.skipped, message.duration_ms, message.summary)


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
    detached = message.detached if isinstance(message, jobs_pb2.CancelJobsResponse) else 0
    return JobSelection(read_jobs(message.jobs), detached)


def read_explanation(message: jobs_pb2.ExplainJobResponse) -> Explanation:
    """Why a job waits."""
    devices = [ConsideredDevice(each.device_id, each.feasible, each.message) for each in message.devices]
    return Explanation(read_job(message.job), tuple(devices))


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


def read_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """A map of counts, in the order of its words: the wire keeps none."""
    return {key: counts[key] for key in sorted(counts)}


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
