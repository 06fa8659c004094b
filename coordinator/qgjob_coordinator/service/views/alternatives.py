"""Devices in sessions of other coordinators, for the rules that ask whether any other device could serve a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.planning.places import may_be_left
from qgjob_coordinator.policy.snapshot import DeviceView, GroupView
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader


async def alternatives(
    fleet: FleetReader, groups: Sequence[GroupView], *, limited: bool
) -> Mapping[Target, tuple[DeviceView, ...]]:
    """Able devices of the whole fleet by target; empty where no rule asks for them.

    Two do: a retry avoids a device only while there is another one; and where orgs or groups are `limited`, the last
    place may be left to another device.
    """
    return await fleet.able() if asks(groups, limited=limited) else {}


def asks(groups: Sequence[GroupView], *, limited: bool) -> bool:
    """Whether some rule asks for them."""
    avoids = any(q.avoid for g in groups for q in g.queues)
    return avoids or (limited and may_be_left(groups, wall_ms()))
