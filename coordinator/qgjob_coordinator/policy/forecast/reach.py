"""Which of the devices that are here may serve a queue, as sets of their ids.

Queues that the same devices may serve are one to whoever looks ahead, whatever their requirements say; and of a fleet
few sets are asked for, however many groups there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.jobs import ANY_DEVICE, Requirements
from qgjob_coordinator.policy.feasible import meets, suspicion
from qgjob_coordinator.policy.snapshot import NO_BUILDS, DeviceView

DeviceIds = frozenset[str]

FEW = 8
"""What a retry avoids counts where so few devices or fewer may serve it: one of more makes no difference to when it
starts, and queues of retries are many."""


class Reach:
    """Sets of devices, each made when it is first asked for."""

    def __init__(self, devices: Iterable[DeviceView], candidates: Mapping[Target, Sequence[DeviceView]]) -> None:
        """`candidates`: devices of the whole fleet that a retry may go to instead, by target."""
        self._candidates = candidates
        self._devices = {device.device_id: device for device in devices}
        self._of_target: dict[Target, list[DeviceView]] = defaultdict(list)
        for device in self._devices.values():
            self._of_target[device.target].append(device)
        self._able: dict[tuple[Target, Requirements, frozenset[str]], DeviceIds] = {}
        self._sets: dict[DeviceIds, DeviceIds] = {}
        self._apart: dict[tuple[int, int], bool] = {}

    def of(
        self,
        target: Target,
        requirements: Requirements,
        avoid: tuple[str, ...],
        pushed: frozenset[str] = NO_BUILDS,
    ) -> DeviceIds:
        """The devices that may serve such a queue of an app version with the `pushed` builds. Equal sets are the same
        object."""
        key = target, requirements, pushed
        able = self._able.get(key)
        if able is None:
            able = self._able[key] = self._same(self._meeting(target, requirements, pushed))
        if not avoid or len(able) > FEW:
            return able
        suspected = {device_id: suspicion(avoid, self._devices[device_id]) for device_id in able}
        elsewhere = (suspicion(avoid, d) for d in self._candidates.get(target, ()) if meets(requirements, d, pushed))
        least = min(chain(suspected.values(), elsewhere), default=0)
        return self._same(frozenset([device_id for device_id, known in suspected.items() if known == least]))

    def apart(self, some: DeviceIds, others: DeviceIds) -> bool:
        """Whether two sets of `of` have no device in common."""
        key = id(some), id(others)
        known = self._apart.get(key)
        if known is None:
            known = self._apart[key] = some.isdisjoint(others)
        return known

    def _meeting(self, target: Target, requirements: Requirements, pushed: frozenset[str]) -> DeviceIds:
        devices = self._of_target[target]
        if requirements is ANY_DEVICE and not pushed:
            return frozenset([d.device_id for d in devices])
        if requirements.device_id is not None:  # of a thousand pinned queues none looks at all devices
            pinned = self._devices.get(requirements.device_id)
            devices = [pinned] if pinned is not None and pinned.target is target else []
        return frozenset([d.device_id for d in devices if meets(requirements, d, pushed)])

    def _same(self, ids: DeviceIds) -> DeviceIds:
        return self._sets.setdefault(ids, ids)
