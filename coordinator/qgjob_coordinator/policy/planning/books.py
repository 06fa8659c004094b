"""One round's books: the groups with waiting work, the fleet, and how devices stand to groups.

Bookkeeping over the snapshot; which device takes what is decided by the stages that read and write it. Seconds are
expected ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.jobs import ANY_DEVICE
from qgjob_coordinator.policy.feasible import may_serve, missing_slot
from qgjob_coordinator.policy.planning.fleet import Fleet
from qgjob_coordinator.policy.planning.groups import Groups
from qgjob_coordinator.policy.planning.work import GroupKey, Work
from qgjob_coordinator.policy.snapshot import DeviceView, GroupView, Head, Snapshot


class Books:
    """What a round is decided by, and what was decided so far."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.fleet = Fleet(snapshot)
        self.groups = Groups(snapshot, self.fleet)
        self.room = dict(snapshot.room)
        # Of `fairness`; kept until a device gets work.
        self.largest: dict[Target, list[tuple[float, str]]] = {}
        self._servable: dict[tuple[GroupKey, int, str], bool] = {}

    # ---- what was decided ----

    def serves(self, device: DeviceView, org_id: str) -> None:
        """A device that had nothing to do has work of an org now."""
        self.fleet.begins(device, org_id)
        self.largest.clear()

    @contextmanager
    def done(self, device: DeviceView, home: Work) -> Iterator[None]:
        """Meanwhile the device counts as one that has done what it holds of its group."""
        kept = self.largest
        self.largest = {}
        seconds = home.serving.pop(device.device_id, None)
        self.fleet.ends(device, home.key[0])
        try:
            yield
        finally:
            self.fleet.begins(device, home.key[0])
            if seconds is not None:
                home.serving[device.device_id] = seconds
            self.largest = kept

    def holds(self, org_id: str, attempts: int) -> None:
        """The org holds so many attempts more."""
        if org_id in self.room:
            self.room[org_id] -= attempts

    # ---- how a device stands to a group ----

    def home(self, device: DeviceView) -> Work | None:
        """The group with work that needs no install: what the device holds attempts for, else what is installed."""
        if device.holds_for is not None:
            group = self.groups.by_key.get(device.holds_for)
        elif device.installed is not None:
            group = self.groups.of_build(device.target).get(device.installed)
        else:
            return None
        return None if group is None else self.groups.work(group)

    def has_room(self, org_id: str) -> bool:
        """Whether the org may hold another attempt."""
        return self.room.get(org_id, 1) > 0

    def may_join(self, work: Work, device: DeviceView) -> bool:
        """Whether the cap on a group's devices lets the device serve it."""
        cap = self.snapshot.limits.group_max_devices
        return cap is None or device.device_id in work.serving or len(work.serving) < cap

    def awaits_own(self, group: GroupView) -> bool:
        """Whether the cap may leave the group open to an idle device that serves it, and closed to others."""
        if self.snapshot.limits.group_max_devices is None:
            return False
        made = self.groups.made.get((group.org_id, group.gid))
        return any(map(self.fleet.idles, group.serving if made is None else made.serving))

    def lines(self, work: Work, device: DeviceView) -> Sequence[int]:
        """Indexes of the group's queues that the device may serve."""
        if work.plain:
            return (0,)
        return [i for i in range(len(work.group.queues)) if self._serves(work, i, device)]

    def _serves(self, work: Work, line: int, device: DeviceView) -> bool:
        queue, pushed = work.group.queues[line], work.group.pushed
        if queue.requirements is ANY_DEVICE and not queue.avoid:
            return missing_slot(device, pushed) is None
        memo = (work.key, line, device.device_id)
        known = self._servable.get(memo)
        if known is None:
            # The reading of the fleet may be older than what the sessions show.
            free = (d for d in self.snapshot.devices if d.target is work.group.target)
            others = chain(free, self.snapshot.candidates.get(work.group.target, ()))
            known = self._servable[memo] = may_serve(queue.requirements, queue.avoid, device, others, pushed)
        return known

    def may_be_served(self, work: Work, line: int) -> bool:
        """Whether any device may serve a queue of the group, here or, where the snapshot shows them, anywhere."""
        target = work.group.target
        here = (d for d in self.fleet.views.values() if d.target is target)
        everywhere = chain(here, self.snapshot.candidates.get(target, ()))
        return any(self._serves(work, line, d) for d in everywhere)

    def servers(self, work: Work, head: Head) -> dict[str, float]:
        """Of the devices that serve the group those that may serve this job, with the seconds until each is free.

        One that only the store knows of counts where any device will do.
        """
        if work.plain:
            return work.serving
        line = work.line_of(head)
        queue = work.group.queues[line]
        any_device = queue.requirements is ANY_DEVICE and not queue.avoid
        if any_device and not work.bound:
            return work.serving
        views = self.fleet.views
        return {
            device_id: seconds
            for device_id, seconds in work.serving.items()
            if (self._serves(work, line, views[device_id]) if device_id in views else any_device)
        }

    def next_for(self, work: Work, device: DeviceView) -> Head | None:
        """The job that the device would take next of a group."""
        return work.first(self.lines(work, device)) if work.left else None
