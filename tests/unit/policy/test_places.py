"""The last place under a limit is left to a job that waits an hour longer there for another device."""

from __future__ import annotations

from typing import Any

import pytest

from bench.scheduling.engine import Simulation
from bench.scheduling.trace import Trace, TraceDevice, TraceJob
from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.model.jobs import ANY_DEVICE, Requirements
from qgjob_coordinator.policy.planning.plan import plan
from qgjob_coordinator.policy.rank import CLASS_SECONDS, OLDER_SECONDS
from qgjob_coordinator.policy.snapshot import Limits
from tests.unit.policy.snapshots import device, group, queue, snapshot

EMULATORS = (TraceDevice("d1", Target.EMULATOR), TraceDevice("d2", Target.EMULATOR))
MIXED = (TraceDevice("d1", Target.EMULATOR), TraceDevice("d2", Target.DEVICE))
ON_D2 = Requirements(device_id="d2")
INSTALL_SECONDS, TEST_SECONDS = 45.0, 60.0


def endless(org_id: str = "busy", target: Target = Target.EMULATOR) -> list[TraceJob]:
    """Urgent work for one device for four hours."""
    return [
        TraceJob(TEST_SECONDS * n, org_id, "endless", target, Priority.HIGH, f"t{n % 5}.py", TEST_SECONDS)
        for n in range(240)
    ]


@pytest.mark.parametrize(
    ("devices", "target", "version", "requirements", "others", "limits"),
    [
        (MIXED, Target.DEVICE, "late", ANY_DEVICE, [], {"quota": 1}),
        (MIXED, Target.DEVICE, "late", ANY_DEVICE, endless("other", Target.DEVICE), {"quota": 1}),
        (EMULATORS, Target.EMULATOR, "late", ANY_DEVICE, [], {"quota": 1}),
        (EMULATORS, Target.EMULATOR, "late", ON_D2, [], {"quota": 1}),
        (EMULATORS, Target.EMULATOR, "endless", ON_D2, [], {"limits": Limits(group_max_devices=1)}),
    ],
    ids=[
        "another target",
        "a busy device of another target",
        "any device",
        "one device",
        "one device of a capped group",
    ],
)
def test_nothing_waits_for_ever_behind_a_limit_that_others_fill(
    devices: tuple[TraceDevice, ...],
    target: Target,
    version: str,
    requirements: Requirements,
    others: list[TraceJob],
    limits: dict[str, Any],
) -> None:
    """The lowest class, where the highest one of the same org never runs dry."""
    late = TraceJob(100.0, "busy", version, target, Priority.LOW, "late.py", 10.0, requirements)
    run = Simulation(Trace(INSTALL_SECONDS, devices, (late, *endless(), *others)), plan, **limits).run().runs[0]
    longest = 2 * CLASS_SECONDS + OLDER_SECONDS + 2 * (TEST_SECONDS + INSTALL_SECONDS)
    assert 2 * CLASS_SECONDS < run.began - late.at <= longest


def test_a_job_that_no_device_here_may_serve_keeps_no_place() -> None:
    nowhere = group("v2", queue("n", [-9000], requirements=Requirements(device_id="d9")))
    here = group("v1", queue("a", [900]))
    (given,) = plan(snapshot([device("d1", installed=("acme", "v1"))], [here, nowhere], room={"acme": 1})).assignments
    assert given.ulids == ("a900",)


@pytest.mark.parametrize(("room", "taken"), [(1, 0), (2, 1), (3, 2)])
def test_one_place_is_left_and_no_more(room: int, taken: int) -> None:
    """`d2`, which may serve the older job, has something else to do."""
    older = group("v2", queue("o", [-9000], requirements=ON_D2))
    here = group("v1", queue("a", range(900, 950)), typical_seconds=0.01)
    busy = device("d2", installed=("globex", "v1"), held=1, holds_for=("globex", "e-v1"))
    made = plan(snapshot([device("d1", installed=("acme", "v1"))], [here, older], busy=(busy,), room={"acme": room}))
    assert sum(len(a.ulids) for a in made.assignments) == taken
