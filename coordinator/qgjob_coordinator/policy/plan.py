"""The plan: sticky grouping.

A warm device keeps its group while that has waiting work it may serve. A cold one takes the best waiting group: highest
class first, then the oldest job. `group_max_devices` caps how many devices serve a group. Ties break by id, so that the
same snapshot gives the same plan in whatever order its parts come.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import chain
from operator import attrgetter

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.jobs import ANY_DEVICE
from qgjob_coordinator.policy.feasible import may_serve
from qgjob_coordinator.policy.snapshot import Assignment, DeviceView, GroupView, Plan, Snapshot

GroupKey = tuple[str, str]
_by_id = attrgetter("device_id")


class _Planner:
    """The state of one planning round."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._limits = snapshot.limits
        self._candidates = snapshot.candidates
        self._devices = snapshot.devices
        self._room = dict(snapshot.room)
        self._groups = {(g.org_id, g.gid): g for g in snapshot.groups if g.waiting}
        self._by_version = {(g.org_id, g.app_version_id, g.target): k for k, g in self._groups.items()}
        self._versions = {(g.org_id, g.app_version_id) for g in self._groups.values()}
        self._by_target: dict[Target, list[GroupKey]] = defaultdict(list)
        for key, group in sorted(self._groups.items()):
            self._by_target[group.target].append(key)
        self._taken = {key: [0] * len(g.queues) for key, g in self._groups.items()}
        self._serving = {key: set(g.serving) for key, g in self._groups.items()}
        self._servable: dict[tuple[GroupKey, int, str], bool] = {}
        self._remaining = {key: g.waiting for key, g in self._groups.items()}
        self._left = sum(self._remaining.values())
        self.assignments: list[Assignment] = []

    def run(self, devices: tuple[DeviceView, ...]) -> Plan:
        """Warm devices first, so that no cold one takes what a warm one would serve without an install."""
        warm: list[tuple[DeviceView, GroupKey]] = []
        cold: list[DeviceView] = []
        for device in devices:
            home = self._home(device)
            if home is not None:
                warm.append((device, home))
            elif device.held == 0:
                cold.append(device)
        for device, home in sorted(warm, key=lambda pair: pair[0].device_id):
            if not self._left:
                break
            served = bool(self._remaining[home]) and self._assign(device, home)
            if not served and device.held == 0:
                cold.append(device)
        if self._left:
            self._serve_cold(cold)
        return Plan(tuple(self.assignments))

    def _serve_cold(self, devices: list[DeviceView]) -> None:
        for device in sorted(devices, key=_by_id):
            best = self._best(device)
            if best is not None:
                self._assign(device, best)
            if not self._left:
                break

    def _home(self, device: DeviceView) -> GroupKey | None:
        """The waiting group that needs no install: what the device holds attempts for, else what is installed."""
        if device.holds_for is not None:
            return device.holds_for if device.holds_for in self._groups else None
        if device.installed not in self._versions:
            return None
        return self._by_version.get((*device.installed, device.target))

    def _best(self, device: DeviceView) -> GroupKey | None:
        """The group with the best head that this device may serve and join."""
        best: tuple[int, GroupKey] | None = None
        for key in self._by_target[device.target]:
            if not self._remaining[key] or not self._may_join(key, device) or self._room.get(key[0], 1) <= 0:
                continue
            score = self._next_score(key, device)
            if score is not None and (best is None or (score, key) < best):
                best = (score, key)
        return best[1] if best else None

    def _may_join(self, key: GroupKey, device: DeviceView) -> bool:
        cap = self._limits.group_max_devices
        return cap is None or device.device_id in self._serving[key] or len(self._serving[key]) < cap

    def _lines(self, key: GroupKey, device: DeviceView) -> list[int]:
        """Indexes of the queues that the device may serve."""
        group = self._groups[key]
        found = []
        for i, queue in enumerate(group.queues):
            if queue.requirements is ANY_DEVICE and not queue.avoid:
                found.append(i)
                continue
            memo = (key, i, device.device_id)
            if memo not in self._servable:
                # The reading of the fleet may be older than what the sessions show.
                free = (d for d in self._devices if d.target is group.target)
                others = chain(free, self._candidates.get(group.target, ()))
                self._servable[memo] = may_serve(queue.requirements, queue.avoid, device, others)
            if self._servable[memo]:
                found.append(i)
        return found

    def _next_score(self, key: GroupKey, device: DeviceView) -> int | None:
        group, taken = self._groups[key], self._taken[key]
        scores = [
            group.queues[i].heads[taken[i]].score
            for i in self._lines(key, device)
            if taken[i] < len(group.queues[i].heads)
        ]
        return min(scores, default=None)

    def _assign(self, device: DeviceView, key: GroupKey) -> bool:
        """Takes a batch for the device; False when there is nothing for it to take."""
        joining = device.device_id not in self._serving[key]
        if joining and not self._may_join(key, device):
            return False
        group = self._groups[key]
        size = self._batch(group, device)
        ulids = self._take(key, device, min(size, self._room.get(key[0], size)))
        if not ulids:
            return False
        seen = len(self._serving[key]) if joining else None
        self._left -= len(ulids)
        self._remaining[key] -= len(ulids)
        self._serving[key].add(device.device_id)
        if key[0] in self._room:
            self._room[key[0]] -= len(ulids)
        self.assignments.append(Assignment(device.device_id, device.agent_id, key[0], key[1], ulids, seen))
        return True

    def _batch(self, group: GroupView, device: DeviceView) -> int:
        """Attempts to hand over: a fair share of what waits, at most a batch, so that the tail is dealt singly."""
        left = self._remaining[group.org_id, group.gid]
        devices = max(1, len(self._serving[group.org_id, group.gid] | {device.device_id}))
        share = max(1, left // (2 * devices))
        return min(self._limits.batch, share) - device.held

    def _take(self, key: GroupKey, device: DeviceView, count: int) -> tuple[str, ...]:
        group, taken = self._groups[key], self._taken[key]
        lines = self._lines(key, device)
        ulids: list[str] = []
        while len(ulids) < count:
            best = None
            for i in lines:
                if taken[i] < len(group.queues[i].heads):
                    head = group.queues[i].heads[taken[i]]
                    if best is None or (head.score, head.ulid) < best[0]:
                        best = ((head.score, head.ulid), i)
            if best is None:
                break
            taken[best[1]] += 1
            ulids.append(best[0][1])
        return tuple(ulids)


def plan(snapshot: Snapshot) -> Plan:
    """Proposes batches for the devices of a snapshot. Commits may refuse them; a plan may be stale, never wrong."""
    return _Planner(snapshot).run(snapshot.devices)
