"""What a plan is made from: aggregates of groups, heads of their queues, devices that may take work."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.jobs import Requirements

TYPICAL_SECONDS = 30.0
"""What a job is expected to take in a fleet that has run none."""
INSTALL_SECONDS = 45.0
"""What an installation is expected to take in a fleet that has made none."""
AHEAD_SECONDS = 2.0
"""A device is given work for so long beyond what it runs, so that it never waits for a round trip; more would only keep
jobs from other devices."""
HEADS = 64
"""Of each queue a snapshot shows at most so many jobs."""

NO_BUILDS: frozenset[str] = frozenset()
"""Of an app version for which nothing was pushed."""

_NO_LABELS: Mapping[str, str] = MappingProxyType({})

# What a round makes by the hundred is a tuple: one takes a fifth of the time that a frozen dataclass takes.


class Head(NamedTuple):
    """A job near the front of its queue; the smaller score is served first. `seconds` is its expected duration."""

    score: int
    ulid: str
    seconds: float | None = None


class LazyHeads(Sequence[Head]):
    """Heads each of which is made when it is looked at."""

    __slots__ = ()

    @abstractmethod
    def known_seconds(self) -> tuple[float, int]:
        """The sum of the expected durations of those that have one, and how many have. Makes no head."""


class Queue(NamedTuple):
    """Ready jobs of one group with the same requirements; `heads` are the first of `waiting`.

    `oldest` is the score of the first of them, told by whoever knows it before that is made: a plan reads it of every
    queue.
    """

    requirements: Requirements
    avoid: tuple[str, ...]
    waiting: int
    heads: Sequence[Head]
    oldest: int | None = None


def first_score(queue: Queue) -> int | None:
    """The score of a queue's first job; None if it shows none."""
    if queue.oldest is not None:
        return queue.oldest
    return queue.heads[0].score if queue.heads else None


class GroupView(NamedTuple):
    """A group: its queues, and how many attempts each device holds for it.

    `typical_seconds` is the expected duration of a job of which nothing is known. `pushed` are the slots for which its
    app version has builds.
    """

    org_id: str
    gid: str
    app_version_id: str
    target: Target
    unfinished: int
    installs: int
    serving: Mapping[str, int]
    queues: tuple[Queue, ...]
    typical_seconds: float = TYPICAL_SECONDS
    pushed: frozenset[str] = NO_BUILDS

    @property
    def waiting(self) -> int:
        """Ready jobs on all its queues."""
        queues = self.queues
        return queues[0].waiting if len(queues) == 1 else sum(q.waiting for q in queues)


Asked = tuple[Requirements, tuple[str, ...]]
"""What a job asks of its device: requirements, and the devices to avoid."""


class DeviceView(NamedTuple):
    """A device. `installed` is (org, app version).

    `held` counts attempts that it has, `holds_for` the group (org, gid) they are of, `free_at` when they are expected
    to be done. It has had what is installed since `home_since`, and nothing to do since `idle_since`. All three in ms
    of the snapshot's clock. `installs` and `busy_hours` tell its wear. `unstarted` attempts are behind the one that
    runs; the first of them should begin at `next_at`, and `next_score` is its job's, as is `next_asks`; None: nothing,
    as far as is known. `idled` is for how long (ms) it had nothing to do before it was given what it holds. It can have
    builds only if they were pushed for its `build_slot`; None: that is not known, or not so.
    """

    device_id: str
    agent_id: str
    target: Target
    platform: str | None = None
    os_version: str | None = None
    model: str | None = None
    labels: Mapping[str, str] = _NO_LABELS
    installed: tuple[str, str] | None = None
    held: int = 0
    holds_for: tuple[str, str] | None = None
    free_at: int = 0
    home_since: int = 0
    idle_since: int = 0
    installs: int = 0
    busy_hours: float = 0.0
    unstarted: int = 0
    next_at: int = 0
    next_score: int = 0
    next_asks: Asked | None = None
    idled: int = 0
    build_slot: str | None = None


def known_seconds(heads: Sequence[Head]) -> tuple[float, int]:
    """The sum of the expected durations of those jobs that have one, and how many have."""
    if not isinstance(heads, tuple) and isinstance(heads, LazyHeads):  # the first is quicker by far
        return heads.known_seconds()
    known = [seconds for head in heads if (seconds := head.seconds) is not None]
    return math.fsum(known), len(known)


def free_in(free_at: int, next_at: int, now: int) -> float:
    """Seconds until a device has done what it holds; times in ms.

    What should have ended is expected to take as long again as it is late: who has waited long for a hung test has no
    reason to believe that it ends in a moment.
    """
    return (abs(next_at - now) + max(0, free_at - next_at)) / 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers of the policy.

    A device gets at most `batch` attempts at once. `group_max_devices` None: no cap. `fan_out`: another device joins a
    group when each that serves it has so many installations' worth of work before it, what it holds included.
    """

    batch: int = 8
    group_max_devices: int | None = None
    fan_out: float = 7.2


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a plan may depend on. `devices` may take work now, `busy` are those that serve groups meanwhile.

    `now` is in ms. `room` is how many more attempts each org may hold; an org not in it: any number. `weights` are the
    orgs' shares, 1 for those not in it. `install_seconds` is what an installation takes on a device of a target.

    `candidates` are the devices of the whole fleet that could serve, by target, where a rule asks for them: a retry
    avoids a device only while another one exists, and a limit leaves a place to a job only if some device may serve it.
    """

    devices: tuple[DeviceView, ...]
    groups: tuple[GroupView, ...]
    limits: Limits = Limits()
    room: Mapping[str, int] = field(default_factory=dict)
    candidates: Mapping[Target, tuple[DeviceView, ...]] = field(default_factory=dict)
    now: int = 0
    busy: tuple[DeviceView, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    install_seconds: Mapping[Target, float] = field(default_factory=dict)
