"""What each baseline is known for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench.scheduling.baselines import policy
from bench.scheduling.compare import simulate
from bench.scheduling.outcome import Outcome
from bench.scheduling.trace import Trace, TraceDevice, TraceJob
from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.policy.rank import URGENT_SECONDS


def job(version: str, priority: Priority = Priority.MEDIUM, *, at: float = 0.0, seconds: float = 10.0) -> TraceJob:
    return TraceJob(at, "acme", version, Target.EMULATOR, priority, "t.py", seconds)


def ran(name: str, jobs: Sequence[TraceJob], devices: int = 1) -> Outcome:
    trace = Trace(5.0, tuple(TraceDevice(f"e{n}", Target.EMULATOR) for n in range(devices)), tuple(jobs))
    return simulate(trace, policy(name))


def order(outcome: Outcome) -> list[int]:
    """Jobs by when they started."""
    return sorted(outcome.runs, key=lambda index: outcome.runs[index].began)


MIXED = [job("v1"), job("v2"), job("v1"), job("v2")]


def test_fifo_takes_the_oldest_whatever_is_installed() -> None:
    outcome = ran("fifo", MIXED)
    assert order(outcome) == [0, 1, 2, 3]
    assert len(outcome.installs) == 4


def test_fifo_knows_no_classes() -> None:
    assert order(ran("fifo", [job("v1", Priority.LOW), job("v1", Priority.HIGH)])) == [0, 1]


def test_fifo_sees_the_oldest_behind_many_of_its_group() -> None:
    many = [job("v1", Priority.LOW), job("v1"), *[job("v1", Priority.HIGH)] * 100]
    assert order(ran("fifo", many)) == list(range(102))


def test_priority_fifo_takes_the_class_first_however_long_others_wait() -> None:
    # The low job is older by more than classes are worth to the coordinator.
    late = 2.0 * URGENT_SECONDS
    jobs = [job("v1", seconds=2 * late), job("v1", Priority.LOW), job("v2", Priority.HIGH, at=late)]
    assert order(ran("priority_fifo", jobs)) == [0, 2, 1]
    assert order(ran("sticky", jobs)) == [0, 1, 2]


def test_strict_never_gives_a_group_two_devices_at_once() -> None:
    outcome = ran("strict", [job("v1")] * 6, devices=3)
    assert len({run.device_id for run in outcome.runs.values()}) == 1
    assert len(outcome.installs) == 1


def test_strict_serves_the_oldest_group_without_a_device() -> None:
    outcome = ran("strict", [job("v1"), job("v1"), job("v2"), job("v3")], devices=2)
    assert outcome.runs[0].device_id != outcome.runs[2].device_id
    assert outcome.runs[3].began >= outcome.runs[2].ended
    assert len(outcome.installs) == 3


def test_sticky_keeps_its_group_until_that_is_done() -> None:
    outcome = ran("sticky", MIXED)
    assert order(outcome) == [0, 2, 1, 3]
    assert len(outcome.installs) == 2


def test_sticky_knows_no_limit_of_devices_for_a_group() -> None:
    outcome = ran("sticky", [job("v1")] * 3, devices=3)
    assert len({run.device_id for run in outcome.runs.values()}) == 3


def test_sticky_looks_at_the_class_when_it_is_cold() -> None:
    assert order(ran("sticky", [job("v1", Priority.LOW), job("v2", Priority.HIGH)])) == [1, 0]


@pytest.mark.parametrize("name", ["fifo", "priority_fifo", "strict", "sticky"])
def test_devices_serve_their_own_target_only(name: str) -> None:
    devices = (TraceDevice("d", Target.DEVICE), TraceDevice("e", Target.EMULATOR))
    outcome = simulate(Trace(5.0, devices, tuple(MIXED)), policy(name))
    assert {run.device_id for run in outcome.runs.values()} == {"e"}


def test_a_policy_with_another_fan_out() -> None:
    assert policy("qgjob@3.5").limits.fan_out == 3.5
    assert policy("qgjob").limits.fan_out != 3.5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lifo", "policy: 'lifo' is unknown; use one of qgjob, fifo, priority_fifo, strict, sticky, or qgjob@FAN_OUT"),
        ("sticky@3", "policy: 'sticky@3' is unknown"),
        ("qgjob@", "policy: fan-out '' is no number above 0"),
        ("qgjob@nan", "policy: fan-out 'nan' is no number above 0"),
        ("qgjob@-1", "policy: fan-out '-1' is no number above 0"),
    ],
)
def test_unknown_policies(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy(name)
