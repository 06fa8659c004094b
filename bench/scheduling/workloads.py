"""Workloads of known shape, made from a seed: what the policy and the baselines are compared on."""

from __future__ import annotations

import random
from functools import partial

from bench.scheduling.maker import Maker, Workload, at, capacity_seconds, make_devices
from bench.scheduling.trace import Trace
from bench.scheduling.varied import VARIED
from qgjob_coordinator.model.enums import Priority, Target

POISSON_LOAD = 0.8
BURST_LOAD = 0.7
"""Shares of what the devices could do if installations took no time."""
LATE_SECONDS = 600.0
"""When the small org comes, in the workload where it is late."""
LATER_SECONDS = {"fair_half_an_hour_late": 1800.0, "fair_an_hour_late": 3600.0}
"""When it comes where the backlog of the big one is old."""
BIG_ORG, SMALL_ORG = "big", "small"


def _two_targets(m: Maker) -> Trace:
    devices = make_devices(Target.EMULATOR, 12) + make_devices(Target.BROWSERSTACK, 8)
    jobs = []
    for _ in range(1000):
        version = f"v{m.rng.randrange(8)}"
        jobs.append(m.job(version, m.rng.choice(devices).target))
    return m.trace(devices, jobs)


def _many_versions(m: Maker) -> Trace:
    ranks = range(1, 61)
    versions = m.rng.choices([f"v{r:02d}" for r in ranks], [1 / r for r in ranks], k=1200)
    return m.trace(make_devices(Target.EMULATOR, 10), [m.job(v, Target.EMULATOR) for v in versions])


def _poisson(m: Maker) -> Trace:
    devices = make_devices(Target.EMULATOR, 20)
    drawn = [m.job(f"v{m.rng.randrange(12):02d}", Target.EMULATOR) for _ in range(2000)]
    return m.trace(devices, m.poisson(drawn, len(devices), POISSON_LOAD))


def _bursts(m: Maker, *, evenly: bool) -> Trace:
    bursts, tests = 50, 40
    devices = make_devices(Target.EMULATOR, 10)
    drawn = [m.job(f"build-{b:02d}", Target.EMULATOR) for b in range(bursts) for _ in range(tests)]
    gap = capacity_seconds(drawn, len(devices), BURST_LOAD) / bursts
    jobs, when = [], 0.0
    for begin in range(0, len(drawn), tests):
        jobs += [at(job, when) for job in drawn[begin : begin + tests]]
        when += gap if evenly else m.rng.expovariate(1 / gap)
    return m.trace(devices, jobs)


def _one_group(m: Maker) -> Trace:
    return m.trace(make_devices(Target.EMULATOR, 8), [m.job("v1", Target.EMULATOR) for _ in range(200)])


def _two_orgs(m: Maker, small_at: float) -> Trace:
    big = [m.job(f"v{m.rng.randrange(8)}", Target.EMULATOR, org=BIG_ORG, priority=Priority.MEDIUM) for _ in range(4000)]
    small = [m.job("v1", Target.EMULATOR, org=SMALL_ORG, priority=Priority.MEDIUM) for _ in range(40)]
    return m.trace(make_devices(Target.EMULATOR, 16), big + [at(job, small_at) for job in small])


TABLE = (
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
    Workload("fair_at_once", "40 jobs of a small org beside 4,000 of a big one, 16 devices", lambda m: _two_orgs(m, 0)),
    Workload(
        "fair_late",
        "the same, the small org coming when the big one has all devices",
        lambda m: _two_orgs(m, LATE_SECONDS),
    ),
)
"""The workloads that the policy is measured by."""
LATER = tuple(
    Workload(name, f"the small org coming after {seconds:,.0f} s", partial(_two_orgs, small_at=seconds))
    for name, seconds in LATER_SECONDS.items()
)
WORKLOADS = {w.name: w for w in (*TABLE, *VARIED, *LATER)}


def generate(name: str, seed: int) -> Trace:
    """The trace of a workload. Raises ValueError for a name that there is none of."""
    if name not in WORKLOADS:
        raise ValueError(f"workload: {name!r} is unknown; choose one of {', '.join(WORKLOADS)}")
    return WORKLOADS[name].make(Maker(random.Random(f"{name}/{seed}")))  # noqa: S311 - nothing here is secret
