"""The simulator's own bookkeeping, where a policy gives a device several jobs at once."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from bench.scheduling.baselines import QGJOB, in_order, policy
from bench.scheduling.compare import simulate
from bench.scheduling.engine import STEPS_PER_MOMENT, Simulation
from bench.scheduling.metrics import report
from bench.scheduling.outcome import Outcome
from bench.scheduling.trace import Trace, TraceDevice, TraceJob
from bench.scheduling.workloads import generate
from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.policy.estimates.typical import ENOUGH
from qgjob_coordinator.policy.proposals import Assignment, Plan
from qgjob_coordinator.policy.snapshot import TYPICAL_SECONDS, GroupView, Snapshot, known_seconds

EMULATOR = Target.EMULATOR


def all_at_once(snapshot: Snapshot) -> Plan:
    """The first device gets everything that the first group shows."""
    device, group = snapshot.devices[0], snapshot.groups[0]
    heads = group.queues[0].heads
    return Plan(
        (Assignment(device.device_id, device.agent_id, group.org_id, group.gid, tuple(h.ulid for h in heads), 0),)
    )


def test_a_job_that_a_device_holds_behind_others_is_expected_after_them():
    """History knows what they take; an installation comes first."""
    seconds = (3.0, 4.0, 5.0)
    jobs = [TraceJob(0.0, "acme", "v1", EMULATOR, Priority.MEDIUM, f"t{i}", s) for i, s in enumerate(seconds)]
    history = {("acme", f"t{i}", EMULATOR): (s,) for i, s in enumerate(seconds)}
    trace = Trace(10.0, (TraceDevice("e1", EMULATOR),), tuple(jobs), history)
    outcome = Simulation(trace, all_at_once).run()
    assert outcome.estimated_starts == {0: 10.0, 1: 13.0, 2: 17.0}
    assert [outcome.runs[i].began for i in range(3)] == [10.0, 13.0, 17.0]
    assert outcome.at_once == {0}
    errors = report(trace, outcome)["start_estimate_error"]
    assert (errors["count"], errors["median"], errors["p90"]) == (2, 0.0, 0.0)


@pytest.mark.parametrize("share", [0.05, 1.0])
def test_histories_that_begin_with_an_absurd_value_change_little(share: float) -> None:
    """Eighty thousand seconds are no impossible duration, so they are told from a true one by what came later only."""
    clean = generate("two_targets", 0)
    random = Random(1)  # noqa: S311 - a reproducible sample
    spoilt = {k: ((80_000.0, *runs[1:]) if random.random() < share else runs) for k, runs in clean.history.items()}
    before, after = (report(t, simulate(t, policy(QGJOB))) for t in (clean, replace(clean, history=spoilt)))
    assert after["installs"] <= 1.15 * before["installs"]
    assert after["makespan_seconds"] <= 1.02 * before["makespan_seconds"]
    error = after["start_estimate_error"]["median"]
    assert error is not None
    assert error < 0.3


def one_each(snapshot: Snapshot) -> Plan:
    """Every device that would take work gets the next job of the first group, whatever it holds."""
    group = snapshot.groups[0]
    dealt = zip(snapshot.devices, group.queues[0].heads, strict=False)
    return Plan(tuple(Assignment(d.device_id, d.agent_id, group.org_id, group.gid, (h.ulid,), 0) for d, h in dealt))


def trace_of(*jobs: tuple[float, float, float], devices: int = 1, versions: int = 1) -> Trace:
    """Jobs of one org, each (at, expected seconds, true seconds), dealt to versions in turn; nothing to install."""
    return Trace(
        0.0,
        tuple(TraceDevice(f"e{n}", EMULATOR) for n in range(1, devices + 1)),
        tuple(
            TraceJob(at, "acme", f"v{n % versions}", EMULATOR, Priority.MEDIUM, f"t{n}", true)
            for n, (at, _, true) in enumerate(jobs)
        ),
        {("acme", f"t{n}", EMULATOR): (expected,) for n, (_, expected, _) in enumerate(jobs)},
    )


class Seen:
    """A plan function that keeps what it was shown."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []

    def __call__(self, snapshot: Snapshot) -> Plan:
        self.snapshots.append(snapshot)
        return one_each(snapshot)


def test_a_device_gets_work_ahead_in_the_last_two_seconds_of_what_it_runs():
    seen = Seen()
    outcome = Simulation(trace_of((0, 30, 30), (0, 30, 30)), seen).run()
    at = [(s.now - seen.snapshots[0].now) / 1000 for s in seen.snapshots]
    assert [s.devices[0].held for s in seen.snapshots] == [0, 1]
    assert at[0] == 0
    assert 28 < at[1] <= 29, "a timer looks once a second"
    assert outcome.runs[1].began == 30


def test_a_device_that_runs_longer_than_expected_is_given_no_more_than_two_seconds_ahead():
    seen = Seen()
    Simulation(trace_of((0, 30, 300), *[(0.0, 30.0, 30.0)] * 5), seen).run()
    assert max(d.held for s in seen.snapshots for d in s.devices) == 1


def test_what_a_late_device_holds_ahead_goes_to_one_that_idles():
    trace = trace_of((0, 10, 100), (0, 14, 14), (5, 30, 30), devices=2)
    outcome = simulate(trace, policy(QGJOB))
    late, free = outcome.runs[0], outcome.runs[1]
    assert (late.began, late.ended, free.ended) == (0, 100, 14)
    assert outcome.runs[2].device_id == free.device_id
    assert 14 <= outcome.runs[2].began <= 16, "it should have begun at 10, and is late from 14 on"
    (given,) = outcome.given_back
    assert (given.device_id, given.jobs) == (late.device_id, (2,))
    assert 14 <= given.at <= outcome.runs[2].began


def test_a_job_behind_one_that_is_late_is_told_a_start_that_is_not_over():
    """What the device runs should have ended already."""
    outcome = Simulation(trace_of((0, 10, 100), (20, 30, 30)), one_each).run()
    assert outcome.estimated_starts[1] >= 20


def test_an_org_holds_no_more_than_its_quota():
    seen = Seen()
    Simulation(trace_of(*[(0.0, 10.0, 10.0)] * 9, devices=4), seen, quota=3).run()
    assert next(s.room["acme"] for s in seen.snapshots if not any(d.held for d in s.busy)) == 3
    limited = simulate(trace_of(*[(0.0, 10.0, 10.0)] * 9, devices=4), policy(QGJOB), quota=2)
    assert most_at_once(limited) == 2


def test_a_group_has_no_more_devices_than_its_cap():
    trace = trace_of(*[(0.0, 10.0, 10.0)] * 30, devices=4)
    assert most_at_once(simulate(trace, policy(QGJOB))) > 2
    assert most_at_once(simulate(trace, policy(QGJOB), group_max_devices=2)) == 2


def most_at_once(outcome: Outcome) -> int:
    """How many jobs run at one moment."""
    return max(sum(r.began <= run.began < r.ended for r in outcome.runs.values()) for run in outcome.runs.values())


def test_durations_are_learned_as_the_store_learns_them_in_whole_ms_of_at_least_one():
    trace = trace_of(*[(0.0, 10.0, 0.0)] * 200)
    jobs = [replace(job, test_path="t", at=n / 100) for n, job in enumerate(trace.jobs)]
    seen = Seen()
    Simulation(replace(trace, jobs=tuple(jobs), history={}), seen).run()
    assert seen.snapshots[0].groups[0].typical_seconds == TYPICAL_SECONDS
    assert {s.groups[0].typical_seconds for s in seen.snapshots[10:]} == {0.001}


def test_what_no_agent_could_report_is_learned_nothing_from():
    day = 24 * 3600
    history = (0.0, 0.0004, day + 1.0, -1.0, math.nan, math.inf, 1e308)
    trace = replace(trace_of((0, 0, 3)), history={("acme", "t0", EMULATOR): history})
    seen = Seen()
    Simulation(trace, seen).run()
    assert seen.snapshots[0].groups[0].queues[0].heads[0].seconds == 0.001


def test_what_is_typical_of_a_group_ends_with_it():
    """A group that comes again begins with what is known of its org."""
    runs = [(0.0, "v0", 30.0)] * ENOUGH + [(1000.0, "v1", 1.0)] * 20 + [(2000.0, "v0", 30.0)]
    jobs = [
        TraceJob(at, "acme", version, EMULATOR, Priority.MEDIUM, f"t{n}", seconds)
        for n, (at, version, seconds) in enumerate(runs)
    ]
    seen = Seen()
    Simulation(replace(trace_of((0, 1, 1)), jobs=tuple(jobs), history={}), seen).run()
    (group,) = seen.snapshots[-1].groups
    assert group.app_version_id == "v0"
    assert group.typical_seconds < 10


@pytest.mark.parametrize("seconds", [1e4, 1e9])
def test_a_long_installation_beside_an_idle_device_takes_rounds_as_its_length_has_digits(seconds: float) -> None:
    trace = replace(trace_of(*[(0.0, 10.0, 10.0)] * 5, devices=2), install_seconds=seconds)
    outcome = simulate(trace, policy(QGJOB))
    assert {run.device_id for run in outcome.runs.values()} == {"e1"}
    assert len(outcome.plan_ms) < 100 * math.log10(seconds)


@pytest.mark.timeout(60)
def test_a_test_that_is_late_for_years_is_looked_at_ever_more_rarely() -> None:
    outcome = simulate(trace_of((0, 30, 1e9), (0, 30, 30)), policy(QGJOB))
    assert outcome.runs[1].began == 1e9


def test_what_a_device_that_is_late_for_long_holds_is_looked_at_as_soon_as_something_happens() -> None:
    """Another device with the build is idle after an hour; a second later it has the job."""
    trace = trace_of((0, 10, 100_000), (0, 3600, 3600), (0, 10, 10), devices=2)
    outcome = simulate(trace, policy(QGJOB))
    assert outcome.runs[2].device_id == outcome.runs[1].device_id
    assert 3600 <= outcome.runs[2].began <= 3602


def looked_at_anew(view: GroupView) -> GroupView:
    """With heads that can be compared."""
    return view._replace(queues=tuple(q._replace(heads=tuple(q.heads)) for q in view.queues))


class Anew(Simulation):
    """Makes every view of a group again and compares."""

    compared = 0

    def _group_view(self, g: Any) -> GroupView:
        view = super()._group_view(g)
        g.shown, kept = {}, g.shown
        assert looked_at_anew(view) == looked_at_anew(self._look_at(g))
        g.shown = kept
        assert all(q.heads.known_seconds() == known_seconds(tuple(q.heads)) for q in view.queues)
        type(self).compared += 1
        return view


def test_views_of_groups_that_are_kept_are_as_those_made_anew() -> None:
    trace = generate("urgent", 0)
    some = replace(trace, jobs=trace.jobs[:150] + trace.jobs[-20:], devices=trace.devices[:4])
    kept = simulate(some, policy(QGJOB))
    anew = Anew(some, policy(QGJOB).plan).run()
    assert Anew.compared > 500
    assert (anew.runs, anew.installs, anew.estimated_starts) == (kept.runs, kept.installs, kept.estimated_starts)


def test_of_many_devices_starts_are_told_at_some_of_the_moments_only() -> None:
    """All are told where that costs little."""

    def told(devices: int) -> int:
        jobs = [(float(n), 30.0, 30.0) for n in range(40)]
        trace = trace_of(*jobs, devices=devices)
        busy = [replace(job, at=0.0, app_version_id="other", seconds=1000.0) for job in trace.jobs[:1]] * devices
        outcome = Simulation(replace(trace, jobs=(*busy, *trace.jobs)), in_order).run()
        return sum(index in outcome.estimated_starts for index in range(devices, devices + len(jobs)))

    assert told(devices=STEPS_PER_MOMENT // 2) == 40
    assert told(devices=STEPS_PER_MOMENT * 4) == pytest.approx(10, abs=1)
