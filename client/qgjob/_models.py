"""Jobs and what belongs to them.

Times are aware datetimes in UTC. Everything is immutable. The client makes it from a coordinator's answers; a submitter
makes `JobSpec` and `Requirements`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from qgjob._enums import (
    FINAL_STATUSES,
    ErrorClass,
    JobStatus,
    Outcome,
    PendingCode,
    Priority,
    Target,
    WatchEventKind,
)
from qgjob._ids import new_operation_id
from qgjob._shape import JSON_NAME, Lazy, Shape, to_json, unset

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Requirements(Shape):
    """What a device must be to serve a job. What is unset does not restrict."""

    platform: str | None = None
    os_version: str | None = None
    device_model: str | None = None
    device_id: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job as its submitter describes it. What is unset gets the coordinator's default.

    `job_id` is made by the client when unset. `priority` and targets take the enum or its word, `requirements` also a
    mapping with the same names. `overflow_target` is where the job goes, once, when its wait for `target` is expected
    to be longer than `overflow_after_seconds`.
    """

    org_id: str
    app_version_id: str
    test_path: str
    priority: str | None = None
    target: str | None = None
    job_id: str | None = None
    run_id: str | None = None
    labels: Mapping[str, str] | None = None
    requirements: Requirements | Mapping[str, Any] | None = None
    env: Mapping[str, str] | None = None
    max_retries: int | None = None
    idempotency_key: str | None = None
    supersede: str | None = None
    not_before: datetime | None = None
    timeout_seconds: float | None = None
    queue_timeout_seconds: float | None = None
    no_dedup: bool = False
    suite_digest: str | None = None
    overflow_target: str | None = None
    overflow_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Bond:
    """To a client: what is bound to it is cancelled when nothing was heard of it for `after_seconds` (1 to 86,400)."""

    after_seconds: float
    client_id: str = field(default_factory=new_operation_id)


@dataclass(frozen=True, slots=True)
class TestResult(Shape):
    """What a finished attempt counted. `duration_ms` is the run time of the test without the install.

    `summary` is one line for people; None when the test left none.
    """

    __test__ = False  # not a pytest class

    passed: int
    failed: int
    skipped: int
    duration_ms: int
    summary: str | None


@dataclass(frozen=True, slots=True)
class JobError(Shape):
    """Why a job or an attempt did not pass. `error_class` is `class` in JSON."""

    error_class: ErrorClass = field(metadata={JSON_NAME: "class"})
    message: str


@dataclass(frozen=True, slots=True)
class PendingReason(Shape):
    """Why a queued job waits. `position` counts from 1."""

    code: PendingCode
    message: str
    position: int | None = None
    estimated_start_at: datetime | None = None
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Overflow(Shape):
    """A job's second target. `moved_from` (the target that was asked for) and `moved_at` are set since it went there;
    `expected_wait_seconds` is the wait that was expected then, None where no start was. `message` says it in words.
    """

    target: Target
    after_seconds: float
    moved_from: Target | None = None
    moved_at: datetime | None = None
    expected_wait_seconds: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Attempt(Shape):
    """One try of a job; `attempt` is numbered from 1 over all rounds. `ended_at` is when its process tree was dead."""

    attempt: int
    round: int
    agent_id: str
    device_id: str
    outcome: Outcome | None = None
    scheduled_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    install_ms: int | None = None
    duration_ms: int | None = None
    error: JobError | None = None
    result: TestResult | None = None


@dataclass(frozen=True, kw_only=True)
class Job(Lazy, Shape):
    """One submitted test file for one app version. `deduplicated` is set in answers to a submission only."""

    job_id: str
    org_id: str
    app_version_id: str
    test_path: str
    priority: Priority
    target: Target
    status: JobStatus
    outcome: Outcome | None = field(default_factory=unset)
    round: int
    run_ids: tuple[str, ...] = field(default_factory=tuple)
    labels: Mapping[str, str] = field(default_factory=dict)
    requirements: Requirements = field(default_factory=Requirements)
    suite_digest: str | None = field(default_factory=unset)
    overflow: Overflow | None = field(default_factory=unset)
    created_at: datetime | None
    updated_at: datetime | None
    not_before: datetime | None = field(default_factory=unset)
    scheduled_at: datetime | None = field(default_factory=unset)
    started_at: datetime | None = field(default_factory=unset)
    completed_at: datetime | None = field(default_factory=unset)
    attempts: tuple[Attempt, ...] = field(default_factory=tuple)
    retry_count: int = field(default_factory=int)
    max_retries: int
    agent_id: str | None = field(default_factory=unset)
    device_id: str | None = field(default_factory=unset)
    progress: int = field(default_factory=int)
    result: TestResult | None = field(default_factory=unset)
    error: JobError | None = field(default_factory=unset)
    pending_reason: PendingReason | None = field(default_factory=unset)
    deduplicated: bool | None = field(default_factory=unset)

    @property
    def final(self) -> bool:
        """The verdict was given."""
        return self.status in FINAL_STATUSES

    def to_dict(self) -> dict[str, Any]:
        """The contract's JSON. `deduplicated` belongs to answers to a submission and is left out elsewhere."""
        shape: dict[str, Any] = to_json(self)
        if self.deduplicated is None:
            del shape["deduplicated"]
        return shape


@dataclass(frozen=True, slots=True)
class JobRef(Shape):
    """A submitted job in short: what a submission with `view="ids"` answers."""

    job_id: str
    org_id: str
    status: JobStatus
    deduplicated: bool


@dataclass(frozen=True, slots=True)
class JobPage(Shape):
    """One page of a job list, newest first. `status_filter` is `"all"` when none was asked for."""

    jobs: tuple[Job, ...]
    next_page_token: str | None
    org_id: str
    status_filter: str

    @property
    def count(self) -> int:
        """Jobs of this page."""
        return len(self.jobs)

    def to_dict(self) -> dict[str, Any]:
        """`{count, jobs, next_page_token, org_id, status_filter}`."""
        return {
            "count": self.count,
            "jobs": [job.to_dict() for job in self.jobs],
            "next_page_token": self.next_page_token,
            "org_id": self.org_id,
            "status_filter": self.status_filter,
        }


@dataclass(frozen=True, slots=True)
class JobSelection(Shape):
    """What a call on many jobs changed: `count` of them; `jobs` are the first 1,000 as they stand now.

    `detached` counts those that only left the run (cancel), `equal` those that were left as they are, since an equal of
    each is unfinished (retry).
    """

    jobs: tuple[Job, ...]
    count: int
    detached: int = 0
    equal: int = 0

    def to_dict(self) -> dict[str, Any]:
        """`{count, jobs, detached, equal}`."""
        jobs = [job.to_dict() for job in self.jobs]
        return {"count": self.count, "jobs": jobs, "detached": self.detached, "equal": self.equal}


@dataclass(frozen=True, slots=True)
class ConsideredDevice(Shape):
    """One device, and why it does or does not serve a job now. `feasible`: it may serve it.

    `unmet` names the requirements that the device does not meet (`target`, `platform`, `labels.KEY`, …), and `build`
    where the app version has builds, but none for it. `code` is why a feasible one does not serve the job now, None
    when it is free, and `free_at` when that ends, where it is known.
    """

    device_id: str
    feasible: bool
    message: str
    unmet: tuple[str, ...] = ()
    code: PendingCode | None = None
    free_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Explanation(Shape):
    """Why a job waits: the job with its `pending_reason`, and every device of the fleet.

    `summary` says in a few words what the devices are to the job, or where it has one what it does there; None when it
    has its verdict. `earliest_start_at` and `latest_start_at` are the error band of the reason's `estimated_start_at`.
    `expires_at` is the end of its queue timeout.
    """

    job: Job
    devices: tuple[ConsideredDevice, ...]
    summary: str | None = None
    earliest_start_at: datetime | None = None
    latest_start_at: datetime | None = None
    expires_at: datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        """The job itself, unwrapped, with what else is known beside it."""
        return {**self.job.to_dict(), **{each.name: to_json(getattr(self, each.name)) for each in fields(self)[1:]}}


@dataclass(frozen=True, slots=True)
class WatchEvent(Shape):
    """One event of a watch. A later watch given `cursor` goes on after it; None where a watch can't go on from here."""

    event: WatchEventKind
    cursor: str | None
    job: Job | None = None
    version: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """`{event, cursor, job, version}`."""
        job = None if self.job is None else self.job.to_dict()
        return {"event": self.event.value, "cursor": self.cursor, "job": job, "version": self.version}


@dataclass(frozen=True, slots=True)
class LogChunk:
    """A piece of an attempt's log. `offset` is where its first byte stands; `skipped` bytes before it are not in that
    log, though the attempt's evidence may have them.
    """

    attempt: int
    offset: int
    data: bytes
    skipped: int = 0

    def to_dict(self) -> dict[str, Any]:
        """`{attempt, offset, data, skipped}`; bytes that are no UTF-8 show as U+FFFD."""
        text = self.data.decode("utf-8", errors="replace")
        return {"attempt": self.attempt, "offset": self.offset, "data": text, "skipped": self.skipped}
