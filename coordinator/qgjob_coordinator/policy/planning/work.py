"""What there is to do of one group as a round goes on: what waits, what was taken, who serves it.

Seconds are expected ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from qgjob_coordinator.model.jobs import ANY_DEVICE
from qgjob_coordinator.policy.snapshot import Asked, GroupView, Head, Queue, first_score, known_seconds

GroupKey = tuple[str, str]
"""(org, gid)"""


def plain_queue(group: GroupView) -> Queue | None:
    """The only queue of a group all of whose jobs any device of the target meets; None for other groups."""
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


def seconds_in_all(group: GroupView) -> float:
    """What all waiting jobs of a group take: those shown as expected or as typical, the others as those on average."""
    queues, typical = group.queues, group.typical_seconds
    if len(queues) == 1:
        queue = queues[0]
        shown, waiting, sums = len(queue.heads), queue.waiting, [known_seconds(queue.heads)]
    else:
        shown, waiting = sum([len(queue.heads) for queue in queues]), group.waiting
        sums = [known_seconds(queue.heads) for queue in queues]
    total, known = math.fsum([seconds for seconds, _ in sums]), sum([n for _, n in sums])
    mean = total / known if known else typical
    return total + (shown - known) * typical + max(0, waiting - shown) * mean


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
        "bound",
        "group",
        "install",
        "key",
        "left",
        "plain",
        "serving",
    )

    def __init__(
        self, key: GroupKey, group: GroupView, install: float, serving: dict[str, float], *, bound: bool = False
    ) -> None:
        """`serving`: the devices that serve it, with the seconds until each has done what it holds.

        `bound`: to some devices its app version does not come, see `Groups.bound`.
        """
        self.key = key
        self.group = group
        self.install = install
        self.serving = serving
        queue = plain_queue(group)
        self.bound = bound
        self.plain = queue is not None and not bound
        self.left = group.waiting if queue is None else queue.waiting
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
            self._total = seconds_in_all(self.group)
        return max(0.0, self._total - self._given)

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
