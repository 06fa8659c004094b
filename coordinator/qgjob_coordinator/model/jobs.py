"""Jobs and what belongs to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qgjob_coordinator.model.enums import ErrorClass, Outcome, PendingCode, Priority, Status, Target

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a device must be to serve a job; None and empty restrict nothing. `labels` is sorted."""

    platform: str | None = None
    os_version: str | None = None
    device_model: str | None = None
    device_id: str | None = None
    labels: Pairs = ()


ANY_DEVICE = Requirements()


@dataclass(frozen=True, slots=True)
class Overflow:
    """A second target, which a job goes to once when its wait for the first one is expected to be longer than a bound.

    It goes before its first attempt, or not at all. `since`: from when its wait counts in a round begun by hand; None:
    from its submission. `moved_from` and `moved_at` are set when it went; `expected_wait_ms` is None where no start was
    to be expected any more. `waits` says of one that is queued why it has not gone, where that was found out. Times in
    ms.
    """

    target: Target
    after_ms: int
    since: int | None = None
    moved_from: Target | None = None
    moved_at: int | None = None
    expected_wait_ms: int | None = None
    waits: str | None = None


@dataclass(slots=True)
class JobSpec:
    """A submission after validation, with all defaults filled in; immutable for the job's life.

    `own_...` False: that value is a default, which the caller did not send.
    """

    org_id: str
    ulid: str
    app_version_id: str
    test_path: str
    priority: Priority
    target: Target
    max_retries: int
    run_id: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    requirements: Requirements = ANY_DEVICE
    env: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    supersede: str | None = None
    not_before: int | None = None
    timeout_ms: int | None = None
    queue_timeout_ms: int | None = None
    overflow: Overflow | None = None
    no_dedup: bool = False
    suite_digest: str | None = None
    suite_size_bytes: int = 0
    """With suite_digest, once the suite was found."""
    own_priority: bool = True
    own_max_retries: bool = True

    @property
    def job_id(self) -> str:
        """The public id."""
        return f"{self.org_id}~{self.ulid}"

    @property
    def plain(self) -> bool:
        """Whether any device of the target will do, at any time, and nothing is attached."""
        return self.requirements is ANY_DEVICE and self.not_before is None and not self.labels and self.overflow is None


@dataclass(slots=True)
class TestResult:
    """What a finished attempt counted."""

    __test__ = False  # not a pytest class

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    duration_ms: int = 0
    summary: str = ""


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job or an attempt did not pass."""

    error_class: ErrorClass
    message: str


@dataclass(frozen=True, slots=True)
class PendingReason:
    """Why a queued job waits."""

    code: PendingCode
    message: str
    position: int | None = None
    estimated_start_at: int | None = None
    retry_at: int | None = None


@dataclass(slots=True)
class Attempt:
    """One try of a job; `attempt` is numbered from 1 over all rounds."""

    attempt: int
    round: int
    agent_id: str
    device_id: str
    scheduled_at: int
    outcome: Outcome | None = None
    started_at: int | None = None
    ended_at: int | None = None
    install_ms: int | None = None
    duration_ms: int | None = None
    error: JobError | None = None
    result: TestResult | None = None


@dataclass(slots=True)
class Job:
    """A job as its readers see it."""

    org_id: str
    ulid: str
    app_version_id: str
    test_path: str
    priority: Priority
    target: Target
    status: Status
    created_at: int
    updated_at: int
    max_retries: int
    outcome: Outcome | None = None
    round: int = 1
    version: int = 1
    run_ids: list[str] = field(default_factory=list)
    labels: Mapping[str, str] = field(default_factory=dict)
    requirements: Requirements = ANY_DEVICE
    env: Mapping[str, str] = field(default_factory=dict)
    not_before: int | None = None
    """What a retry waits for; else what the submission asked for, in the first round, also when it has passed."""
    scheduled_at: int | None = None
    started_at: int | None = None
    completed_at: int | None = None
    attempts: list[Attempt] = field(default_factory=list)
    retry_count: int = 0
    agent_id: str | None = None
    device_id: str | None = None
    progress: int = 0
    result: TestResult | None = None
    error: JobError | None = None
    pending_reason: PendingReason | None = None
    deduplicated: bool | None = None
    suite_digest: str | None = None
    overflow: Overflow | None = None
    # Not part of the public shape: what policy and explain need.
    timeout_ms: int | None = None
    queue_timeout_ms: int | None = None
    queue_deadline: int | None = None
    avoid_devices: tuple[str, ...] = ()

    @property
    def job_id(self) -> str:
        """The public id."""
        return f"{self.org_id}~{self.ulid}"


@dataclass(frozen=True, slots=True)
class Run:
    """The jobs of one CI invocation, counted. `started_at` is None when it has none any more."""

    run_id: str
    org_id: str
    status_counts: Mapping[str, int]
    outcome_counts: Mapping[str, int]
    installs: int
    started_at: int | None
    completed_at: int | None


@dataclass(frozen=True, slots=True)
class Group:
    """All unfinished jobs with the same org, app version and target."""

    group_id: str
    org_id: str
    app_version_id: str
    target: Target
    queued: int
    scheduled: int
    running: int
    device_ids: tuple[str, ...]
    installs: int
    estimated_end_at: int | None = None
