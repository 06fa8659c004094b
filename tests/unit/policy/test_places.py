"""The last place under a limit is left to a job that waits an hour longer there for another device."""

from __future__ import annotations

from typing import Any

import pytest

from bench.scheduling.engine import Simulation
from bench.scheduling.trace import Trace, TraceDevice, TraceJob
from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.model.jobs import ANY_DEVICE, Requirements
from qgjob_coordinator.policy.planning.places import may_be_left
from qgjob_coordinator.policy.planning.plan import plan
from qgjob_coordinator.policy.rank import OLDER_SECONDS, URGENT_SECONDS
from qgjob_coordinator.policy.snapshot import Limits
from tests.unit.policy.snapshots import NOW, device, group, queue, snapshot

EMULATORS = (TraceDevice("d1", Target.EMULATOR), TraceDevice("d2", Target.EMULATOR))
MIXED = (TraceDevice("d1", Target.EMULATOR), TraceDevice("d2", Target.DEVICE))
ON_D2 = Requirements(device_id="d2")
INSTALL_SECONDS, TEST_SECONDS = 45.0, 60.0


def endless(org_id: str = "busy", target: Target = Target.EMULATOR) -> list[TraceJob]:
    """Urgent work for one device for ten hours."""
    return [
        TraceJob(TEST_SECONDS * n, org_id, "endless", target, Priority.HIGH, f"t{n % 5}.py", TEST_SECONDS)
        for n in range(600)
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
    longest = URGENT_SECONDS + OLDER_SECONDS + 2 * (TEST_SECONDS + INSTALL_SECONDS)
    assert URGENT_SECONDS < run.began - late.at <= longest


@pytest.mark.parametrize(("elsewhere", "taken"), [([], [("a900",)]), (["d9"], []), (["d8"], [("a900",)])])
def test_a_job_keeps_a_place_only_if_some_device_of_the_fleet_may_serve_it(
    elsewhere: list[str], taken: list[tuple[str, ...]]
) -> None:
    older = group("v2", queue("n", [-9000], requirements=Requirements(device_id="d9")))
    here = group("v1", queue("a", [900]))
    warm = device("d1", installed=("acme", "v1"))
    candidates = {Target.EMULATOR: (warm, *map(device, elsewhere))}
    made = plan(snapshot([warm], [here, older], room={"acme": 1}, candidates=candidates))
    assert [a.ulids for a in made.assignments] == taken


@pytest.mark.parametrize("second", [999 - OLDER_SECONDS, 1000 - OLDER_SECONDS])
def test_a_place_may_be_left_to_what_has_waited_longer_by_an_hour_than_what_comes_now(second: int) -> None:
    """Head starts included. Only then somebody looks at the devices of the whole fleet."""
    older = group("v1", queue("o", [second], Priority.LOW))
    assert may_be_left([group("v2"), older], NOW) is (second < 1000 - OLDER_SECONDS)


@pytest.mark.parametrize(("room", "taken"), [(1, 0), (2, 1), (3, 2)])
def test_one_place_is_left_and_no_more(room: int, taken: int) -> None:
    """`d2`, which may serve the older job, has something else to do."""
    older = group("v2", queue("o", [-9000], requirements=ON_D2))
    here = group("v1", queue("a", range(900, 950)), typical_seconds=0.01)
    busy = device("d2", installed=("globex", "v1"), held=1, holds_for=("globex", "e-v1"))
    made = plan(snapshot([device("d1", installed=("acme", "v1"))], [here, older], busy=(busy,), room={"acme": room}))
    assert sum(len(a.ulids) for a in made.assignments) == taken
