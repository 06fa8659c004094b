"""The devices of one round: who works for whom, who idles, and when each has done what it holds."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cached_property
from itertools import chain

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.snapshot import DeviceView, Snapshot, free_in


class Fleet:
    """All devices that the snapshot shows, as the round goes on.

    `idle` counts those of each target that have nothing to do; `homebound`, for each org, those of them that were not
    asked yet and have work of it without an installation.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.idle = Counter([d.target for d in snapshot.devices if not d.held])
        self.homebound: dict[Target, Counter[str]] = defaultdict(Counter)
        self._working: dict[Target, Counter[str]] = {}
        self._count: dict[Target, int] = {}

    @cached_property
    def views(self) -> dict[str, DeviceView]:
        """The devices by id."""
        return {d.device_id: d for d in chain(self._snapshot.busy, self._snapshot.devices)}

    @cached_property
    def build_slots(self) -> frozenset[str]:
        """The slots for which builds have to be pushed for some of the devices."""
        return frozenset([d.build_slot for d in self.views.values() if d.build_slot is not None])

    def working(self, target: Target) -> Counter[str]:
        """How many devices of a target hold attempts of each org."""
        known = self._working.get(target)
        if known is None:
            keys = [d.holds_for for d in chain(self._snapshot.busy, self._snapshot.devices) if d.target is target]
            known = self._working[target] = Counter([key[0] for key in keys if key is not None])
        return known

    def idle_share(self, target: Target, own: float = 0.0) -> float:
        """Of the devices of a target, the part that has nothing to do, with so many more; 0 to 1."""
        devices = self._count.get(target)
        if devices is None:
            devices = self._count[target] = sum([d.target is target for d in self.views.values()])
        return min(1.0, (self.idle[target] + own) / max(1, devices))

    def spare(self, device_id: str, seconds: float) -> float:
        """For how much of so many seconds a device had nothing to do before what it does; 0 to 1."""
        device = self.views.get(device_id)
        if device is None:
            return 0.0
        idled = max(0, device.idled if device.held else self._snapshot.now - device.idle_since) / 1000
        return 1.0 if idled >= seconds else idled / seconds

    def idles(self, device_id: str) -> bool:
        """Whether the snapshot shows the device, and with nothing to do."""
        device = self.views.get(device_id)
        return device is not None and not device.held

    def free_in(self, device: DeviceView) -> float:
        """Seconds until the device has done what it holds."""
        if not device.held:
            return 0.0
        if not device.unstarted:
            return abs(device.free_at - self._snapshot.now) / 1000  # `free_in` of the one that it runs
        return free_in(device.free_at, device.next_at, self._snapshot.now)

    # ---- what the round changes ----

    def to_be_asked(self, device: DeviceView, org_id: str) -> None:
        """The device idles, and has work of the org without an installation."""
        self.homebound[device.target][org_id] += 1

    def asked(self, device: DeviceView, org_id: str) -> None:
        """It was asked: it counts for the org no longer, unless it begins work of it."""
        self.homebound[device.target][org_id] -= 1

    def begins(self, device: DeviceView, org_id: str) -> None:
        """A device that had nothing to do has work of an org now."""
        self.idle[device.target] -= 1
        self.working(device.target)[org_id] += 1

    def ends(self, device: DeviceView, org_id: str) -> None:
        """It has nothing to do again."""
        self.idle[device.target] += 1
        self.working(device.target)[org_id] -= 1
