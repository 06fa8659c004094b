"""Workloads of known shape, made from a seed: what the policy and the baselines are compared on.

A test's duration belongs to its (org, test path, target): every run of it takes the same seconds, drawn once from a
lognormal distribution, and the history shows earlier runs of it with noise. So a policy that reads the history knows
roughly, and never exactly, how long a job will take.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.scheduling.trace import TestKey, Trace, TraceDevice, TraceJob
from qgjob_coordinator.model.enums import Priority, Target

INSTALL_SECONDS = 45.0
MEDIAN_SECONDS = 30.0
DURATION_SIGMA = 0.8
HISTORY_SIGMA = 0.25
HISTORY_RUNS = 5
SUITE_TESTS = 200
"""Test paths of an org; a group runs each once before it runs any twice."""
POISSON_LOAD = 0.8
BURST_LOAD = 0.7
"""Shares of what the devices could do if installations took no time."""
LATE_SECONDS = 600.0
"""When the small org comes, in the workload where it is late."""
_CLASSES = {Priority.HIGH: 10, Priority.MEDIUM: 70, Priority.LOW: 20}
BIG_ORG, SMALL_ORG = "big", "small"
_ORG = "acme"


@dataclass(slots=True)
class _Maker:
    """Draws the parts of one trace. The same seed and the same calls give the same trace."""

    rng: random.Random
    seconds: dict[TestKey, float] = field(default_factory=dict)
    history: dict[TestKey, tuple[float, ...]] = field(default_factory=dict)
    _suites: dict[tuple[str, str, Target], list[str]] = field(default_factory=dict)

    def job(self, version: str, target: Target, *, org: str = _ORG, priority: Priority | None = None) -> TraceJob:
        """A job of a group, submitted at 0: the next test of the suite in an order of the group's own."""
        path = self._next_test(org, version, target)
        chosen = self.rng.choices(list(_CLASSES), list(_CLASSES.values()))[0] if priority is None else priority
        return TraceJob(0.0, org, version, target, chosen, path, self._duration((org, path, target)))

    def _next_test(self, org: str, version: str, target: Target) -> str:
        left = self._suites.setdefault((org, version, target), [])
        if not left:
            left += [f"tests/case_{n:03d}.py" for n in range(SUITE_TESTS)]
            self.rng.shuffle(left)
        return left.pop()

    def _duration(self, key: TestKey) -> float:
        if key not in self.seconds:
            true = self.seconds[key] = self.rng.lognormvariate(math.log(MEDIAN_SECONDS), DURATION_SIGMA)
            self.history[key] = tuple(true * self.rng.lognormvariate(0.0, HISTORY_SIGMA) for _ in range(HISTORY_RUNS))
        return self.seconds[key]

    def trace(self, devices: Sequence[TraceDevice], jobs: Sequence[TraceJob]) -> Trace:
        return Trace(INSTALL_SECONDS, tuple(devices), tuple(jobs), self.history)


def _devices(target: Target, count: int) -> list[TraceDevice]:
    return [TraceDevice(f"{target.value}-{n:02d}", target) for n in range(count)]


def _at(job: TraceJob, at: float) -> TraceJob:
    return TraceJob(at, job.org_id, job.app_version_id, job.target, job.priority, job.test_path, job.seconds)


def _work_capacity_seconds(jobs: Sequence[TraceJob], devices: int, load: float) -> float:
    """In what time the jobs have to come to load the devices so much, installations not counted."""
    return sum(job.seconds for job in jobs) / (load * devices)


def _two_targets(m: _Maker) -> Trace:
    devices = _devices(Target.EMULATOR, 12) + _devices(Target.BROWSERSTACK, 8)
    jobs = []
    for _ in range(1000):
        version = f"v{m.rng.randrange(8)}"
        jobs.append(m.job(version, m.rng.choice(devices).target))
    return m.trace(devices, jobs)


def _many_versions(m: _Maker) -> Trace:
    ranks = range(1, 61)
    versions = m.rng.choices([f"v{r:02d}" for r in ranks], [1 / r for r in ranks], k=1200)
    return m.trace(_devices(Target.EMULATOR, 10), [m.job(v, Target.EMULATOR) for v in versions])


def _poisson(m: _Maker) -> Trace:
    devices = _devices(Target.EMULATOR, 20)
    drawn = [m.job(f"v{m.rng.randrange(12):02d}", Target.EMULATOR) for _ in range(2000)]
    gap = _work_capacity_seconds(drawn, len(devices), POISSON_LOAD) / len(drawn)
    jobs, at = [], 0.0
    for job in drawn:
        at += m.rng.expovariate(1 / gap)
        jobs.append(_at(job, at))
    return m.trace(devices, jobs)


def _bursts(m: _Maker, *, evenly: bool) -> Trace:
    bursts, tests = 50, 40
    devices = _devices(Target.EMULATOR, 10)
    drawn = [m.job(f"build-{b:02d}", Target.EMULATOR) for b in range(bursts) for _ in range(tests)]
    gap = _work_capacity_seconds(drawn, len(devices), BURST_LOAD) / bursts
    jobs, at = [], 0.0
    for begin in range(0, len(drawn), tests):
        jobs += [_at(job, at) for job in drawn[begin : begin + tests]]
        at += gap if evenly else m.rng.expovariate(1 / gap)
    return m.trace(devices, jobs)


def _one_group(m: _Maker) -> Trace:
    return m.trace(_devices(Target.EMULATOR, 8), [m.job("v1", Target.EMULATOR) for _ in range(200)])


def _two_orgs(m: _Maker, small_at: float) -> Trace:
    big = [m.job(f"v{m.rng.randrange(8)}", Target.EMULATOR, org=BIG_ORG, priority=Priority.MEDIUM) for _ in range(4000)]
    small = [m.job("v1", Target.EMULATOR, org=SMALL_ORG, priority=Priority.MEDIUM) for _ in range(40)]
    return m.trace(_devices(Target.EMULATOR, 16), big + [_at(job, small_at) for job in small])


@dataclass(frozen=True, slots=True)
class Workload:
    """A kind of trace. `steady`: jobs come over time and the devices can keep up."""

    name: str
    what: str
    make: Callable[[_Maker], Trace]
    steady: bool = False


WORKLOADS = {
    w.name: w
    for w in (
        Workload("two_targets", "1,000 jobs at once, 8 versions, 12 emulators + 8 cloud devices", _two_targets),
        Workload("many_versions", "1,200 jobs at once, 60 versions (Zipf), 10 devices", _many_versions),
        Workload(
            "poisson", "2,000 jobs, Poisson at 80% of the work capacity, 12 versions, 20 devices", _poisson, steady=True
        ),
        Workload(
            "ci_bursts",
            "50 bursts of a new version x 40 tests, evenly, 70% load, 10 devices",
            lambda m: _bursts(m, evenly=True),
            steady=True,
        ),
        Workload(
            "ci_bursts_poisson",
            "the same, bursts coming as they like",
            lambda m: _bursts(m, evenly=False),
            steady=True,
        ),
        Workload("one_group", "one group of 200 jobs at once, 8 devices", _one_group),
        Workload(
            "fair_at_once", "40 jobs of a small org beside 4,000 of a big one, 16 devices", lambda m: _two_orgs(m, 0)
        ),
        Workload(
            "fair_late",
            "the same, the small org coming when the big one has all devices",
            lambda m: _two_orgs(m, LATE_SECONDS),
        ),
    )
}


def generate(name: str, seed: int) -> Trace:
    """The trace of a workload. Raises ValueError for a name that there is none of."""
    if name not in WORKLOADS:
        raise ValueError(f"workload: {name!r} is unknown; choose one of {', '.join(WORKLOADS)}")
    return WORKLOADS[name].make(_Maker(random.Random(f"{name}/{seed}")))  # noqa: S311 - nothing here is secret
