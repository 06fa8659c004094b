"""What a plan costs: CPU time of this thread, by the pace of the machine at that moment.

CPU time alone varies by more than a half with what else a shared machine does, so each call is measured in turns with a
fixed piece of work, and limits are of the machine on which that takes a millisecond. A plan that looks at every pair of
a device and a group exceeds them by far.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from statistics import median

import pytest

from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.model.jobs import ANY_DEVICE
from qgjob_coordinator.policy.forecast import Forecast
from qgjob_coordinator.policy.plan import plan
from qgjob_coordinator.policy.snapshot import DeviceView, GroupView, Head, Queue, Snapshot
from tests.unit.policy.snapshots import NOW, device, group, score

GROUPS = DEVICES = 1000
HEADS = 16
ORGS = 20
ONE_DEVICE_MS = 1.0
ROUND_MS = 50.0
SLACK = 4
"""What a limit leaves to chance."""
YARD = 10_000
"""So many small tuples are made and looked at in a millisecond of the machine that the goals were set on."""


def org(n: int) -> str:
    return f"org{n % ORGS}"


def groups(*, seconds: float = 30.0, serving: bool = False) -> tuple[GroupView, ...]:
    made = []
    for n in range(GROUPS):
        heads = sorted(
            Head(score(100 + (n * 7 + i * 13) % 800, list(Priority)[(n + i) % 3]), f"j{n}-{i}", seconds)
            for i in range(HEADS)
        )
        made.append(
            group(
                f"v{n}",
                Queue(ANY_DEVICE, (), 40, tuple(heads)),
                org_id=org(n),
                serving={f"b{n}": 1} if serving else {},
            )
        )
    return tuple(made)


def servers() -> tuple[DeviceView, ...]:
    return tuple(
        device(
            f"b{n}",
            installed=(org(n), f"v{n}"),
            held=1,
            holds_for=(org(n), f"e-v{n}"),
            free_at=NOW + 1000 * (n % 60),
        )
        for n in range(DEVICES)
    )


def yard() -> int:
    """The fixed piece of work: like a plan it makes small objects, keeps them in a dict, and reads them."""
    kept = {n: (n, str(n)) for n in range(YARD)}
    return sum(number + len(text) for number, text in kept.values())


def paced_ms(work: Callable[[], object], times: int) -> list[float]:
    """CPU time of each of so many calls, without the collector's pauses, by the pace of the machine around it."""
    took = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(times):
            before = spent_ms(yard)
            spent = spent_ms(work)
            took.append(2 * spent / (before + spent_ms(yard)))
    finally:
        gc.enable()
    return sorted(took)


def spent_ms(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    begun = time.thread_time()
    work()
    return (time.thread_time() - begun) * 1000


def test_one_freed_warm_device_among_a_thousand_groups_is_planned_in_a_moment() -> None:
    freed = device("d1", installed=(org(500), "v500"))
    s = Snapshot((freed,), groups(serving=True), busy=servers(), now=NOW)
    assert len(plan(s).assignments) == 1
    assert median(paced_ms(lambda: plan(s), 30)) <= SLACK * ONE_DEVICE_MS


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_a_full_round_of_a_thousand_devices_and_groups_is_planned_in_a_blink(warm: bool) -> None:
    devices = tuple(device(f"d{n}", installed=(org(n), f"v{n}") if warm else None) for n in range(DEVICES))
    s = Snapshot(devices, groups(), now=NOW)
    assert len(plan(s).assignments) == DEVICES
    took = paced_ms(lambda: plan(s), 15)
    assert took[-2] <= SLACK * ROUND_MS


def test_a_look_ahead_of_a_thousand_devices_and_groups_takes_less_than_a_second() -> None:
    s = Snapshot((), groups(serving=True), busy=servers(), now=NOW, install_seconds={Target.EMULATOR: 45.0})
    assert paced_ms(lambda: Forecast(s), 1)[0] <= 1000 * SLACK
