from __future__ import annotations

import math
from collections import Counter, defaultdict
from statistics import fmean, median, stdev

import pytest

from bench.scheduling.goals import goals
from bench.scheduling.trace import Trace
from bench.scheduling.workloads import BIG_ORG, LATE_SECONDS, LATER_SECONDS, SMALL_ORG, TABLE, WORKLOADS, generate
from qgjob_coordinator.model.enums import Priority, Target


def load(trace: Trace) -> float:
    """Work that comes, to what the devices can do until the last has come."""
    last = max(job.at for job in trace.jobs)
    return sum(job.seconds for job in trace.jobs) / (len(trace.devices) * last)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_seed_gives_one_trace(name: str) -> None:
    assert generate(name, 7) == generate(name, 7)
    assert generate(name, 7) != generate(name, 8)


@pytest.mark.parametrize(
    ("name", "jobs", "devices", "groups"),
    [
        ("two_targets", 1000, {Target.EMULATOR: 12, Target.BROWSERSTACK: 8}, 16),
        ("many_versions", 1200, {Target.EMULATOR: 10}, 60),
        ("poisson", 2000, {Target.EMULATOR: 20}, 12),
        ("ci_bursts", 2000, {Target.EMULATOR: 10}, 50),
        ("ci_bursts_poisson", 2000, {Target.EMULATOR: 10}, 50),
        ("one_group", 200, {Target.EMULATOR: 8}, 1),
        ("fair_at_once", 4040, {Target.EMULATOR: 16}, 9),
        ("fair_late", 4040, {Target.EMULATOR: 16}, 9),
        ("three_orgs", 1500, {Target.EMULATOR: 15}, 15),
        ("urgent", 850, {Target.EMULATOR: 10}, 14),
        ("long_installs", 600, {Target.DEVICE: 12}, 6),
        ("short_tests", 2000, {Target.EMULATOR: 10}, 10),
        ("light", 600, {Target.EMULATOR: 12}, 8),
        ("few_tests", 20, {Target.EMULATOR: 20}, 1),
        ("fair_half_an_hour_late", 4040, {Target.EMULATOR: 16}, 9),
        ("fair_an_hour_late", 4040, {Target.EMULATOR: 16}, 9),
    ],
)
def test_sizes(name: str, jobs: int, devices: dict[Target, int], groups: int) -> None:
    trace = generate(name, 1)
    assert len(trace.jobs) == jobs
    assert Counter(d.target for d in trace.devices) == devices
    assert len({(j.org_id, j.app_version_id, j.target) for j in trace.jobs}) == groups
    assert trace.install_seconds == (180.0 if name == "long_installs" else 45.0)


def test_a_test_takes_the_same_wherever_it_runs_and_history_is_near_it() -> None:
    trace = generate("two_targets", 1)
    seconds = defaultdict(set)
    for job in trace.jobs:
        seconds[job.org_id, job.test_path, job.target].add(job.seconds)
    assert all(len(times) == 1 for times in seconds.values())
    noise = [math.log(run / seconds[key].copy().pop()) for key, runs in trace.history.items() for run in runs]
    assert abs(fmean(noise)) < 0.03
    assert stdev(noise) == pytest.approx(0.25, abs=0.02)


def test_durations_are_as_stated() -> None:
    times = [j.seconds for seed in range(10) for j in generate("one_group", seed).jobs]
    assert median(times) == pytest.approx(30.0, rel=0.08)
    assert stdev(map(math.log, times)) == pytest.approx(0.8, abs=0.05)


def test_classes_are_as_stated() -> None:
    counts = Counter(j.priority for seed in range(5) for j in generate("two_targets", seed).jobs)
    assert counts[Priority.HIGH] / 5000 == pytest.approx(0.10, abs=0.02)
    assert counts[Priority.LOW] / 5000 == pytest.approx(0.20, abs=0.02)


def test_steady_flows_have_the_stated_load() -> None:
    assert load(generate("poisson", 1)) == pytest.approx(0.8, rel=0.06)
    assert load(generate("ci_bursts", 1)) == pytest.approx(0.7, rel=0.04)
    assert load(generate("light", 1)) == pytest.approx(0.3, rel=0.1)
    assert {w.name for w in TABLE if w.steady} == {"poisson", "ci_bursts", "ci_bursts_poisson"}


def test_the_small_org_comes_beside_the_big_one_or_late() -> None:
    for name, at in (("fair_at_once", 0.0), ("fair_late", LATE_SECONDS), *LATER_SECONDS.items()):
        trace = generate(name, 1)
        assert {j.at for j in trace.jobs if j.org_id == SMALL_ORG} == {at}
        assert {j.at for j in trace.jobs if j.org_id == BIG_ORG} == {0.0}
        assert {j.priority for j in trace.jobs} == {Priority.MEDIUM}


def test_an_unknown_workload() -> None:
    with pytest.raises(ValueError, match="workload: 'busy' is unknown; choose one of two_targets, many_versions"):
        generate("busy", 1)


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_workload_has_goals(name: str) -> None:
    assert {"start_estimate_error"} < set(goals(name))
