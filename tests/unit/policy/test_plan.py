"""The rules of sticky grouping, one at a time."""

from __future__ import annotations

from qgjob_coordinator.model.enums import Priority
from qgjob_coordinator.model.jobs import ANY_DEVICE
from qgjob_coordinator.policy.plan import plan
from qgjob_coordinator.policy.snapshot import Assignment, Head, Queue, Snapshot
from tests.unit.policy.snapshots import device, group, queue, score, snapshot

V1 = ("acme", "v1")


def given_out(s: Snapshot) -> dict[str, list[str]]:
    return {a.device_id: list(a.ulids) for a in plan(s).assignments}


def test_nothing_waits_nothing_is_planned() -> None:
    assert plan(snapshot([device("d1")], [group("v1")])).assignments == ()
    assert plan(snapshot([], [group("v1", queue("a", [1]))])).assignments == ()


def test_a_warm_device_stays_with_its_build_though_an_older_job_of_another_waits() -> None:
    groups = [group("v1", queue("a", [5, 6])), group("v2", queue("b", [1, 2]))]
    assert given_out(snapshot([device("d1", installed=V1)], groups)) == {"d1": ["a5"]}


def test_a_build_of_another_org_with_the_same_name_is_cold() -> None:
    groups = [group("v1", queue("a", [5]), org_id="globex"), group("v2", queue("b", [1]))]
    (a,) = plan(snapshot([device("d1", installed=V1)], groups)).assignments
    assert (a.ulids, a.serving_seen) == (("b1",), 0)


def test_a_cold_device_takes_the_highest_class_then_the_oldest() -> None:
    low, old, young = (
        group("v1", queue("low", [1], Priority.LOW)),
        group("v2", queue("old", [2])),
        group("v3", queue("young", [3])),
    )
    urgent = group("v4", queue("urgent", [9], Priority.HIGH))
    assert given_out(snapshot([device("d1")], [low, young, old])) == {"d1": ["old2"]}
    assert given_out(snapshot([device("d1")], [low, young, old, urgent])) == {"d1": ["urgent9"]}


def test_warm_devices_are_served_before_cold_ones_take_their_work() -> None:
    s = snapshot([device("a-cold"), device("z-warm", installed=V1)], [group("v1", queue("a", [1]))])
    assert given_out(s) == {"z-warm": ["a1"]}


def test_a_device_that_holds_attempts_gets_more_of_them_and_no_other_build() -> None:
    busy = device("d1", installed=V1, held=2, holds_for=("acme", "e-v1"))
    serving = {"d1": 2}
    same = [group("v1", queue("a", range(1, 13)), serving=serving), group("v2", queue("b", [0]))]
    assert given_out(snapshot([busy], same)) == {"d1": ["a1"]}
    assert given_out(snapshot([busy], [group("v2", queue("b", [0]))])) == {}


def test_a_device_gets_what_keeps_it_busy_for_a_moment_and_no_more() -> None:
    """Jobs of a tenth of a second come in batches; one of half a minute is enough, also behind others."""
    groups = [group("v1", queue("a", range(3)), typical_seconds=t) for t in (0.01, 0.06, 0.1)]
    assert [len(plan(snapshot([device("d1")], [g])).assignments[0].ulids) for g in groups] == [3, 2, 1]


def test_near_the_tail_the_longest_goes_first_among_equally_urgent_ones() -> None:
    heads = (Head(score(1), "a1", 5.0), Head(score(2), "a2", 60.0), Head(score(3, Priority.HIGH), "a3", 1.0))
    tail = group("v1", Queue(ANY_DEVICE, (), 3, tuple(sorted(heads))))
    assert given_out(snapshot([device("d1")], [tail])) == {"d1": ["a3"]}
    rest = group("v1", Queue(ANY_DEVICE, (), 2, heads[:2]))
    assert given_out(snapshot([device("d1")], [rest])) == {"d1": ["a2"]}


def test_a_plan_is_made_of_assignments_that_name_their_agent() -> None:
    s = snapshot([device("d1", agent_id="agent-7")], [group("v1", queue("a", [1]))])
    assert plan(s).assignments == (Assignment("d1", "agent-7", "acme", "e-v1", ("a1",), 0, (30.0,), 45.0, (score(1),)),)
