"""Workloads of other shapes, so that a policy is not tuned to the table: more orgs, other loads, installs and tests."""

from __future__ import annotations

from bench.scheduling.maker import Maker, Workload, at, make_devices
from bench.scheduling.trace import Trace
from qgjob_coordinator.model.enums import Priority, Target

SHORT_SECONDS = 5.0
LONG_INSTALL_SECONDS = 180.0


def _three_orgs(m: Maker) -> Trace:
    """Versions by Zipf within each org; the first org has most of the work."""
    orgs, ranks = ["acme", "globex", "initech"], range(1, 6)
    drawn = []
    for _ in range(1500):
        org = m.rng.choices(orgs, [6, 3, 1])[0]
        version = m.rng.choices(ranks, [1 / r for r in ranks])[0]
        drawn.append(m.job(f"{org}-{version}", Target.EMULATOR, org=org))
    return m.trace(make_devices(Target.EMULATOR, 15), m.poisson(drawn, 15, load=0.85))


def _urgent(m: Maker) -> Trace:
    """Few urgent jobs of new versions, every five minutes, amid a backlog that lasts."""
    jobs = [m.job(f"nightly-{m.rng.randrange(4)}", Target.EMULATOR, priority=Priority.LOW) for _ in range(800)]
    for n in range(10):
        burst = [m.job(f"hotfix-{n}", Target.EMULATOR, priority=Priority.HIGH) for _ in range(5)]
        jobs += [at(job, 300.0 * (n + 1)) for job in burst]
    return m.trace(make_devices(Target.EMULATOR, 10), jobs)


def _long_installs(m: Maker) -> Trace:
    jobs = [m.job(f"v{m.rng.randrange(6)}", Target.DEVICE) for _ in range(600)]
    return m.trace(make_devices(Target.DEVICE, 12), jobs, LONG_INSTALL_SECONDS)


def _short_tests(m: Maker) -> Trace:
    m.median_seconds = SHORT_SECONDS
    drawn = [m.job(f"v{m.rng.randrange(10)}", Target.EMULATOR) for _ in range(2000)]
    return m.trace(make_devices(Target.EMULATOR, 10), m.poisson(drawn, 10, load=0.6))


def _light(m: Maker) -> Trace:
    drawn = [m.job(f"v{m.rng.randrange(8)}", Target.EMULATOR) for _ in range(600)]
    return m.trace(make_devices(Target.EMULATOR, 12), m.poisson(drawn, 12, load=0.3))


def _few_tests(m: Maker) -> Trace:
    """Where nothing else is to be done each test may have a device."""
    return m.trace(make_devices(Target.EMULATOR, 20), [m.job("v1", Target.EMULATOR) for _ in range(20)])


VARIED = (
    Workload("three_orgs", "1,500 jobs, Poisson at 85%, 3 unequal orgs x 5 versions, 15 devices", _three_orgs, True),
    Workload("urgent", "10 bursts of 5 urgent jobs amid 800 low ones of 4 versions, 10 devices", _urgent),
    Workload("long_installs", "600 jobs at once, 6 versions, installs of 180 s, 12 devices", _long_installs),
    Workload("short_tests", "2,000 tests of 5 s, Poisson at 60%, 10 versions, 10 devices", _short_tests, True),
    Workload("light", "600 jobs, Poisson at 30%, 8 versions, 12 devices", _light, True),
    Workload("few_tests", "20 tests of one version at once, 20 devices that are free", _few_tests),
)
