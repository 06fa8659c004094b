"""What a plan is made from: aggregates of groups, heads of their queues, devices that may take work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.jobs import Requirements

CLASS_SCORE = 1 << 51
"""One priority class above all ages: a queue's score is (3 - priority) * CLASS_SCORE + order."""


class Head(NamedTuple):
    """A job near the front of its queue; the smaller score is served first."""

    score: int
    ulid: str


@dataclass(frozen=True, slots=True)
class Queue:
    """Ready jobs of one group with the same requirements; `heads` are the first of `waiting`."""

    requirements: Requirements
    avoid: tuple[str, ...]
    waiting: int
    heads: Sequence[Head]


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group: its queues, and how many attempts each device holds for it."""

    org_id: str
    gid: str
    app_version_id: str
    target: Target
    unfinished: int
    installs: int
    serving: Mapping[str, int]
    queues: tuple[Queue, ...]

    @property
    def waiting(self) -> int:
        """Ready jobs on all its queues."""
        return sum(q.waiting for q in self.queues)


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A device that may take work now.

    `installed` is (org, app version). `held` counts attempts that it has, `holds_for` the group (org, gid) they are of.
    """

    device_id: str
    agent_id: str
    target: Target
    platform: str | None = None
    os_version: str | None = None
    model: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    installed: tuple[str, str] | None = None
    held: int = 0
    holds_for: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers of the policy. `group_max_devices` None: no cap."""

    batch: int = 8
    group_max_devices: int | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a plan may depend on. `room` is how many more attempts each org may hold; an org not in it: any number.

    `candidates` are the ids of all devices known to the fleet that could serve, by target: a retry avoids a device only
    while another one exists.
    """

    devices: tuple[DeviceView, ...]
    groups: tuple[GroupView, ...]
    limits: Limits = Limits()
    room: Mapping[str, int] = field(default_factory=dict)
    candidates: Mapping[Target, tuple[DeviceView, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assignment:
    """A batch for one device. `serving_seen` is how many devices served the group when a cold device joins it."""

    device_id: str
    agent_id: str
    org_id: str
    gid: str
    ulids: tuple[str, ...]
    serving_seen: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Assignments in the order in which they are to be committed."""

    assignments: tuple[Assignment, ...]
