"""The closed sets of words. A member is equal to its word, which is also what JSON shows."""

from __future__ import annotations

from enum import StrEnum


class Priority(StrEnum):
    """Order in which waiting work is served."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Target(StrEnum):
    """Class of device that a job asks for."""

    EMULATOR = "emulator"
    DEVICE = "device"
    BROWSERSTACK = "browserstack"


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL_STATUSES = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})
"""A job in one of these has its verdict."""


class Outcome(StrEnum):
    """How an attempt, or a whole job, ended. FLAKY is for jobs only: passed after a test-class failure."""

    PASSED = "passed"
    FLAKY = "flaky"
    TEST_FAILED = "test_failed"
    TIMED_OUT = "timed_out"
    APP_CRASHED = "app_crashed"
    DEVICE_ERROR = "device_error"
    AGENT_LOST = "agent_lost"
    PROVIDER_ERROR = "provider_error"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class ErrorClass(StrEnum):
    """Whose failure it was."""

    TEST = "test"
    INFRASTRUCTURE = "infrastructure"
    POISON = "poison"
    NO_RESOURCE = "no_resource"
    QUEUE_TIMEOUT = "queue_timeout"
    BUILD = "build"
    CANCELLED = "cancelled"


class PendingCode(StrEnum):
    """Why a queued job waits."""

    NO_RESOURCE = "no_resource"
    NO_DEVICE_ONLINE = "no_device_online"
    ALL_BUSY = "all_busy"
    RETRY_WAIT = "retry_wait"
    QUOTA = "quota"
    QUARANTINED = "quarantined"
    RESERVED = "reserved"
    DRAINING = "draining"


class DeviceState(StrEnum):
    """What a device is doing."""

    OFFLINE = "offline"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    RESERVED = "reserved"


class DeviceHealth(StrEnum):
    """Whether a device can be trusted. BAD is also what a quarantine sets."""

    UNKNOWN = "unknown"
    GOOD = "good"
    BAD = "bad"
    MAINTENANCE = "maintenance"


class AgentState(StrEnum):
    """Whether an agent has a live session."""

    ONLINE = "online"
    DRAINING = "draining"
    OFFLINE = "offline"


class FindingLevel(StrEnum):
    """How bad a finding is, from the best to the worst."""

    OK = "ok"
    # Nothing has to be done.
    NOTE = "note"
    # It works, and somebody should do something about it.
    WARNING = "warning"
    # Calls fail, work stands still, or what was promised is not kept.
    PROBLEM = "problem"


class WatchEventKind(StrEnum):
    """What an event of a watch says."""

    # A job as it stands; part of a snapshot.
    SNAPSHOT = "snapshot"
    # The snapshot is complete.
    READY = "ready"
    # A job changed.
    TRANSITION = "transition"
    # What was missed can't be told any more: forget what you know, a new snapshot follows.
    RESET = "reset"


class PushOutcome(StrEnum):
    """What a push did: NEW (the app version had no build for these devices), SAME (it had that one), or REPLACED."""

    NEW = "new"
    SAME = "same"
    REPLACED = "replaced"


class ArtifactKind(StrEnum):
    """What a file of an attempt shows."""

    LOG = "log"
    JUNIT = "junit"
    SCREENSHOT = "screenshot"
    VIDEO = "video"
    TRACE = "trace"
    DEVICE_LOG = "device_log"
    OTHER = "other"
