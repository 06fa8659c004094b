"""CONTRACT's shapes, for /openapi.json. Answers are written by render.py; a test holds it to these models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from qgjob_coordinator.http.schemas import JOB_ID_PATTERN, Priority, Status, Target, Time, says

Outcome = Literal[
    "passed",
    "flaky",
    "test_failed",
    "timed_out",
    "app_crashed",
    "device_error",
    "agent_lost",
    "provider_error",
    "expired",
    "cancelled",
]


class Answer(BaseModel):
    """A shape of CONTRACT: every field is always there."""

    model_config = ConfigDict(strict=True, extra="forbid")


class ErrorShape(Answer):
    """Why a call failed: a word for programs, a sentence for people, and the field that is to blame."""

    error: str
    message: str
    field: str | None = None


class RequirementsShape(Answer):
    """What a device must be to serve the job."""

    platform: str | None
    os_version: str | None
    device_model: str | None
    device_id: str | None
    labels: dict[str, str]


class ResultShape(Answer):
    """What a finished attempt counted."""

    passed: int
    failed: int
    skipped: int
    duration_ms: int
    summary: str | None


class JobErrorShape(Answer):
    """Why a job or an attempt did not pass."""

    class_: Annotated[
        Literal["test", "infrastructure", "poison", "no_resource", "queue_timeout", "build", "cancelled"],
        Field(alias="class"),
    ]
    message: str


class PendingReasonShape(Answer):
    """Why a queued job waits."""

    code: Literal[
        "no_resource",
        "no_device_online",
        "all_busy",
        "retry_wait",
        "quota",
        "quarantined",
        "reserved",
        "draining",
    ]
    message: str
    position: int | None
    estimated_start_at: Time | None
    retry_at: Time | None


class OverflowShape(Answer):
    """A job's second target, and whether it went there."""

    target: Target
    after_seconds: float
    moved_from: Target | None
    moved_at: Time | None
    expected_wait_seconds: float | None
    message: str


class AttemptShape(Answer):
    """One try of a job."""

    attempt: int
    round: int
    agent_id: str
    device_id: str
    outcome: Outcome | None
    scheduled_at: Time
    started_at: Time | None
    ended_at: Time | None
    install_ms: int | None
    duration_ms: int | None
    error: JobErrorShape | None
    result: ResultShape | None


class JobShape(Answer):
    """A job."""

    job_id: Annotated[str, says(pattern=JOB_ID_PATTERN)]
    org_id: str
    app_version_id: str
    test_path: str
    priority: Priority
    target: Target
    status: Status
    outcome: Outcome | None
    round: int
    run_ids: list[str]
    labels: dict[str, str]
    requirements: RequirementsShape
    suite_digest: str | None
    overflow: OverflowShape | None
    created_at: Time
    updated_at: Time
    not_before: Time | None
    scheduled_at: Time | None
    started_at: Time | None
    completed_at: Time | None
    attempts: list[AttemptShape]
    retry_count: int
    max_retries: int
    agent_id: str | None
    device_id: str | None
    progress: int
    result: ResultShape | None
    error: JobErrorShape | None
    pending_reason: PendingReasonShape | None


class SubmittedShape(JobShape):
    """A job as the answer to its submission."""

    deduplicated: bool


class SubmittedListShape(Answer):
    """Jobs in the order of the request."""

    count: int
    jobs: list[SubmittedShape]


class JobListShape(Answer):
    """One page of jobs, newest first."""

    count: int
    jobs: list[JobShape]
    next_page_token: str | None
    org_id: str
    status_filter: Status | Literal["all"]


class DeviceShape(Answer):
    """An emulator, a physical device, or a parallel session of a cloud plan."""

    device_id: str
    agent_id: str
    udid: str
    target: Target
    platform: str | None
    os_version: str | None
    model: str | None
    state: Literal["offline", "idle", "busy", "draining", "reserved"]
    health: Literal["unknown", "good", "bad", "maintenance"]
    reason: str | None
    until: Time | None
    current_job_id: str | None
    org_id: str | None
    app_version_id: str | None
    labels: dict[str, str]
    installs: int
    last_seen_at: Time | None


class DeviceListShape(Answer):
    """One page of devices, by id."""

    count: int
    devices: list[DeviceShape]
    next_page_token: str | None


class GroupShape(Answer):
    """All unfinished jobs with the same org, app version and target."""

    group_id: str
    org_id: str
    app_version_id: str
    target: Target
    queued: int
    scheduled: int
    running: int
    device_ids: list[str]
    installs: int
    estimated_end_at: Time | None


class GroupListShape(Answer):
    """One page of groups, by id."""

    count: int
    groups: list[GroupShape]
    next_page_token: str | None


class QueueShape(Answer):
    """Jobs by status."""

    queued: int
    scheduled: int
    running: int
    completed: int
    failed: int
    cancelled: int
    retry_wait: int
    oldest_queued_age_seconds: float


class DeviceCountsShape(Answer):
    """Devices by state."""

    total: int
    idle: int
    busy: int
    offline: int
    bad: int


class SchedulerShape(Answer):
    """Fleet and planning."""

    agents_online: int
    devices: DeviceCountsShape
    groups: int
    installs: int
    installs_saved: int
    plans: int
    plan_ms_p50: float


class StatsShape(Answer):
    """Statistics."""

    queue: QueueShape
    scheduler: SchedulerShape
    timestamp: Time
