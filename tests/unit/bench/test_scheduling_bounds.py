"""No schedule goes below the bounds: held against the best of all schedules of tiny traces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.scheduling.baselines import POLICIES
from bench.scheduling.bounds import GroupId, bounds, group_of
from bench.scheduling.compare import simulate
from bench.scheduling.trace import Trace, TraceDevice, TraceJob
from qgjob_coordinator.model.enums import Priority, Target


def job(at: float, version: str, seconds: float, *, target: Target = Target.EMULATOR, org: str = "acme") -> TraceJob:
    return TraceJob(at, org, version, target, Priority.MEDIUM, "tests/t.py", seconds)


def trace(install: float, devices: int, jobs: Sequence[TraceJob]) -> Trace:
    return Trace(install, tuple(TraceDevice(f"e{n}", Target.EMULATOR) for n in range(devices)), tuple(jobs))


def dealt(jobs: Sequence[int], devices: int) -> Iterator[list[tuple[int, ...]]]:
    """All ways to give jobs to devices in an order: each order of all jobs, cut into one piece a device."""
    for order in permutations(jobs):
        for cuts in combinations(range(len(order) + devices - 1), devices - 1):
            edges = [-1, *cuts, len(order) + devices - 1]
            pieces = [(edges[i] + 1 - i, edges[i + 1] - i) for i in range(devices)]
            yield [order[begin:end] for begin, end in pieces]


def played(tr: Trace, order: Sequence[int], first: dict[GroupId, float]) -> tuple[float, int]:
    """When a device is done with jobs in an order as early as it can, and its installs.

    It installs ahead of a job that is not submitted yet, but not before the first of the group is.
    """
    free, installed, installs = 0.0, None, 0
    for index in order:
        j = tr.jobs[index]
        if installed != group_of(j):
            free = max(free, first[group_of(j)]) + tr.install_seconds
            installed, installs = group_of(j), installs + 1
        free = max(free, j.at) + j.seconds
    return free, installs


def best(tr: Trace) -> tuple[float, int]:
    """The least makespan and, apart from it, the fewest installs of all schedules."""
    first: dict[GroupId, float] = {}
    for j in tr.jobs:
        first[group_of(j)] = min(j.at, first.get(group_of(j), math.inf))
    makespan, installs = math.inf, math.inf
    for deal in dealt(range(len(tr.jobs)), len(tr.devices)):
        ends = [played(tr, order, first) for order in deal]
        makespan = min(makespan, max(end for end, _ in ends))
        installs = min(installs, sum(count for _, count in ends))
    return makespan, int(installs)


JOBS = st.lists(
    st.builds(job, st.integers(0, 12), st.sampled_from(["v1", "v2", "v3"]), st.integers(0, 9)), min_size=1, max_size=4
)


@settings(max_examples=150, deadline=None)
@given(install=st.integers(0, 6), devices=st.integers(1, 2), jobs=JOBS)
def test_no_schedule_goes_below_the_bounds(install: int, devices: int, jobs: list[TraceJob]) -> None:
    tr = trace(install, devices, jobs)
    least = bounds(tr)
    makespan, installs = best(tr)
    assert least.makespan_seconds <= makespan + 1e-9
    assert least.installs <= installs


@settings(max_examples=60, deadline=None)
@given(install=st.integers(0, 6), devices=st.integers(1, 3), jobs=JOBS, policy=st.sampled_from(sorted(POLICIES)))
def test_no_policy_goes_below_the_bounds(install: int, devices: int, jobs: list[TraceJob], policy: str) -> None:
    tr = trace(install, devices, jobs)
    outcome = simulate(tr, POLICIES[policy])
    least = bounds(tr)
    assert len(outcome.installs) >= least.installs
    assert max(run.ended for run in outcome.runs.values()) >= least.makespan_seconds - 1e-9


@pytest.mark.parametrize(
    ("jobs", "devices", "makespan"),
    [
        pytest.param([job(0, "v1", 30)], 1, 40, id="an install before the test"),
        pytest.param([job(0, "v1", 5), job(100, "v1", 30)], 1, 130, id="known long before, so installed by then"),
        pytest.param([job(0, "v1", 5), job(4, "v1", 30)], 2, 40, id="the install ends after the submission"),
        pytest.param([job(0, "v1", 30), job(0, "v2", 30)], 1, 80, id="work and installs of one device"),
        pytest.param([job(0, "v1", 10), job(50, "v2", 10), job(50, "v2", 10)], 1, 80, id="all that comes late"),
        pytest.param([job(0, "v1", 30)] * 4, 2, 65, id="one install counts, though both devices need one"),
    ],
)
def test_the_makespan_bound_is_as_stated(jobs: list[TraceJob], devices: int, makespan: float) -> None:
    assert bounds(trace(10, devices, jobs)).makespan_seconds == makespan


def test_an_install_serves_one_version_of_one_org_on_one_target() -> None:
    devices = (TraceDevice("e", Target.EMULATOR), TraceDevice("d", Target.DEVICE))
    jobs = (
        job(0, "v1", 1),
        job(9, "v1", 1),
        job(0, "v2", 1),
        job(0, "v1", 1, org="globex"),
        job(0, "v1", 1, target=Target.DEVICE),
    )
    assert bounds(Trace(45, devices, jobs)).installs == 4


def test_targets_share_no_devices_so_the_slower_one_counts() -> None:
    devices = (TraceDevice("e", Target.EMULATOR), TraceDevice("d", Target.DEVICE))
    jobs = (job(0, "v1", 100), job(0, "v1", 20, target=Target.DEVICE))
    assert bounds(Trace(10, devices, jobs)).makespan_seconds == 110


def test_nothing_to_do_is_bounded_by_nothing() -> None:
    least = bounds(trace(45, 1, []))
    assert (least.installs, least.makespan_seconds) == (0, 0.0)


def test_a_target_without_devices_has_no_bound() -> None:
    with pytest.raises(ValueError, match="target device: no device has it, so its 1 jobs never end"):
        bounds(trace(45, 1, [job(0, "v1", 1, target=Target.DEVICE)]))
