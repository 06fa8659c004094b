"""Which of several devices is asked first, where each would do.

The least versatile one, so that the others are free for jobs that only they may run; then the least worn, then by id.
A device is more versatile the more of the requirements that wait it meets, and among equals the more labels it has.
"""

from __future__ import annotations

from collections.abc import Sequence

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.jobs import ANY_DEVICE, Requirements
from qgjob_coordinator.policy.feasible import meets
from qgjob_coordinator.policy.planning.groups import Groups
from qgjob_coordinator.policy.snapshot import INSTALL_SECONDS, DeviceView, Snapshot

Order = tuple[int, int, int, float, str]
"""Requirements met, labels, installations, hours, id."""


class Preference:
    """One round's."""

    def __init__(self, snapshot: Snapshot, groups: Groups) -> None:
        self._snapshot = snapshot
        self._groups = groups
        self._asked: dict[Target, list[Requirements]] = {}
        self._pinned: dict[str, list[Requirements]] = {}
        self._alike: dict[tuple[object, ...], int] = {}

    def warm(self, devices: Sequence[DeviceView]) -> list[DeviceView]:
        """Those that have nothing to do first."""
        if len(devices) < 2:
            return list(devices)
        return sorted(devices, key=lambda device: (device.held > 0, self._of(device)))

    def cold(self, target: Target, devices: Sequence[DeviceView]) -> list[DeviceView]:
        """Of one target: the one first whose build is of the least use.

        That is one without a build, then one whose group has ended, then the longest idle; how long is counted in whole
        installations, since what is less says little.
        """
        if len(devices) < 2:
            return list(devices)
        alive = self._groups.builds(target)
        now = self._snapshot.now
        step = 1000 * max(1.0, self._snapshot.install_seconds.get(target, INSTALL_SECONDS))

        def of_least_use(device: DeviceView) -> tuple[bool, bool, float, Order]:
            build = device.installed
            if build is None:
                return False, False, 0, self._of(device)
            return True, build in alive, (device.idle_since - now) // step, self._of(device)

        return sorted(devices, key=of_least_use)

    def _of(self, device: DeviceView) -> Order:
        return self._met(device), len(device.labels), device.installs, device.busy_hours, device.device_id

    def _met(self, device: DeviceView) -> int:
        """How many of the requirements that wait for its target the device meets."""
        asked = self._asked.get(device.target)
        if asked is None:
            asked = self._asked[device.target] = self._ask(device.target)
        pinned = self._pinned.get(device.device_id, ())
        if not asked and not pinned:
            return 0
        labels = frozenset(device.labels.items()) if device.labels else None
        alike = (device.target, device.platform, device.os_version, device.model, labels)
        met = self._alike.get(alike)
        if met is None:
            met = self._alike[alike] = sum([meets(r, device) for r in asked])
        return met + sum([meets(r, device) for r in pinned])

    def _ask(self, target: Target) -> list[Requirements]:
        """The requirements that wait; those that name a device are kept by its id."""
        asked = {q.requirements for g in self._groups.of(target) for q in g.queues if q.requirements is not ANY_DEVICE}
        for requirements in asked:
            if requirements.device_id is not None:
                self._pinned.setdefault(requirements.device_id, []).append(requirements)
        return [r for r in asked if r.device_id is None and r != ANY_DEVICE]
