"""The closed sets of words. Values are what JSON shows."""

from __future__ import annotations

from enum import Enum, IntEnum, StrEnum


class Status(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """A verdict was given."""
        return self in FINAL


FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
UNFINISHED = frozenset(Status) - FINAL


class Outcome(StrEnum):
    """How an attempt or a job ended. FLAKY is for jobs only."""

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


class Priority(IntEnum):
    """Classes of urgency; the larger is served first."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3

    @property
    def word(self) -> str:
        """What JSON shows."""
        return self.name.lower()


class Target(StrEnum):
    """Class of device that a job asks for."""

    # The text's own hash is computed once; that of enums is a call in every look-up, of which a plan makes thousands.
    __hash__ = str.__hash__

    EMULATOR = "emulator"
    DEVICE = "device"
    BROWSERSTACK = "browserstack"


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
    """Whether a device can be trusted."""

    UNKNOWN = "unknown"
    GOOD = "good"
    BAD = "bad"
    MAINTENANCE = "maintenance"


class HoldKind(StrEnum):
    """By which word of an operator a device is kept from new work."""

    DRAINING = "draining"
    RESERVED = "reserved"
    MAINTENANCE = "maintenance"
    BAD = "bad"


class HoldSlot(StrEnum):
    """What a device has one hold of: a newer one takes the place of the one before, and of no other."""

    DRAINING = "draining"
    RESERVED = "reserved"
    HEALTH = "health"


class AgentState(StrEnum):
    """Whether an agent has a live session."""

    ONLINE = "online"
    DRAINING = "draining"
    OFFLINE = "offline"


class Phase(StrEnum):
    """How far an agent is with an attempt that it holds."""

    UNSTARTED = "unstarted"
    RUNNING = "running"
    SPOOLED = "spooled"


class Charge(Enum):
    """Which retry budget a failed attempt uses up."""

    TEST = "test"
    INFRASTRUCTURE = "infrastructure"
    # Neither: an outage of store or coordinator, an attempt that was never started, an agent that was shut down.
    NOBODY = "nobody"
    # No retry at all: a build or suite that can't be resolved.
    FINAL = "final"


class DeathCause(Enum):
    """Why an attempt ended without an outcome of its own, as its agent tells."""

    REVOKED = "revoked"
    LEASE_LOST = "lease_lost"
    SHUTDOWN = "shutdown"
    DEVICE_LOST = "device_lost"
    DISK_FULL = "disk_full"
    AGENT_LOST = "agent_lost"
