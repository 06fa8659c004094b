"""Plans to compare with: what plain queues, pinning and mere stickiness do on the same snapshots.

Each gives one job an assignment, so that none is judged by how it batches. Where a baseline has an order of its own,
it is given queues in that order (`Policy.score`); a snapshot shows them as it shows the coordinator's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from qgjob_coordinator.model.enums import Priority
from qgjob_coordinator.policy.planning.plan import plan as qgjob_plan
from qgjob_coordinator.policy.proposals import Assignment, Plan
from qgjob_coordinator.policy.rank import queue_score
from qgjob_coordinator.policy.snapshot import DeviceView, GroupView, Head, Limits, Snapshot

GroupKey = tuple[str, str]
CLASS_SCORE = 1 << 51
"""One class above all ages."""


class _Deal:
    """What is left of a snapshot while single jobs are dealt."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.groups = {(g.org_id, g.gid): g for g in snapshot.groups if g.waiting}
        self._heads = {key: _heads(g) for key, g in self.groups.items()}
        self._taken = dict.fromkeys(self.groups, 0)
        self.serving = {key: set(g.serving) for key, g in self.groups.items()}
        self.assignments: list[Assignment] = []

    def open(self, device: DeviceView) -> Iterable[GroupKey]:
        """Groups that have a job left for the device."""
        return (k for k, g in self.groups.items() if g.target is device.target and self.next(k) is not None)

    def next(self, key: GroupKey) -> Head | None:
        heads, taken = self._heads[key], self._taken[key]
        return heads[taken] if taken < len(heads) else None

    def oldest(self, keys: Iterable[GroupKey]) -> GroupKey | None:
        """The group whose first job comes first."""
        firsts = ((head, key) for key in keys if (head := self.next(key)) is not None)
        return min(firsts, key=lambda found: (found[0].score, found[0].ulid), default=(None, None))[1]

    def home(self, device: DeviceView) -> GroupKey | None:
        """The open group whose app version is on the device."""
        installed = (k for k in self.open(device) if device.installed == (k[0], self.groups[k].app_version_id))
        return next(installed, None)

    def give(self, device: DeviceView, key: GroupKey) -> None:
        head = self.next(key)
        if head is None:
            raise ValueError(f"group {key} has no job left to give")
        self._taken[key] += 1
        self.serving[key].add(device.device_id)
        self.assignments.append(Assignment(device.device_id, device.agent_id, *key, (head.ulid,), None))


def _heads(group: GroupView) -> list[Head]:
    return sorted((head for queue in group.queues for head in queue.heads), key=lambda h: (h.score, h.ulid))


def _idle(snapshot: Snapshot) -> list[DeviceView]:
    return sorted((d for d in snapshot.devices if not d.held), key=lambda d: d.device_id)


def in_order(snapshot: Snapshot) -> Plan:
    """Any free device takes the first job, whatever is installed."""
    deal = _Deal(snapshot)
    for device in _idle(snapshot):
        key = deal.oldest(deal.open(device))
        if key is not None:
            deal.give(device, key)
    return Plan(tuple(deal.assignments))


def strict(snapshot: Snapshot) -> Plan:
    """One device a group for as long as the group has work; other devices take the first group without a device."""
    deal = _Deal(snapshot)
    free = []
    for device in _idle(snapshot):
        home = deal.home(device)
        if home is None or deal.serving[home]:
            free.append(device)
        else:
            deal.give(device, home)
    for device in free:
        key = deal.oldest(k for k in deal.open(device) if not deal.serving[k])
        if key is not None:
            deal.give(device, key)
    return Plan(tuple(deal.assignments))


def sticky(snapshot: Snapshot) -> Plan:
    """A warm device keeps its group while that has work; a cold one takes the group with the first job."""
    deal = _Deal(snapshot)
    cold = []
    for device in _idle(snapshot):
        home = deal.home(device)
        if home is None:
            cold.append(device)
        else:
            deal.give(device, home)
    for device in cold:
        key = deal.oldest(deal.open(device))
        if key is not None:
            deal.give(device, key)
    return Plan(tuple(deal.assignments))


def by_arrival(_priority: Priority, order: int) -> int:
    """Classes count for nothing."""
    return order


def by_class(priority: Priority, order: int) -> int:
    """A class before all lower ones, however long those have waited."""
    return (Priority.HIGH - priority) * CLASS_SCORE + order


@dataclass(frozen=True, slots=True)
class Policy:
    """What decides in a simulation: the plans, the order of queues that they are made from, and the plans' numbers."""

    name: str
    plan: Callable[[Snapshot], Plan]
    score: Callable[[Priority, int], int] = queue_score
    limits: Limits = field(default_factory=Limits)


QGJOB, FIFO, PRIORITY_FIFO, STRICT, STICKY = "qgjob", "fifo", "priority_fifo", "strict", "sticky"
POLICIES = {
    p.name: p
    for p in (
        Policy(QGJOB, qgjob_plan),
        Policy(FIFO, in_order, by_arrival),
        Policy(PRIORITY_FIFO, in_order, by_class),
        Policy(STRICT, strict),
        Policy(STICKY, sticky),
    )
}
FAN_OUT_MARK = "@"


def policy(name: str) -> Policy:
    """The policy of a name; `qgjob@3.5` is the coordinator's with that fan-out. Raises ValueError for another name."""
    base, mark, number = name.partition(FAN_OUT_MARK)
    if not mark and base in POLICIES:
        return POLICIES[base]
    if base == QGJOB and mark:
        try:
            fan_out = float(number)
        except ValueError:
            fan_out = math.nan
        if fan_out > 0:
            return replace(POLICIES[QGJOB], name=name, limits=replace(Limits(), fan_out=fan_out))
        raise ValueError(f"policy: fan-out {number!r} is no number above 0; use one such as {QGJOB}{FAN_OUT_MARK}3.5")
    known = ", ".join(POLICIES)
    raise ValueError(f"policy: {name!r} is unknown; use one of {known}, or {QGJOB}{FAN_OUT_MARK}FAN_OUT")
