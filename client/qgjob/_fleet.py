"""Devices, agents, and the counts over jobs. Times are aware datetimes in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgjob._shape import Shape, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from qgjob._enums import AgentState, DeviceHealth, DeviceState, Target


@dataclass(frozen=True, slots=True)
class Device(Shape):
    """One emulator, physical device, or parallel session of a cloud plan. Org and app version are what is installed."""

    device_id: str
    agent_id: str
    udid: str
    target: Target
    platform: str | None
    os_version: str | None
    model: str | None
    state: DeviceState
    health: DeviceHealth
    reason: str | None
    until: datetime | None
    current_job_id: str | None
    org_id: str | None
    app_version_id: str | None
    labels: Mapping[str, str]
    installs: int
    last_seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Agent(Shape):
    """The daemon on a device host. `devices` is their number."""

    agent_id: str
    state: AgentState
    version: str
    host: str
    devices: int
    connected_at: datetime | None
    last_seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Group(Shape):
    """All unfinished jobs with the same org, app version and target. `group_id` is opaque."""

    group_id: str
    org_id: str
    app_version_id: str
    target: Target
    queued: int
    scheduled: int
    running: int
    device_ids: tuple[str, ...]
    installs: int
    estimated_end_at: datetime | None


@dataclass(frozen=True, slots=True)
class Run(Shape):
    """The jobs of one CI invocation, counted by status (each is present) and by outcome."""

    run_id: str
    org_id: str
    status_counts: Mapping[str, int]
    outcome_counts: Mapping[str, int]
    installs: int
    started_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class QueueStats(Shape):
    """Jobs by status; `retry_wait` counts those of `queued` whose time has not come."""

    queued: int
    scheduled: int
    running: int
    completed: int
    failed: int
    cancelled: int
    retry_wait: int
    oldest_queued_age_seconds: float


@dataclass(frozen=True, slots=True)
class DeviceCounts(Shape):
    """Devices by state, and those whose health is bad."""

    total: int
    idle: int
    busy: int
    offline: int
    bad: int


@dataclass(frozen=True, slots=True)
class SchedulerStats(Shape):
    """The fleet and its installs; `plans` and `plan_ms_p50` are of the coordinator that answered."""

    agents_online: int
    devices: DeviceCounts
    groups: int
    installs: int
    installs_saved: int
    plans: int
    plan_ms_p50: float


@dataclass(frozen=True, slots=True)
class Stats(Shape):
    """Counts over all that the caller may see, or over one org."""

    queue: QueueStats
    scheduler: SchedulerStats
    timestamp: datetime | None


@dataclass(frozen=True, slots=True)
class Health(Shape):
    """What the health service of a coordinator says: `serving`, `not_serving` or `unknown`; `address` answered.

    `reason` says why it does not serve. The CLI says `unreachable` where no address answered: it shows all of them.
    """

    status: str
    address: str
    reason: str | None = None

    @property
    def serving(self) -> bool:
        """The coordinator takes calls and its store acknowledges."""
        return self.status == "serving"


@dataclass(frozen=True, slots=True)
class _Page(Shape):
    next_page_token: str | None


@dataclass(frozen=True, slots=True)
class DevicePage(_Page):
    """One page of the device list."""

    devices: tuple[Device, ...]

    def to_dict(self) -> dict[str, Any]:
        """`{count, devices, next_page_token}`."""
        return _page("devices", self.devices, self.next_page_token)


@dataclass(frozen=True, slots=True)
class AgentPage(_Page):
    """One page of the agent list."""

    agents: tuple[Agent, ...]

    def to_dict(self) -> dict[str, Any]:
        """`{count, agents, next_page_token}`."""
        return _page("agents", self.agents, self.next_page_token)


@dataclass(frozen=True, slots=True)
class GroupPage(_Page):
    """One page of the group list."""

    groups: tuple[Group, ...]

    def to_dict(self) -> dict[str, Any]:
        """`{count, groups, next_page_token}`."""
        return _page("groups", self.groups, self.next_page_token)


def _page(name: str, items: tuple[Shape, ...], next_page_token: str | None) -> dict[str, Any]:
    return {"count": len(items), name: to_json(items), "next_page_token": next_page_token}
