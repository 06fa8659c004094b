"""Everything the core remembers. Changed only by the handlers that `Machine` calls."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from qgjob_agent.core.device import Device
from qgjob_agent.core.instructions import Instruction, Level, Note
from qgjob_agent.core.lease_clock import LeaseClock
from qgjob_agent.core.outbox import Outbox
from qgjob_agent.core.values import (
    AgentFacts,
    DeathCause,
    DeviceFacts,
    DeviceView,
    Health,
    HeldAttempt,
    Installation,
    Limits,
)
from qgjob_agent.device_rules import with_label

if TYPE_CHECKING:
    from qgjob_agent.core.leases import Lease

RUNNER_LABEL = "runner"
"""Of a device: how its agent runs tests. The coordinator's doctor knows it by this name too."""


class Link(Enum):
    """Where the session stands."""

    CLOSED = "closed"
    CONNECTING = "connecting"  # Hello is sent
    OPEN = "open"  # Welcome has come


class Session:
    """One life of the stream. Times are seconds of the monotonic clock."""

    __slots__ = (
        "epoch",
        "heartbeat_seconds",
        "hello_sent_at",
        "joined_reports",
        "last_heard_at",
        "link",
        "next_heartbeat_at",
        "sent_at",
        "seq",
        "shown",
        "timeout_seconds",
        "untold",
    )

    def __init__(self) -> None:
        self.link = Link.CLOSED
        self.epoch = 0
        self.hello_sent_at = 0.0
        self.shown: list[str] = []  # tokens in the Hello
        self.untold: dict[str, None] = {}  # devices that came, went or changed since the Hello, while it was not open
        self.seq = 0
        self.sent_at: dict[int, float] = {}  # heartbeat seq -> when it was sent
        self.heartbeat_seconds = 0.0
        self.timeout_seconds = 0.0
        self.next_heartbeat_at = 0.0
        self.last_heard_at = 0.0
        self.joined_reports = False  # the coordinator takes a Finished for its Started, and installations with reports


class State:
    """The whole state, the time of the event in hand, and the instructions that it has led to so far."""

    __slots__ = (
        "agent",
        "clock",
        "devices",
        "disk",
        "flush_pending",
        "installed_unsent",
        "kill_grace_seconds",
        "last_flush_at",
        "late_seconds",
        "lease_end_done",
        "leases",
        "limits",
        "now",
        "out",
        "outbox",
        "session",
        "shutdown",
        "timers_changed",
        "wake_at",
        "wall_ms",
    )

    def __init__(self, agent: AgentFacts, devices: list[DeviceFacts], limits: Limits) -> None:
        self.agent = agent
        self.limits = limits
        self.devices = {facts.device_id: Device(facts) for facts in devices}
        self.leases: dict[str, Lease] = {}
        self.outbox = Outbox()
        self.clock = LeaseClock()
        self.session = Session()
        self.kill_grace_seconds = limits.kill_grace_seconds
        self.installed_unsent: list[Installation] = []
        self.flush_pending = False
        self.last_flush_at = float("-inf")
        self.lease_end_done = False
        self.disk = Disk()
        self.shutdown = Shutdown()
        self.timers_changed = False
        self.wake_at: float | None = None
        self.late_seconds = 0.0  # see came_late; since the lease was renewed
        self.now = 0.0
        self.wall_ms = 0
        self.out: list[Instruction] = []

    @property
    def session_open(self) -> bool:
        """True while messages of this session may be sent."""
        return self.session.link is Link.OPEN

    @property
    def may_start(self) -> bool:
        """The rule for starts: the lease is fresh, the disk has room, and the agent stays."""
        return self.disk.problem is None and not self.shutdown.requested and self.clock.fresh(self.now)

    def came_late(self, now: float) -> None:
        """Counts how long this agent stood still while something was due; what comes after the lease costs nothing."""
        ends_at = self.clock.ends_at
        since = self.now if self.wake_at is None else max(self.wake_at, self.now)
        self.late_seconds += max((now if ends_at is None else min(now, ends_at)) - since, 0.0)

    @property
    def lease_end_cause(self) -> DeathCause:
        """What ends the leases: an outage of others, or this agent, which itself stood still for half of the window."""
        own = 0 < self.clock.window / 2 <= self.late_seconds
        return DeathCause.AGENT_LOST if own else DeathCause.LEASE_LOST

    def held(self) -> list[HeldAttempt]:
        """Everything the agent holds: running, unstarted and spooled."""
        return [lease.held() for lease in self.leases.values()]

    def view(self, device: Device) -> DeviceView:
        """A device as the coordinator is told of it; what ails the agent ails its devices."""
        facts, health, reason = device.facts, device.facts.health, device.facts.reason
        facts = replace(facts, labels=with_label(facts.labels, RUNNER_LABEL, self.agent.runner))
        if self.disk.problem is not None:
            health, reason = Health.BAD, self.disk.problem
        elif self.shutdown.requested:
            health, reason = Health.MAINTENANCE, "the agent is shutting down"
        elif device.stuck is not None:
            health, reason = Health.BAD, device.stuck
        return DeviceView(facts, device.installed, health, reason, self.agent.pushed_builds_only)

    def views(self) -> list[DeviceView]:
        """All devices that are there."""
        return [self.view(device) for device in self.devices.values() if not device.gone]

    def warn(self, event: str, **fields: object) -> None:
        """Leaves a warning for people."""
        self.out.append(Note(Level.WARNING, event, fields))

    def note(self, event: str, **fields: object) -> None:
        """Leaves a note for people."""
        self.out.append(Note(Level.INFO, event, fields))


class Shutdown:
    """The end of the process, by stages: drain until `kill_at`, kill until `give_up_at`, farewell until `leave_at`."""

    __slots__ = ("give_up_at", "kill_at", "leave_at", "requested", "stopped")

    def __init__(self) -> None:
        self.requested = False
        self.kill_at: float | None = None
        self.give_up_at: float | None = None
        self.leave_at: float | None = None
        self.stopped = False


class Disk:
    """What ails the disk: `gone`, the state directory was removed, in words; `refused`, a write was refused and why;
    `short`, too little is free, in words.

    `launches_refused` counts the times in a row that it refused an attempt soon after it was found well, which was last
    at `well_at` (s); a write of results that is refused later than that begins anew.
    """

    __slots__ = ("gone", "launches_refused", "refused", "retry_at", "short", "well_at")

    def __init__(self) -> None:
        self.gone: str | None = None
        self.refused: str | None = None
        self.short: str | None = None
        self.retry_at = 0.0
        self.launches_refused = 0
        self.well_at = float("-inf")

    @property
    def problem(self) -> str | None:
        """Why no new work is taken; None when it is."""
        if self.gone is not None:
            return f"the agent's state_dir {self.gone}: it takes no work until it is started anew, or has it back"
        if self.refused is not None:
            return f"the agent's disk refuses writes: {self.refused}"
        return None if self.short is None else f"the agent's disk is full: {self.short}"
