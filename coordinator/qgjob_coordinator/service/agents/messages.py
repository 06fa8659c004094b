"""What a session says and hears, free of the wire."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from qgjob_coordinator.model.builds import Build
from qgjob_coordinator.model.enums import DeathCause, Outcome, Phase
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.model.jobs import TestResult
from qgjob_coordinator.store.types.claims import Grant

PROTOCOL_VERSION = 1


@dataclass(frozen=True, slots=True)
class Held:
    """An attempt that the agent shows."""

    org_id: str
    ulid: str
    token: str
    attempt: int
    phase: Phase
    device_id: str


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of a session."""

    protocol_version: int
    agent_id: str
    instance_id: str
    epoch: int
    version: str
    host: str
    devices: tuple[DeviceInfo, ...]
    held: tuple[Held, ...]
    credit: int


@dataclass(slots=True)
class StartedReport:
    """The attempt runs."""

    report_id: int
    org_id: str
    ulid: str
    token: str
    started_at: int


@dataclass(slots=True)
class FinishedReport:
    """The attempt ended with an outcome; its tree is dead. `begun`: stands for a start that was not reported.

    `unfetched`: its build or suite could not be had at the moment, and its device did nothing.
    `host_unfit`: no device of its host can have it, as the host is set up.
    """

    report_id: int
    org_id: str
    ulid: str
    token: str
    outcome: Outcome
    started_at: int
    ended_at: int
    duration_ms: int
    install_ms: int | None
    result: TestResult | None
    error: str | None
    unresolvable: bool
    begun: bool = False
    unfetched: bool = False
    host_unfit: bool = False


@dataclass(slots=True)
class DeadReport:
    """The attempt was killed or dropped; its tree is dead."""

    report_id: int
    org_id: str
    ulid: str
    token: str
    cause: DeathCause
    ended_at: int
    started: bool


@dataclass(slots=True)
class ProgressReport:
    """How far the attempt is, in percent."""

    report_id: int
    org_id: str
    ulid: str
    token: str
    percent: int


Report = StartedReport | FinishedReport | DeadReport | ProgressReport


@dataclass(frozen=True, slots=True)
class Installed:
    """An installation on a device, for the attempt whose lease the token names."""

    device_id: str
    org_id: str
    app_version_id: str
    ok: bool
    outcome: Outcome
    install_ms: int
    token: str = ""


class Verdict(Enum):
    """What became of a report."""

    APPLIED = "APPLIED"
    REPLAYED = "REPLAYED"
    STALE = "STALE"


@dataclass(frozen=True, slots=True)
class Welcome:
    """The session is accepted. Times in ms; tokens."""

    store_epoch: int
    heartbeat_ms: int
    session_timeout_ms: int
    lease_ms: int
    kill_grace_ms: int
    adopted: tuple[str, ...]
    released: tuple[str, ...]
    revoked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeartbeatAck:
    """A heartbeat was stored."""

    seq: int
    revoked: tuple[str, ...]
    released: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Leases of one org for one device, to be carried out in this order with this build, where one was pushed."""

    org_id: str
    device_id: str
    grants: tuple[Grant, ...]
    build: Build | None = None


@dataclass(frozen=True, slots=True)
class Assign:
    """Attempts to carry out, with the limits of those whose job states none, in ms."""

    batches: tuple[Batch, ...]
    timeout_ms: int
    silence_timeout_ms: int


@dataclass(frozen=True, slots=True)
class ReportAck:
    """(report id, verdict) pairs."""

    entries: tuple[tuple[int, Verdict], ...]


@dataclass(frozen=True, slots=True)
class Recall:
    """Asks for unstarted attempts."""

    recall_id: int
    tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Revoke:
    """Kill an attempt and report its end."""

    token: str
    reason: str
    grace_ms: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Look whether a device is well."""

    device_id: str


class RefusedReason(Enum):
    """Why a session is not, or no longer, accepted."""

    STALE_EPOCH = "stale_epoch"
    AGENT_ID_IN_USE = "agent_id_in_use"
    DEVICE_ID_IN_USE = "device_id_in_use"
    VERSION = "version"
    INVALID = "invalid"
    GOING_AWAY = "going_away"


@dataclass(frozen=True, slots=True)
class Refused:
    """The session ends."""

    reason: RefusedReason
    message: str
    stored_epoch: int = 0


Down = Welcome | HeartbeatAck | Assign | ReportAck | Recall | Revoke | Probe | Refused
