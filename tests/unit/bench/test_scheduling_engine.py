"""The simulator's own bookkeeping, where a policy gives a device several jobs at once."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from bench.scheduling.baselines import QGJOB, policy
from bench.scheduling.compare import simulate
from bench.scheduling.engine import Simulation
from bench.scheduling.metrics import report
from bench.scheduling.trace import Trace, TraceDevice, TraceJob
from bench.scheduling.workloads import generate
from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.policy.snapshot import Assignment, Plan, Snapshot

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
