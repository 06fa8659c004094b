"""What a simulation keeps of groups and devices: as the store and the sessions of agents do."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import overload

from bench.scheduling.trace import TraceDevice
from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.model.jobs import Requirements
from qgjob_coordinator.policy.snapshot import (
    DeviceView,
    GroupView,
    Head,
    LazyHeads,
    Queue,
    known_seconds,
)
from qgjob_coordinator.service.agents.slots import Slot

AGENT = "agent"
GroupKey = tuple[str, str]


@dataclass(slots=True)
class Group:
    """What the store keeps of a group with unfinished jobs, and what was shown of it."""

    org_id: str
    gid: str
    app_version_id: str
    target: Target
    queues: dict[Requirements, list[tuple[int, str]]] = field(default_factory=dict)  # (score, name) in order
    unfinished: int = 0
    installs: int = 0
    serving: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    shown: dict[Requirements, Queue] = field(default_factory=dict)  # its queues as they were shown, until they change
    view: GroupView | None = None  # and itself, as it was when so much had been learned
    view_learned: int = 0

    def changed(self) -> None:
        """Something of it that is shown changed."""
        self.view = None

    def put(self, requirements: Requirements, entry: tuple[int, str]) -> None:
        """A job waits."""
        bisect.insort(self.queues.setdefault(requirements, []), entry)
        self._queue_changed(requirements)

    def take(self, requirements: Requirements, entry: tuple[int, str]) -> None:
        """A job waits no more."""
        queue = self.queues[requirements]
        del queue[bisect.bisect_left(queue, entry)]
        if not queue:
            del self.queues[requirements]
        self._queue_changed(requirements)

    def _queue_changed(self, requirements: Requirements) -> None:
        self.shown.pop(requirements, None)
        self.changed()


class Heads(LazyHeads):
    """The first jobs of a queue; what they take is summed up once, however many plans ask for it."""

    __slots__ = ("_heads", "_known")

    def __init__(self, heads: tuple[Head, ...]) -> None:
        self._heads = heads
        self._known: tuple[float, int] | None = None

    def __len__(self) -> int:
        return len(self._heads)

    @overload
    def __getitem__(self, index: int) -> Head: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Head, ...]: ...

    def __getitem__(self, index: int | slice) -> Head | tuple[Head, ...]:
        return self._heads[index]

    def __iter__(self) -> Iterator[Head]:
        return iter(self._heads)

    def known_seconds(self) -> tuple[float, int]:
        """As of any heads."""
        if self._known is None:
            self._known = known_seconds(self._heads)
        return self._known


@dataclass(slots=True)
class Device:
    """A device: what its session knows of it, and the jobs that it holds, the first of them running."""

    slot: Slot
    held: list[int] = field(default_factory=list)
    holds_for: GroupKey | None = None

    @property
    def device_id(self) -> str:
        """Its id."""
        return self.slot.info.device_id

    def view(self) -> DeviceView:
        """As the policy sees it."""
        return self.slot.view(AGENT)


def slot_of(facts: TraceDevice) -> Slot:
    """The books of a device at the beginning."""
    info = DeviceInfo(facts.device_id, facts.device_id, facts.target, facts.platform, facts.os_version, facts.model)
    busy_ms = round(facts.busy_hours * 3_600_000)
    return Slot(info, labels=dict(facts.labels), installs=facts.installs, busy_ms=busy_ms)
