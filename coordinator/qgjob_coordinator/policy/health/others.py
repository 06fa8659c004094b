"""What the other devices of a target do: with which builds they failed, and when they installed which."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from qgjob_coordinator.policy.health.record import Build, Kind, Record


@dataclass(frozen=True, slots=True)
class Installation:
    """What lies on a device. `at` is when it was installed, in ms since the epoch; 0 where nobody saw that."""

    build: Build
    at: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Some devices, counted; made by `together`.

    `installed` has the times at which those installed a build that did not fail with it, in order, `failing` how many
    failed with it and have not installed it since. `with_jobs` counts those with a job that failed there and went well
    elsewhere.
    """

    count: int = 0
    with_jobs: int = 0
    installed: Mapping[Build, Sequence[int]] = field(default_factory=dict)
    failing: Mapping[Build, int] = field(default_factory=dict)


def together(devices: Iterable[tuple[Record, Installation | None]]) -> Group:
    """Devices of one target: their records, and what is installed on them."""
    installed: dict[Build, list[int]] = defaultdict(list)
    failing: Counter[Build] = Counter()
    count = with_jobs = 0
    for record, there in devices:
        count += 1
        failed = {m.build: m.at for m in record.marks if m.kind is Kind.INSTALL}  # the last of each
        failing.update(b for b, at in failed.items() if there is None or there.build != b or there.at <= at)
        if there is not None and there.build not in failed:
            installed[there.build].append(there.at)
        with_jobs += any(m.kind in (Kind.DEVICE, Kind.TEST) and m.sure for m in record.marks)
    return Group(count, with_jobs, {build: sorted(times) for build, times in installed.items()}, failing)


@dataclass(frozen=True, slots=True)
class Devices:
    """The sum of groups, some of them taken away."""

    groups: tuple[Group, ...] = ()
    away: tuple[Group, ...] = ()

    def instead(self, before: Group, after: Group) -> Devices:
        """With some of them as they are `after` instead of `before`."""
        return Devices((*self.groups, after), (*self.away, before))

    def without(self, record: Record, there: Installation | None) -> Devices:
        """The others, when one of them is left out."""
        return Devices(self.groups, (*self.away, together([(record, there)])))

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(g.count for g in self.groups) - sum(g.count for g in self.away)

    @property
    def with_jobs(self) -> int:
        """How many have a job that failed there and went well elsewhere."""
        return sum(g.with_jobs for g in self.groups) - sum(g.with_jobs for g in self.away)

    def failing(self, build: Build) -> int:
        """How many failed with the build and have not installed it since."""
        return sum(g.failing.get(build, 0) for g in self.groups) - sum(g.failing.get(build, 0) for g in self.away)

    def installed_since(self, build: Build, at: int) -> int:
        """How many that did not fail with it installed the build after a time (ms)."""
        return sum(_later(g, build, at) for g in self.groups) - sum(_later(g, build, at) for g in self.away)


def _later(group: Group, build: Build, at: int) -> int:
    times = group.installed.get(build, ())
    return len(times) - bisect_right(times, at)
