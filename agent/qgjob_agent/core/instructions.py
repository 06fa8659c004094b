"""What the shells have to do, in the order given. A shell that can't carry one out answers with an event."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qgjob_agent.core.outbox import Report
    from qgjob_agent.core.values import (
        AgentFacts,
        Assignment,
        DeathCause,
        DeviceView,
        Health,
        HeldAttempt,
        Installation,
    )

# ---- to the coordinator ----


@dataclass(slots=True)
class SendHello:
    """The first message of a session; shows everything the agent holds."""

    epoch: int
    agent: AgentFacts
    devices: list[DeviceView]
    held: list[HeldAttempt]
    credit: int


@dataclass(slots=True)
class SendHeartbeat:
    """Renews the session and all leases shown."""

    epoch: int
    seq: int
    held: list[HeldAttempt]


@dataclass(slots=True)
class SendReports:
    """Reports whose last ones are in the spool already, and installations, which are not repeated after a loss."""

    epoch: int
    reports: list[Report]
    installed: list[Installation] = field(default_factory=list)


@dataclass(slots=True)
class SendInstalled:
    """One installation, for a coordinator that takes them in messages of their own."""

    epoch: int
    installation: Installation


@dataclass(slots=True)
class SendRecallAnswer:
    """Only this releases attempts that were asked back."""

    epoch: int
    recall_id: int
    released: list[str]
    kept: list[str]


@dataclass(slots=True)
class SendInventory:
    """Devices that appeared or changed, and ids of those that went."""

    epoch: int
    changed: list[DeviceView]
    gone: list[str] = field(default_factory=list)


@dataclass(slots=True)
class SendProbeResult:
    """How a probed device is."""

    epoch: int
    device_id: str
    health: Health
    reason: str | None


@dataclass(slots=True)
class SendBye:
    """The agent leaves; nothing follows."""

    epoch: int
    reason: str


@dataclass(slots=True)
class CloseSession:
    """End the stream of this epoch and connect anew."""

    epoch: int
    reason: str


# ---- to runners and devices ----


@dataclass(slots=True)
class Install:
    """Install the assignment's app version on its device; end with InstallEnded."""

    assignment: Assignment


@dataclass(slots=True)
class Start:
    """Carry out these attempts in this order on one device, whose build is installed."""

    device_id: str
    assignments: list[Assignment]


@dataclass(slots=True)
class Kill:
    """End the tree (or the installation) of this attempt: TERM, and KILL after the grace."""

    device_id: str
    token: str
    cause: DeathCause
    grace_seconds: float
    installing: bool


@dataclass(slots=True)
class Probe:
    """Look whether the device is well; end with DeviceProbed."""

    device_id: str


# ---- to the disk and the clock ----


@dataclass(slots=True)
class Persist:
    """Write these last reports to the spool before anything that follows is done."""

    reports: list[Report]


@dataclass(slots=True)
class Unspool:
    """These last reports were acknowledged; forget them, and what was kept of their attempts."""

    report_ids: list[int]
    tokens: list[str]


@dataclass(slots=True)
class RenewLease:
    """Tell the supervisors: the last confirmed message was sent then. Seconds of the monotonic clock."""

    confirmed_at: float
    window_seconds: float
    grace_seconds: float


@dataclass(slots=True)
class FlushAt:
    """Come back with FlushDue at this time of the monotonic clock; at once if it has passed."""

    at: float


@dataclass(slots=True)
class WakeAt:
    """Come back with Woken at this time; replaces the earlier one."""

    at: float


# ---- to people and the process ----


class Level(Enum):
    """How much a note matters."""

    INFO = "info"
    WARNING = "warning"


@dataclass(slots=True)
class Note:
    """Say something in the log: an event name and what it is about."""

    level: Level
    event: str
    fields: dict[str, object]


@dataclass(slots=True)
class Stop:
    """Everything is dead and told, or is left to the next daemon: end the process."""

    trees_left: int = 0


Instruction = (
    SendHello
    | SendHeartbeat
    | SendReports
    | SendInstalled
    | SendRecallAnswer
    | SendInventory
    | SendProbeResult
    | SendBye
    | CloseSession
    | Install
    | Start
    | Kill
    | Probe
    | Persist
    | Unspool
    | RenewLease
    | FlushAt
    | WakeAt
    | Note
    | Stop
)
