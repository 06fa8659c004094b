"""Agents and their devices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from qgjob_coordinator.model.builds import slot_for
from qgjob_coordinator.model.enums import AgentState, DeviceHealth, DeviceState, HoldKind, HoldSlot, Target


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device as its agent describes it."""

    device_id: str
    udid: str
    target: Target
    platform: str | None = None
    os_version: str | None = None
    model: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    org_id: str | None = None
    app_version_id: str | None = None
    health: DeviceHealth = DeviceHealth.GOOD
    reason: str | None = None
    pushed_builds_only: bool = False

    @property
    def build_slot(self) -> str | None:
        """For which slot a build has to be pushed for it; None where its agent may have builds from elsewhere."""
        return slot_for(self.target, self.platform) if self.pushed_builds_only else None


_SLOT = {
    HoldKind.DRAINING: HoldSlot.DRAINING,
    HoldKind.RESERVED: HoldSlot.RESERVED,
    HoldKind.MAINTENANCE: HoldSlot.HEALTH,
    HoldKind.BAD: HoldSlot.HEALTH,
}


@dataclass(frozen=True, slots=True)
class Hold:
    """An operator's word that keeps a device (or all of an agent's) from new work."""

    kind: HoldKind
    reason: str | None = None
    until: int | None = None

    @property
    def slot(self) -> HoldSlot:
        """What it is the one hold of."""
        return _SLOT[self.kind]

    def over(self, now: int) -> bool:
        """The hold has ended by itself."""
        return self.until is not None and self.until <= now


def in_force(holds: Iterable[Hold], now: int) -> list[Hold]:
    """Those that have not ended by themselves. A device takes work when there are none."""
    return [h for h in holds if not h.over(now)]


_STRENGTH = (HoldSlot.DRAINING, HoldSlot.RESERVED, HoldSlot.HEALTH)


def over_last(holds: Iterable[Hold]) -> Hold | None:
    """The one that keeps a device longest; None of none.

    Of those that end together, or not by themselves, it is the one that says most of the device, then the first.
    """
    return max(holds, key=lambda h: (h.until is None, h.until or 0, _STRENGTH.index(h.slot)), default=None)


@dataclass(slots=True)
class Device:
    """A device as its readers see it. `held` is what keeps it from work longest; `reason` and `until` are of that.

    `free_at` (ms) is when it is expected to have done what it holds. `build_slot` as of DeviceInfo.
    """

    device_id: str
    agent_id: str
    udid: str
    target: Target
    platform: str | None
    os_version: str | None
    model: str | None
    state: DeviceState
    health: DeviceHealth
    labels: Mapping[str, str]
    reason: str | None = None
    until: int | None = None
    held: HoldKind | None = None
    current_job_id: str | None = None
    free_at: int | None = None
    org_id: str | None = None
    app_version_id: str | None = None
    installs: int = 0
    last_seen_at: int | None = None
    build_slot: str | None = None


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent as its readers see it."""

    agent_id: str
    state: AgentState
    version: str
    host: str
    devices: int
    connected_at: int | None
    last_seen_at: int | None


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Jobs by status, and how long the oldest has waited."""

    queued: int = 0
    scheduled: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    retry_wait: int = 0
    oldest_queued_age_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class SchedulerStats:
    """Agents, devices, groups, installs; `plans` and `plan_ms_p50` are of the answering coordinator."""

    agents_online: int
    devices_total: int
    devices_idle: int
    devices_busy: int
    devices_offline: int
    devices_bad: int
    groups: int
    installs: int
    installs_saved: int
    plans: int
    plan_ms_p50: float


@dataclass(frozen=True, slots=True)
class Stats:
    """What `qgjob stats` shows."""

    queue: QueueStats
    scheduler: SchedulerStats
    timestamp: int
