"""When waiting jobs will start and groups will end, as far as anybody can tell now.

The plan is played forward (`draining`) with waiting jobs as fluids (`flow`): each device that serves a group drains, a
second of work a second, those of its jobs that it may serve; one that finds none left goes where the plan would send it
(`offers`), and installs; and one whose jobs are no longer urgent may be called away to others that are (`calls`). No
more devices serve a group than `group_max_devices`, or an org than it may hold attempts. Shares of orgs are left out,
and so is what will be submitted later. It costs a step for each device and each flow that runs dry, whatever the number
of jobs.

What no device here may serve never drains: its jobs have no expected start, and its group no expected end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from qgjob_coordinator.model.jobs import ANY_DEVICE, Requirements
from qgjob_coordinator.policy.forecast.devices import all_devices, most_devices
from qgjob_coordinator.policy.forecast.draining import Draining
from qgjob_coordinator.policy.forecast.expected import SPREAD, Expected, around
from qgjob_coordinator.policy.forecast.flow import Flow
from qgjob_coordinator.policy.forecast.groups import waiting_groups
from qgjob_coordinator.policy.forecast.reach import Reach
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.work import GroupKey
from qgjob_coordinator.policy.snapshot import DeviceView, Snapshot


class Forecast:
    """One look ahead from a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        devices, books = all_devices(snapshot), Books(snapshot)
        self._reach = Reach(devices, snapshot.candidates)
        self._groups = waiting_groups(snapshot, self._reach)
        self._held = _held(snapshot, devices, books)
        Draining(self._groups, most_devices(snapshot)).run(devices, books)

    def before(
        self,
        key: GroupKey,
        ulid: str,
        place: int,
        requirements: Requirements = ANY_DEVICE,
        avoid: tuple[str, ...] = (),
    ) -> tuple[float, int] | None:
        """Work (s) before a job among those that the same devices may serve, and its place there.

        `place` is the one in its group. For a job that is not among the first of its queue it is taken to be as far
        back among those.
        """
        flow = self.flow(key, requirements, avoid)
        if flow is None:
            return None
        group = flow.group
        if len(group.flows) > 1:
            shown = flow.shown()
            waiting = sum([each.work.left for each in group.flows])
            behind = max(len(shown) + 1, math.ceil(place * flow.work.left / waiting))
            place = next((i for i, head in enumerate(shown, 1) if head.ulid == ulid), behind)
        return flow.ahead(place - 1), place

    def start(
        self,
        key: GroupKey,
        ahead: float,
        position: int,
        requirements: Requirements = ANY_DEVICE,
        avoid: tuple[str, ...] = (),
    ) -> Expected | None:
        """When the `position`-th of a group's jobs that the same devices may serve starts, with so much work (s) of
        them before it; None: not known."""
        flow = self.flow(key, requirements, avoid)
        return None if flow is None else flow.start(ahead, position)

    def end(self, key: GroupKey) -> Expected | None:
        """When the group's waiting work is done, or, where nothing waits, what its devices hold; None: not known, or
        never."""
        group = self._groups.get(key)
        if group is None:
            return self._held.get(key)
        ends = [flow.end() for flow in group.flows]
        known = [end for end in ends if end is not None]
        return max(known, key=lambda end: end.seconds) if len(known) == len(ends) else None

    def groups(self) -> Sequence[GroupKey]:
        """Groups with waiting jobs, and those whose jobs devices hold, all of them."""
        return [*self._groups, *self._held]

    def flows(self, key: GroupKey) -> Sequence[Flow]:
        """The waiting jobs of a group, by who may serve them."""
        group = self._groups.get(key)
        return () if group is None else group.flows

    def flow(self, key: GroupKey, requirements: Requirements = ANY_DEVICE, avoid: tuple[str, ...] = ()) -> Flow | None:
        """The waiting jobs of a group that the devices for such a job may serve; None: none wait."""
        group = self._groups.get(key)
        if group is None:
            return None
        of = group.flows[0].work.group
        devices = self._reach.of(of.target, requirements, avoid, of.pushed)
        return next((flow for flow in group.flows if flow.devices is devices), None)


def _held(snapshot: Snapshot, devices: Iterable[DeviceView], books: Books) -> dict[GroupKey, Expected]:
    """When the devices of groups of which nothing waits have done what they hold.

    A group with a job that is not to start before its time is not among them: it has unfinished jobs that nobody holds.
    """
    holding = {
        (g.org_id, g.gid): g for g in snapshot.groups if not g.waiting and g.unfinished <= sum(g.serving.values())
    }
    ends: dict[GroupKey, float] = {}
    for device in devices:
        if device.held and device.holds_for in holding:
            ends[device.holds_for] = max(ends.get(device.holds_for, 0.0), books.fleet.free_in(device))
    return {key: around(end, SPREAD * holding[key].typical_seconds) for key, end in ends.items()}
