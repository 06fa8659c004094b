"""One planning round's books: what waits in each group, who serves it, and what was taken so far.

Bookkeeping over the snapshot; which device takes what is decided by the stages that read it. A round may be for one
device among thousands of groups, so a group costs next to nothing before somebody looks at it: its `Work` is made then.
Seconds are expected ones.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.jobs import ANY_DEVICE
from qgjob_coordinator.policy.feasible import may_serve
from qgjob_coordinator.policy.snapshot import (
    INSTALL_SECONDS,
    Asked,
    DeviceView,
    GroupView,
    Head,
    Queue,
    Snapshot,
    first_score,
    free_in,
    known_seconds,
)

GroupKey = tuple[str, str]
"""(org, gid)"""


def plain_queue(group: GroupView) -> Queue | None:
    """The only queue of a group of which any device of the target may serve all; None for other groups."""
    queues = group.queues
    if len(queues) != 1:
        return None
    queue = queues[0]
    return queue if queue.requirements is ANY_DEVICE and not queue.avoid else None


def oldest(group: GroupView) -> int | None:
    """The least score of a group's jobs; None if none of them is shown."""
    queues = group.queues
    if len(queues) == 1:  # as most have
        return first_score(queues[0])
    return min((s for s in map(first_score, queues) if s is not None), default=None)


class Work:
    """A group with waiting jobs, as the round goes on."""

    __slots__ = (
        "_ahead",
        "_at",
        "_front",
        "_given",
        "_installing",
        "_joined",
        "_most",
        "_taken",
        "_total",
        "_waiting",
        "group",
        "install",
        "key",
        "left",
        "plain",
        "serving",
    )

    def __init__(self, key: GroupKey, group: GroupView, install: float, serving: dict[str, float]) -> None:
        """`serving`: the devices that serve it, with the seconds until each has done what it holds."""
        self.key = key
        self.group = group
        self.install = install
        self.serving = serving
        queue = plain_queue(group)
        self.plain = queue is not None
        self.left = self._waiting = group.waiting if queue is None else queue.waiting
        self._taken: set[str] = set()
        self._total: float | None = None  # seconds of all jobs that waited as the round began
        self._given = 0.0  # those of the ones that were taken
        self._ahead: float | None = None  # what is before all that serve it, until that changes
        self._most = 0.0  # and the most that one of them holds
        self._installing = 0.0
        self._joined: tuple[str, ...] = ()
        queues = len(group.queues)
        self._at = [0] * queues  # how many heads of each queue were looked at
        self._front: list[Head | None] = [None] * queues  # the last of them, unless it is taken

    @property
    def seconds(self) -> float:
        """What all waiting jobs take."""
        if self._total is None:
            self._total = self._in_all()
        return max(0.0, self._total - self._given)

    def _in_all(self) -> float:
        typical, queues = self.group.typical_seconds, self.group.queues
        if len(queues) == 1:
            known, shown = known_seconds(queues[0].heads), len(queues[0].heads)
        else:
            known = [seconds for queue in queues for seconds in known_seconds(queue.heads)]
            shown = sum([len(queue.heads) for queue in queues])
        total = math.fsum(known)  # the same in whatever order queues come
        mean = total / len(known) if known else typical
        return total + (shown - len(known)) * typical + max(0, self._waiting - shown) * mean

    def per_device(self, more: int = 0) -> float:
        """Work before each device that serves the group, with what they hold, were there `more` of them.

        The jobs go to those that are free first: one that holds more than comes to the others has no part in it.
        """
        if self._ahead is None:
            held = self.serving.values()
            self._ahead = self.seconds + (math.fsum(held) - self._installing)
            self._most = max(held, default=0.0)
        each = self._ahead / max(1, len(self.serving) + more)
        return each if self._most <= each else self._shared(more)

    def _shared(self, more: int) -> float:
        """The work before each of those devices among which it is shared."""
        joined = self._joined
        held = sorted([s - self.install if i in joined else s for i, s in self.serving.items()] + [0.0] * more)
        ahead, each = self.seconds, math.inf
        for n, seconds in enumerate(held, 1):
            if seconds >= each:
                break
            ahead += seconds
            each = ahead / n
        return each

    def line_of(self, head: Head) -> int:
        """Index of the queue that the job is on."""
        queues = self.group.queues
        return 0 if len(queues) == 1 else next(i for i, queue in enumerate(queues) if head in queue.heads)

    def asked(self, heads: Iterable[Head]) -> tuple[Asked, ...]:
        """What each of some jobs asks of its device; nothing where any device of the target will do."""
        if self.plain:
            return ()
        queues = [self.group.queues[self.line_of(head)] for head in heads]
        return tuple([(queue.requirements, queue.avoid) for queue in queues])

    def joined(self, device_id: str) -> None:
        """The device has to install first."""
        self._ahead = None
        self._installing += self.install
        self._joined += (device_id,)
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
        self._ahead = None
        self._given += seconds
        self._taken.add(head.ulid)
        self.left -= 1
        self.serving[device_id] = self.serving.get(device_id, 0.0) + seconds
        return seconds


class Books:
    """All groups with waiting work, and how devices stand to them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.room = dict(snapshot.room)
        self.idle = Counter([d.target for d in snapshot.devices if not d.held])
        # Idle devices that were not asked yet and have work without an installation, by the org of that.
        self.homebound: dict[Target, Counter[str]] = defaultdict(Counter)
        # Of `fairness` and `fanout`; kept until a device gets work.
        self.largest: dict[Target, list[tuple[float, str]]] = {}
        self.enough: dict[tuple[str, Target], float] = {}
        self.made: dict[GroupKey, Work] = {}
        self._waiting = [g for g in snapshot.groups if g.queues and (g.queues[0].waiting or g.waiting)]
        self._of_target: dict[Target, list[GroupView]] = {}
        self._by_version: dict[Target, dict[tuple[str, str], GroupView]] = {}
        self._devices_of: dict[Target, Counter[str]] = {}
        self._orgs: dict[Target, frozenset[str]] = {}
        self._alive: dict[Target, set[tuple[str, str]]] = {}
        self._devices: dict[Target, int] = {}
        self._servable: dict[tuple[GroupKey, int, str], bool] = {}

    def devices_of(self, target: Target) -> Counter[str]:
        """How many devices of a target serve each org."""
        known = self._devices_of.get(target)
        if known is None:
            keys = [d.holds_for for d in chain(self.snapshot.busy, self.snapshot.devices) if d.target is target]
            known = self._devices_of[target] = Counter([key[0] for key in keys if key is not None])
        return known

    def serves(self, device: DeviceView, org_id: str) -> None:
        """A device that had nothing to do has work of an org now."""
        self.idle[device.target] -= 1
        self.devices_of(device.target)[org_id] += 1
        self.largest.clear()
        self.enough.clear()

    @contextmanager
    def done(self, device: DeviceView, home: Work) -> Iterator[None]:
        """Meanwhile the device counts as one that has done what it holds of its group."""
        kept = self.largest, self.enough
        self.largest, self.enough = {}, {}
        seconds = home.serving.pop(device.device_id, None)
        self.idle[device.target] += 1
        self.devices_of(device.target)[home.key[0]] -= 1
        try:
            yield
        finally:
            self.devices_of(device.target)[home.key[0]] += 1
            self.idle[device.target] -= 1
            if seconds is not None:
                home.serving[device.device_id] = seconds
            self.largest, self.enough = kept

    def groups(self, target: Target) -> list[GroupView]:
        """Those of a target that had waiting jobs as the round began."""
        known = self._of_target.get(target)
        if known is None:
            known = self._of_target[target] = [g for g in self._waiting if g.target is target]
        return known

    def work(self, group: GroupView) -> Work:
        """What there is to do of a group, from its first look on."""
        key = group.org_id, group.gid
        work = self.made.get(key)
        return self._make(key, group) if work is None else work

    def _make(self, key: GroupKey, group: GroupView) -> Work:
        serving = dict.fromkeys(group.serving, 0.0)
        for device_id in serving:
            # Who serves a group is the store's to say: a claim is refused where the plan counted otherwise.
            device = self._views.get(device_id)
            if device is not None and device.holds_for == key:
                serving[device_id] = self.free_in(device)
        install = self.snapshot.install_seconds.get(group.target, INSTALL_SECONDS)
        work = self.made[key] = Work(key, group, install, serving)
        return work

    @cached_property
    def works(self) -> dict[GroupKey, Work]:
        """All of them, for those who look at every group."""
        return {(group.org_id, group.gid): self.work(group) for group in self._waiting}

    def waiting_orgs(self, target: Target) -> frozenset[str]:
        """The orgs that had waiting jobs for a target as the round began."""
        known = self._orgs.get(target)
        if known is None:
            known = self._orgs[target] = frozenset([group.org_id for group in self.groups(target)])
        return known

    @cached_property
    def _by_key(self) -> dict[GroupKey, GroupView]:
        return {(group.org_id, group.gid): group for group in self._waiting}

    @cached_property
    def _views(self) -> dict[str, DeviceView]:
        return {d.device_id: d for d in chain(self.snapshot.busy, self.snapshot.devices)}

    def alive(self, device: DeviceView) -> bool:
        """Whether the device has a build of a group that has not ended."""
        target = device.target
        builds = self._alive.get(target)
        if builds is None:
            groups = self.snapshot.groups
            builds = self._alive[target] = {(g.org_id, g.app_version_id) for g in groups if g.target is target}
        return device.installed in builds

    def free_in(self, device: DeviceView) -> float:
        """Seconds until the device has done what it holds."""
        if not device.held:
            return 0.0
        if not device.unstarted:
            return abs(device.free_at - self.snapshot.now) / 1000  # `free_in` of the one that it runs
        return free_in(device.free_at, device.next_at, self.snapshot.now)

    def home(self, device: DeviceView) -> Work | None:
        """The group with work that needs no install: what the device holds attempts for, else what is installed."""
        if device.holds_for is not None:
            group = self._by_key.get(device.holds_for)
        elif device.installed is not None:
            group = self._of_build(device.target).get(device.installed)
        else:
            return None
        return None if group is None else self.work(group)

    def _of_build(self, target: Target) -> dict[tuple[str, str], GroupView]:
        known = self._by_version.get(target)
        if known is None:
            known = {(g.org_id, g.app_version_id): g for g in self.groups(target)}
            self._by_version[target] = known
        return known

    def idle_share(self, target: Target) -> float:
        """Of the devices of a target, the part that has nothing to do; 0 to 1."""
        devices = self._devices.get(target)
        if devices is None:
            devices = self._devices[target] = sum([d.target is target for d in self._views.values()])
        return self.idle[target] / max(1, devices)

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
        made = self.made.get((group.org_id, group.gid))
        serving = group.serving if made is None else made.serving
        return any(i in self._views and not self._views[i].held for i in serving)

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
        if work.plain:
            return work.serving
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
