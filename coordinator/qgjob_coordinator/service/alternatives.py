"""The devices that a retry may go to in place of those it avoids."""

from __future__ import annotations

from collections.abc import Iterable

from qgjob_coordinator.model.enums import DeviceHealth, DeviceState, Target
from qgjob_coordinator.policy.feasible import same_target, view
from qgjob_coordinator.policy.snapshot import DeviceView, GroupView
from qgjob_coordinator.service.fleet import FleetReader

_ABLE = (DeviceState.IDLE, DeviceState.BUSY)
_FIT = (DeviceHealth.GOOD, DeviceHealth.UNKNOWN)


async def alternatives(fleet: FleetReader, groups: Iterable[GroupView]) -> dict[Target, tuple[DeviceView, ...]]:
    """Able devices of the whole fleet by target; read only when some device is to be avoided, else empty."""
    if not any(q.avoid for g in groups for q in g.queues):
        return {}
    able = [view(d) for d in await fleet.devices() if d.state in _ABLE and d.health in _FIT]
    return {target: same_target(target, able) for target in Target}
