"""What the core does where a tree does not die: it says so, to people and to the coordinator."""

from __future__ import annotations

from qgjob_agent.core import events, instructions
from qgjob_agent.core.values import Health, LivingProcess, LivingTree
from tests.fakes.agent_core import Core, only, started

TREE = LivingTree(990_000, tuple(LivingProcess(pid, "D", "dd") for pid in (7, 8, 9, 10)))
STUCK = (
    "what a test began there does not die: process 7 (state D), 8 (state D), 9 (state D) and 1 more; restart the host"
)


def stuck(core: Core, tree: LivingTree | None, device_id: str = "d1") -> list[instructions.Instruction]:
    return core.report(events.TreeStuck("t1", "acme~t1", device_id, tree))


def told(given: list[instructions.Instruction]) -> tuple[str, Health, str | None]:
    (view,) = only(given, instructions.SendInventory).changed
    return view.facts.device_id, view.health, view.reason


def test_a_tree_that_does_not_die_makes_its_device_a_bad_one_until_it_is_dead() -> None:
    core = Core("d1", "d2").open().warm()
    core.assign("t1", "t2")
    given = stuck(core, TREE)
    assert told(given) == ("d1", Health.BAD, STUCK)
    note = only(given, instructions.Note)
    assert (note.level, note.event) == (instructions.Level.WARNING, "tree_will_not_die")
    assert note.fields == {
        "job_id": "acme~t1",
        "device_id": "d1",
        "pids": [7, 8, 9, 10],
        "living": "7 dd (D), 8 dd (D), 9 dd (D), 10 dd (D)",
        "seconds": 10,
    }
    given = stuck(core, None)
    assert told(given) == ("d1", Health.GOOD, None)
    assert only(given, instructions.Note).event == "tree_died"
    assert started(core.dead("t1")) == ["t2"]


def test_a_coordinator_that_comes_later_is_told_too() -> None:
    core = Core("d1", "d2")
    stuck(core, TREE)
    assert [(each.health, each.reason) for each in core.connect().devices] == [
        (Health.BAD, STUCK),
        (Health.GOOD, None),
    ]
    stuck(core, None)
    assert told(core.welcome()) == ("d1", Health.GOOD, None)


def test_a_tree_on_a_device_that_is_not_there_is_said_in_the_log_alone() -> None:
    core = Core().open()
    assert [type(each) for each in stuck(core, TREE, "d9")] == [instructions.Note]
