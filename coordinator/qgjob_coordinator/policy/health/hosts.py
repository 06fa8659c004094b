"""Whether it is the host on which nothing can be started, and not a device, a build or a job.

An agent says of an attempt that it could not be started at all, whichever the device: its command is gone, say. All
devices of the host fail so, at once, and so they are always free and are given most of the work. Those of another
target may need something else: sessions of a plan need no Appium. What is held against a host and a target are such
jobs of the last hour, since the last that ran there:
- one that ran to its end elsewhere;
- of a build with which no other host fails so; of several builds, with each of which at most half of the others do;
- of a host that is alone: of several builds. Else the build may be what can't be started, and nobody could tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.health import judging
from qgjob_coordinator.policy.health.record import Build, Kind, Mark, Record
from qgjob_coordinator.policy.health.rules import ENOUGH, enough


@dataclass(frozen=True, slots=True)
class Host:
    """An agent's devices: their targets, and the builds of jobs that could not be started there."""

    targets: frozenset[Target]
    failing: frozenset[Build] = frozenset()


@dataclass(frozen=True, slots=True)
class OtherHosts:
    """How many others have devices of the same target, and on how many of them a build could not be started."""

    count: int = 0
    failing: Mapping[Build, int] = field(default_factory=dict)


def unstarted(records: Iterable[Record]) -> list[Mark]:
    """The jobs that could not be started on these devices."""
    return [m for r in records for m in r.marks if m.kind is Kind.HOST]


def host(devices: Iterable[tuple[Target, Record]]) -> Host:
    """An agent's devices, as others see them."""
    some = list(devices)
    return Host(frozenset(t for t, _ in some), frozenset(m.build for m in unstarted(r for _, r in some)))


def besides(agent_id: str, target: Target, hosts: Mapping[str, Host]) -> OtherHosts:
    """The hosts beside this one that have devices of a target."""
    others = [each for other, each in hosts.items() if other != agent_id and target in each.targets]
    return OtherHosts(len(others), Counter(build for each in others for build in each.failing))


def needed(records: Iterable[Record]) -> float:
    """So many jobs are enough: one, where all devices are back from a quarantine and have proven nothing.

    One of them alone was out for what it did itself.
    """
    return max((enough(r) for r in records), default=ENOUGH)


def against(records: Iterable[Record], others: OtherHosts, now: int) -> int:
    """How many jobs make it a host that can start nothing; 0 while they are too few, or it is too early to know.

    `records` are those of its devices of one target that are in service, `now` is in ms.
    """
    some = list(records)
    marks = [m for m in unstarted(some) if now - m.at >= judging.TOLD_MS]
    elsewhere = {m.ulid for r in some for m in r.marks if m.kind is Kind.DEVICE and m.sure}
    jobs = {m.ulid for m in _compared(marks, others)} | {m.ulid for m in marks if m.ulid in elsewhere}
    return len(jobs) if jobs and len(jobs) >= needed(some) else 0


def worth_telling(records: Iterable[Record]) -> int:
    """How many jobs could not be started on these devices of one target, whosever fault it is; 0 while they are few."""
    some = list(records)
    jobs = len({m.ulid for m in unstarted(some)})
    return jobs if jobs >= needed(some) else 0


def _compared(marks: Sequence[Mark], others: OtherHosts) -> Sequence[Mark]:
    builds = {m.build for m in marks}
    if not others.count:
        return marks if len(builds) > 1 else ()
    few = {b for b in builds if 2 * others.failing.get(b, 0) <= others.count}
    if len(few) < 2:  # one build may be what can't be started
        few = {b for b in few if not others.failing.get(b, 0)}
    return [m for m in marks if m.build in few]
