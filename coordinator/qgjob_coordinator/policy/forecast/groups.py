"""Groups with waiting jobs, as a look ahead begins: the flows of each, by the devices that may serve them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

from qgjob_coordinator.policy.forecast.flow import Flow, Serving
from qgjob_coordinator.policy.forecast.reach import DeviceIds, Reach
from qgjob_coordinator.policy.planning.work import GroupKey
from qgjob_coordinator.policy.snapshot import INSTALL_SECONDS, GroupView, Queue, Snapshot

TURNS = 10
"""A device that may serve several flows of a group goes to the one with the oldest job; it looks again when a tenth of
that is done."""
MOST_TURNS = 10_000
"""Of all flows together: where they are very many devices look again less often."""


def waiting_groups(snapshot: Snapshot, reach: Reach) -> dict[GroupKey, Serving]:
    """All of them, served by nobody yet."""
    groups = {(g.org_id, g.gid): _serving(g, snapshot, reach) for g in snapshot.groups if g.waiting}
    _take_turns(groups.values(), reach)
    return groups


def _serving(group: GroupView, snapshot: Snapshot, reach: Reach) -> Serving:
    """A group whose queues are put together by the devices that may serve them."""
    install = snapshot.install_seconds.get(group.target, INSTALL_SECONDS)
    cap = snapshot.limits.group_max_devices
    serving = Serving(
        (group.org_id, group.gid),
        (group.org_id, group.app_version_id),
        install,
        snapshot.limits.fan_out * install,
        math.inf if cap is None else cap,
    )
    by_devices: dict[DeviceIds, list[Queue]] = defaultdict(list)
    for queue in group.queues:
        by_devices[reach.of(group.target, queue.requirements, queue.avoid, group.pushed)].append(queue)
    for devices, queues in by_devices.items():
        part = group if len(by_devices) == 1 else group._replace(queues=tuple(queues))
        serving.flows.append(Flow(serving, part, devices, snapshot.now))
    return serving


def _take_turns(groups: Iterable[Serving], reach: Reach) -> None:
    """Of flows whose devices may serve another one of the group too."""
    shared = [
        flow
        for group in groups
        if len(group.flows) > 1
        for flow in group.flows
        if not all(other is flow or reach.apart(flow.devices, other.devices) for other in group.flows)
    ]
    for flow in shared:
        flow.take_turns(min(TURNS, max(1, MOST_TURNS // len(shared))))
