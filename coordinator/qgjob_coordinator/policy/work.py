"""One planning round's books: what waits in each group, who serves it, and what was taken so far.

Bookkeeping over the snapshot, lazy where a round may not need it; which device takes what is decided by the stages that
read it. Seconds are expected ones.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.jobs import ANY_DEVICE
from qgjob_coordinator.policy.feasible import may_serve
from qgjob_coordinator.policy.snapshot import INSTALL_SECONDS, DeviceView, GroupView, Head, Snapshot, free_in

GroupKey = tuple[str, str]
"""(org, gid)"""


class Work:
    """A group with waiting jobs, as the round goes on."""

    __slots__ = (
        "_at",
        "_front",
        "_given",
        "_installing",
        "_taken",
        "_total",
        "group",
        "install",
        "key",
        "left",
        "plain",
        "serving",
    )

    def __init__(self, group: GroupView, install: float) -> None:
        self.group = group
        self.key: GroupKey = (group.org_id, group.gid)
        self.install = install
        # Devices that serve it, with the seconds until each has done what it holds.
        self.serving: dict[str, float] = dict.fromkeys(group.serving, 0.0)
        self._taken: set[str] = set()
        self._total: float | None = None  # seconds of all jobs that waited as the round began
        self._given = 0.0  # those of the ones that were taken
        self._installing = 0.0
        queues = group.queues
        self._at = [0] * len(queues)  # how many heads of each queue were looked at
        self._front: list[Head | None] = [None] * len(queues)  # the last of them, unless it is taken
        # Whether any device of the target may serve all of it.
        if len(queues) == 1:  # as most are: a round makes one of each group
            (queue,) = queues
            self.left = queue.waiting
            self.plain = queue.requirements is ANY_DEVICE and not queue.avoid
        else:
            self.left = group.waiting
            self.plain = False

    @property
    def oldest(self) -> int:
        """The least score that it began the round with."""
        queues = self.group.queues
        if len(queues) == 1:
            return queues[0].heads[0].score if queues[0].heads else 0
        return min((queue.heads[0].score for queue in queues if queue.heads), default=0)

    @property
    def seconds(self) -> float:
        """What all waiting jobs take."""
        if self._total is None:
            known = [h.seconds for q in self.group.queues for h in q.heads if h.seconds is not None]
            shown = sum(len(q.heads) for q in self.group.queues)
            total = math.fsum(known)  # the same in whatever order queues come
            mean = total / len(known) if known else self.group.typical_seconds
            unknown = (shown - len(known)) * self.group.typical_seconds
            self._total = total + unknown + max(0, self.group.waiting - shown) * mean
        return max(0.0, self._total - self._given)

    def per_device(self, more: int = 0) -> float:
        """Work before each device that serves the group, with what they hold, were there `more` of them."""
        held = math.fsum(self.serving.values()) - self._installing
        return (self.seconds + held) / max(1, len(self.serving) + more)

    def line_of(self, head: Head) -> int:
        """Index of the queue that the job is on."""
        queues = self.group.queues
        return 0 if len(queues) == 1 else next(i for i, queue in enumerate(queues) if head in queue.heads)

    def joined(self, device_id: str) -> None:
        """The device has to install first."""
        self._installing += self.install
        self.serving[device_id] += self.install

    def seconds_of(self, head: Head) -> float:
        """What a job takes."""
        return self.group.typical_seconds if head.seconds is None else head.seconds

    def heads(self, lines: Iterable[int]) -> Iterator[Head]:
        """Jobs of some queues that may still be taken; of each queue in order."""
        return (h for i in lines for h in self.group.queues[i].heads if h.ulid not in self._taken)

    def first(self, lines: Sequence[int]) -> Head | None:
        """The job of some queues that is next."""
        if len(lines) == 1:
            return self._next_on(lines[0])
        return min(filter(None, map(self._next_on, lines)), default=None)

    def _next_on(self, line: int) -> Head | None:
        head = self._front[line]
        if head is not None and head.ulid not in self._taken:
            return head
        head = None
        heads, at = self.group.queues[line].heads, self._at[line]
        while head is None and at < len(heads):
            head = heads[at]
            at += 1
            if head.ulid in self._taken:
                head = None
        self._at[line], self._front[line] = at, head
        return head

    def take(self, head: Head, device_id: str) -> float:
        """The job goes to a device, which it keeps busy for so many seconds."""
        seconds = self.group.typical_seconds if head.seconds is None else head.seconds
        self._given += seconds
        self._taken.add(head.ulid)
        self.left -= 1
        self.serving[device_id] = self.serving.get(device_id, 0.0) + seconds
        return seconds


class Books:
    """All groups with waiting work, and how devices stand to them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.works: dict[GroupKey, Work] = {}
        self.by_target: dict[Target, list[Work]] = defaultdict(list)
        self._by_version: dict[tuple[str, str, Target], Work] = {}
        self.room = dict(snapshot.room)
        self.devices_of_org: Counter[str] = Counter()
        self.left = 0
        for group in snapshot.groups:
            if group.waiting:
                work = Work(group, snapshot.install_seconds.get(group.target, INSTALL_SECONDS))
                self.left += work.left
                self.works[work.key] = work
                self.by_target[group.target].append(work)
                self._by_version[group.org_id, group.app_version_id, group.target] = work
        holders: dict[GroupKey, list[DeviceView]] = defaultdict(list)
        for device in chain(snapshot.busy, snapshot.devices):
            if device.holds_for is not None:
                holders[device.holds_for].append(device)
        for key, devices in holders.items():
            self.devices_of_org[key[0]] += len(devices)
            work_held = self.works.get(key)
            serving = {} if work_held is None else work_held.serving
            for device in devices:
                # Who serves a group is the store's to say: a claim is refused where the plan counted otherwise.
                if device.device_id in serving:
                    serving[device.device_id] = self.free_in(device)
        self.idle = Counter([d.target for d in snapshot.devices if not d.held])
        self.largest: list[tuple[float, str]] | None = None  # see `fairness`; kept until a device gets work
        self._servable: dict[tuple[GroupKey, int, str], bool] = {}

    def serves(self, device: DeviceView, org_id: str) -> None:
        """A device that had nothing to do has work of an org now."""
        self.idle[device.target] -= 1
        self.devices_of_org[org_id] += 1
        self.largest = None

    @cached_property
    def waiting_orgs(self) -> frozenset[str]:
        """The orgs that had waiting jobs as the round began."""
        return frozenset(org_id for org_id, _ in self.works)

    @cached_property
    def alive(self) -> set[tuple[str, str, Target]]:
        """The builds of groups that have not ended: (org, app version, target)."""
        return {(group.org_id, group.app_version_id, group.target) for group in self.snapshot.groups}

    @cached_property
    def _views(self) -> dict[str, DeviceView]:
        return {d.device_id: d for d in chain(self.snapshot.busy, self.snapshot.devices)}

    @cached_property
    def _devices(self) -> Counter[Target]:
        return Counter([d.target for d in self._views.values()])

    def free_in(self, device: DeviceView) -> float:
        """Seconds until the device has done what it holds."""
        if not device.held:
            return 0.0
        return free_in(device.free_at, device.next_at if device.unstarted else device.free_at, self.snapshot.now)

    def idle_share(self, target: Target) -> float:
        """Of the devices of a target, the part that has nothing to do; 0 to 1."""
        return self.idle[target] / max(1, self._devices[target])

    def home(self, device: DeviceView) -> Work | None:
        """The group with work that needs no install: what the device holds attempts for, else what is installed."""
        if device.holds_for is not None:
            return self.works.get(device.holds_for)
        if device.installed is None:
            return None
        return self._by_version.get((*device.installed, device.target))

    def has_room(self, work: Work) -> bool:
        """Whether the org may hold another attempt."""
        return self.room.get(work.key[0], 1) > 0

    def may_join(self, work: Work, device: DeviceView) -> bool:
        """Whether the cap on a group's devices lets the device serve it."""
        cap = self.snapshot.limits.group_max_devices
        return cap is None or device.device_id in work.serving or len(work.serving) < cap

    def awaits_own(self, work: Work) -> bool:
        """Whether the cap may leave the group open to an idle device that serves it, and closed to others."""
        if self.snapshot.limits.group_max_devices is None:
            return False
        return any(i in self._views and not self._views[i].held for i in work.serving)

    def lines(self, work: Work, device: DeviceView) -> Sequence[int]:
        """Indexes of the group's queues that the device may serve."""
        if work.plain:
            return (0,)
        return [i for i in range(len(work.group.queues)) if self._serves(work, i, device)]

    def _serves(self, work: Work, line: int, device: DeviceView) -> bool:
        queue = work.group.queues[line]
        if queue.requirements is ANY_DEVICE and not queue.avoid:
            return True
        memo = (work.key, line, device.device_id)
        known = self._servable.get(memo)
        if known is None:
            # The reading of the fleet may be older than what the sessions show.
            free = (d for d in self.snapshot.devices if d.target is work.group.target)
            others = chain(free, self.snapshot.candidates.get(work.group.target, ()))
            known = self._servable[memo] = may_serve(queue.requirements, queue.avoid, device, others)
        return known

    def servers(self, work: Work, head: Head) -> dict[str, float]:
        """Of the devices that serve the group those that may serve this job, with the seconds until each is free.

        One that only the store knows of counts where any device will do.
        """
        line = work.line_of(head)
        queue = work.group.queues[line]
        if queue.requirements is ANY_DEVICE and not queue.avoid:
            return work.serving
        return {
            device_id: seconds
            for device_id, seconds in work.serving.items()
            if device_id in self._views and self._serves(work, line, self._views[device_id])
        }

    def next_for(self, work: Work, device: DeviceView) -> Head | None:
        """The job that the device would take next of a group."""
        return work.first(self.lines(work, device)) if work.left else None
