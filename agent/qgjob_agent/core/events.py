"""What happens to the agent. Messages of a session carry its epoch; times are milliseconds where no unit is named."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qgjob_agent.core.values import (
        App,
        Assignment,
        DeathCause,
        DeviceFacts,
        Finished,
        Health,
        LivingTree,
        Outcome,
        SpooledReport,
        Verdict,
    )

# ---- from the session ----


@dataclass(slots=True)
class SessionConnecting:
    """A stream is open and its epoch is on disk; the agent is to say Hello."""

    epoch: int


@dataclass(slots=True)
class Welcomed:
    """The coordinator accepted the Hello of this epoch."""

    epoch: int
    heartbeat_ms: int
    session_timeout_ms: int
    lease_ms: int
    kill_grace_ms: int
    adopted: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    joined_reports: bool = False


@dataclass(slots=True)
class SessionLost:
    """The stream of this epoch has ended."""

    epoch: int


@dataclass(slots=True)
class HeartbeatConfirmed:
    """The coordinator renewed the leases shown in heartbeat `seq`."""

    epoch: int
    seq: int
    revoked: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Assigned:
    """Attempts to carry out, in this order on each device."""

    epoch: int
    assignments: list[Assignment]


@dataclass(slots=True)
class ReportsAcknowledged:
    """Verdicts on reports: (report_id, verdict)."""

    epoch: int
    entries: list[tuple[int, Verdict]]


@dataclass(slots=True)
class Recalled:
    """The coordinator asks for unstarted attempts back."""

    epoch: int
    recall_id: int
    tokens: list[str]


@dataclass(slots=True)
class Revoked:
    """Kill this attempt and report its end."""

    epoch: int
    token: str
    reason: str
    grace_ms: int


@dataclass(slots=True)
class DrainDevice:
    """Finish what runs on the device, take nothing new."""

    epoch: int
    device_id: str


@dataclass(slots=True)
class ResumeDevice:
    """End the drain of the device."""

    epoch: int
    device_id: str


@dataclass(slots=True)
class ProbeDevice:
    """Look whether the device is well."""

    epoch: int
    device_id: str


# ---- from runners ----


@dataclass(slots=True, eq=False)
class AttemptStarted:
    """The test process lives."""

    token: str
    started_at_ms: int


@dataclass(slots=True, eq=False)
class AttemptProgressed:
    """0 to 100."""

    token: str
    percent: int


@dataclass(slots=True, eq=False)
class AttemptFinished:
    """The attempt ended by itself or by one of its limits, and its tree is dead."""

    token: str
    finished: Finished


@dataclass(slots=True, eq=False)
class AttemptKilled:
    """The attempt was killed and its tree is dead. `cause` is None where the runner was only told to.

    `begun` is False for one of several that was taken back before its turn.
    """

    token: str
    ended_at_ms: int
    cause: DeathCause | None = None
    begun: bool = True


@dataclass(slots=True, eq=False)
class AttemptInstalled:
    """The test itself installed the app so many times, each of which took `install_ms` on average."""

    token: str
    installs: int
    install_ms: int


@dataclass(slots=True, eq=False)
class TreeStuck:
    """SIGKILL does not end what an execution began on a device; without a `tree` it is dead after all.

    `token` and `job_id` are those of its first attempt.
    """

    token: str
    job_id: str
    device_id: str
    tree: LivingTree | None


AttemptEvent = AttemptInstalled | AttemptStarted | AttemptProgressed | AttemptFinished | AttemptKilled | TreeStuck


@dataclass(slots=True, eq=False)
class RunnerReported:
    """What a runner has to say, in order; one event for many attempts keeps the hot path short."""

    events: list[AttemptEvent]


# ---- from device providers ----


@dataclass(slots=True)
class InstallEnded:
    """The installation that `token` waited for has ended. `cancelled`: it was killed, and nothing of it lives.
    `unresolvable`: there is no such build, or it fits no device like this one, so no other try would end otherwise.
    `unfetched`: the build could not be had at the moment, so nothing was begun on the device.
    `host_unfit`: nor can it be had later, for any device of this host.
    `was_there`: it passed without an installation, since the device has the build already.
    """

    device_id: str
    token: str
    outcome: Outcome
    install_ms: int
    error: str | None = None
    cancelled: bool = False
    unresolvable: bool = False
    unfetched: bool = False
    host_unfit: bool = False
    was_there: bool = False


@dataclass(slots=True)
class DeviceSeen:
    """A device appeared, came back or changed. `installed` is what its provider found there that it had installed."""

    facts: DeviceFacts
    installed: App | None = None


@dataclass(slots=True)
class DeviceLost:
    """A device went away."""

    device_id: str


@dataclass(slots=True)
class DeviceProbed:
    """The answer to a probe."""

    device_id: str
    health: Health
    reason: str | None = None


# ---- from the disk, the clock and the process ----


@dataclass(slots=True)
class RunningAttempt:
    """An attempt of an earlier daemon whose tree may live."""

    assignment: Assignment
    started_at_ms: int


@dataclass(slots=True)
class Recovered:
    """What an earlier daemon left: results in the spool, and executions that may live."""

    spooled: list[SpooledReport]
    running: list[RunningAttempt]


@dataclass(slots=True)
class DiskMeasured:
    """What is free on the disk of the agent's state, for it to use; `free_inodes` is None where nobody counts them."""

    free_bytes: int
    free_inodes: int | None = None


@dataclass(slots=True)
class StateDirSeen:
    """Whether the state directory is the one that the agent holds: `gone` says why it is not, for people."""

    gone: str | None


@dataclass(slots=True)
class LaunchRefused:
    """The disk has no room for the files of an attempt that was to begin; nothing of it lives."""

    token: str
    error: str


@dataclass(slots=True)
class SpoolFailed:
    """The disk refused to take a result."""

    error: str


@dataclass(slots=True)
class SpoolRecovered:
    """The disk takes writes again, and everything that waited is written."""


@dataclass(slots=True)
class FlushDue:
    """The time that FlushAt named has come."""


@dataclass(slots=True)
class Woken:
    """The time that WakeAt named has come."""


@dataclass(slots=True)
class ShutdownRequested:
    """Finish what runs for so many seconds, then kill; 0 kills at once."""

    drain_seconds: float


Event = (
    SessionConnecting
    | Welcomed
    | SessionLost
    | HeartbeatConfirmed
    | Assigned
    | ReportsAcknowledged
    | Recalled
    | Revoked
    | DrainDevice
    | ResumeDevice
    | ProbeDevice
    | RunnerReported
    | InstallEnded
    | DeviceSeen
    | DeviceLost
    | DeviceProbed
    | Recovered
    | DiskMeasured
    | StateDirSeen
    | LaunchRefused
    | SpoolFailed
    | SpoolRecovered
    | FlushDue
    | Woken
    | ShutdownRequested
)
