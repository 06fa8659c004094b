"""What generated traces are made of: tests with durations and a history, devices, arrivals.

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
ORG = "acme"
_CLASSES = {Priority.HIGH: 10, Priority.MEDIUM: 70, Priority.LOW: 20}


@dataclass(slots=True)
class Maker:
    """Draws the parts of one trace. The same seed and the same calls give the same trace."""

    rng: random.Random
    median_seconds: float = MEDIAN_SECONDS
    seconds: dict[TestKey, float] = field(default_factory=dict)
    history: dict[TestKey, tuple[float, ...]] = field(default_factory=dict)
    _suites: dict[tuple[str, str, Target], list[str]] = field(default_factory=dict)

    def job(self, version: str, target: Target, *, org: str = ORG, priority: Priority | None = None) -> TraceJob:
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
            true = self.seconds[key] = self.rng.lognormvariate(math.log(self.median_seconds), DURATION_SIGMA)
            self.history[key] = tuple(true * self.rng.lognormvariate(0.0, HISTORY_SIGMA) for _ in range(HISTORY_RUNS))
        return self.seconds[key]

    def trace(
        self, devices: Sequence[TraceDevice], jobs: Sequence[TraceJob], install_seconds: float = INSTALL_SECONDS
    ) -> Trace:
        """With the history of all tests that were drawn."""
        return Trace(install_seconds, tuple(devices), tuple(jobs), self.history)

    def poisson(self, jobs: Sequence[TraceJob], devices: int, load: float) -> list[TraceJob]:
        """The jobs coming one by one so that they load the devices so much, installations not counted."""
        gap = capacity_seconds(jobs, devices, load) / len(jobs)
        coming, when = [], 0.0
        for job in jobs:
            when += self.rng.expovariate(1 / gap)
            coming.append(at(job, when))
        return coming


def make_devices(target: Target, count: int) -> list[TraceDevice]:
    """Devices of one target, named by it."""
    return [TraceDevice(f"{target.value}-{n:02d}", target) for n in range(count)]


def at(job: TraceJob, when: float) -> TraceJob:
    """The job, submitted then."""
    return TraceJob(when, job.org_id, job.app_version_id, job.target, job.priority, job.test_path, job.seconds)


def capacity_seconds(jobs: Sequence[TraceJob], devices: int, load: float) -> float:
    """In what time the jobs have to come to load the devices so much, installations not counted."""
    return sum(job.seconds for job in jobs) / (load * devices)


@dataclass(frozen=True, slots=True)
class Workload:
    """A kind of trace. `steady`: jobs come over time and the devices can keep up."""

    name: str
    what: str
    make: Callable[[Maker], Trace]
    steady: bool = False
