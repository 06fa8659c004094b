"""What one session knows of its devices and of the attempts they hold. Pure bookkeeping; the truth is in the store."""

from __future__ import annotations

from dataclasses import dataclass, field

from qgjob_coordinator.model.enums import DeviceHealth
from qgjob_coordinator.model.fleet import DeviceInfo, Hold
from qgjob_coordinator.policy.snapshot import DeviceView

# Looked up once: every free device is asked in every round.
_BAD, _MAINTENANCE = DeviceHealth.BAD, DeviceHealth.MAINTENANCE


@dataclass(slots=True)
class Lease:
    """An attempt that an agent holds. `unseen_beats` counts heartbeats that should have shown it."""

    org_id: str
    ulid: str
    token: str
    gid: str
    device_id: str
    attempt: int
    started: bool = False
    has_log: bool = False
    unseen_beats: int = 0


@dataclass(slots=True)
class Slot:
    """A device of a session. `leases` are in the order in which they are carried out."""

    info: DeviceInfo
    labels: dict[str, str] = field(default_factory=dict)
    operator_labels: dict[str, str] = field(default_factory=dict)
    hold: Hold | None = None
    installed: tuple[str, str] | None = None
    leases: dict[str, Lease] = field(default_factory=dict)
    # Tokens that the agent holds and the store does not grant: the device is not free until their end is reported.
    strays: set[str] = field(default_factory=set)
    _view: DeviceView | None = None

    def changed(self) -> None:
        """Something that the policy sees changed."""
        self._view = None

    def takes_work(self, now: int) -> bool:
        """Whether health and holds allow new work."""
        health = self.info.health
        if self.strays or health is _BAD or health is _MAINTENANCE:
            return False
        return self.hold is None or self.hold.over(now)

    def view(self, agent_id: str) -> DeviceView:
        """The device as the policy sees it; made anew only after a change."""
        view = self._view
        if view is None:
            view = self._view = self._look(agent_id)
        return view

    def _look(self, agent_id: str) -> DeviceView:
        i = self.info
        first = next(iter(self.leases.values()), None)
        return DeviceView(
            device_id=i.device_id,
            agent_id=agent_id,
            target=i.target,
            platform=i.platform,
            os_version=i.os_version,
            model=i.model,
            labels=self.labels,
            installed=self.installed,
            held=len(self.leases),
            holds_for=(first.org_id, first.gid) if first else None,
        )
