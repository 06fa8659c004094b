"""The rules of sticky grouping, one at a time."""

from __future__ import annotations

from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.model.jobs import ANY_DEVICE
from qgjob_coordinator.policy.planning.plan import plan
from qgjob_coordinator.policy.proposals import Assignment
from qgjob_coordinator.policy.snapshot import Head, Limits, Queue, Snapshot
from tests.unit.policy.snapshots import ANDROID, NOW, device, group, queue, score, snapshot

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
    busy = device("d1", installed=V1, held=2, holds_for=("acme", "e-v1"), free_at=NOW)
    serving = {"d1": 2}
    same = [group("v1", queue("a", range(1, 13)), serving=serving), group("v2", queue("b", [0]))]
    assert given_out(snapshot([busy], same)) == {"d1": ["a1"]}
    assert given_out(snapshot([busy], [group("v2", queue("b", [0]))])) == {}


def test_a_device_gets_what_keeps_it_busy_for_a_moment_and_no_more() -> None:
    """Jobs of a tenth of a second come in batches; one of half a minute is enough, also behind others."""
    short = group("v1", queue("a", range(64)), typical_seconds=0.1)
    assert given_out(snapshot([device("d1")], [short])) == {"d1": [f"a{n}" for n in range(8)]}
    some = device("d1", installed=V1, held=3, holds_for=("acme", "e-v1"), free_at=NOW + 1850)
    served = group("v1", queue("a", range(64)), typical_seconds=0.1, serving={"d1": 3})
    assert given_out(snapshot([some], [served])) == {"d1": ["a0", "a1"]}
    enough = some._replace(free_at=NOW + 2000)
    assert given_out(snapshot([enough], [served])) == {}
    long = group("v1", queue("a", range(64)), typical_seconds=30)
    assert given_out(snapshot([device("d1")], [long])) == {"d1": ["a0"]}


def test_a_group_has_no_more_devices_than_it_may() -> None:
    jobs = group("v1", queue("a", range(20)))
    two = [device("d1"), device("d2")]
    jobs = jobs._replace(typical_seconds=100.0)
    assert set(given_out(snapshot(two, [jobs]))) == {"d1", "d2"}
    assert set(given_out(snapshot(two, [jobs], limits=Limits(group_max_devices=1)))) == {"d1"}
    served = group("v1", queue("a", range(20)), serving={"elsewhere": 3})
    assert given_out(snapshot(two, [served], limits=Limits(group_max_devices=1))) == {}


def test_a_full_group_sends_the_device_that_had_it_installed_elsewhere() -> None:
    full = group("v1", queue("a", range(20)), serving={"elsewhere": 3})
    s = snapshot(
        [device("d1", installed=V1)], [full, group("v2", queue("b", [99]))], limits=Limits(group_max_devices=1)
    )
    assert given_out(s) == {"d1": ["b99"]}


def test_each_joining_device_says_how_many_it_saw() -> None:
    s = snapshot([device("d1"), device("d2")], [group("v1", queue("a", range(60)), serving={"d0": 1})])
    assert [a.serving_seen for a in plan(s).assignments] == [1, 2]
    warm = snapshot([device("d0", installed=V1)], [group("v1", queue("a", range(20)), serving={"d0": 1})])
    assert [a.serving_seen for a in plan(warm).assignments] == [None]


def test_a_requirement_that_no_free_device_meets_hides_nobody_behind_it() -> None:
    jobs = group("v1", queue("android", [1, 2], requirements=ANDROID), queue("any", [3]))
    assert given_out(snapshot([device("d1", platform="ios")], [jobs])) == {"d1": ["any3"]}
    assert given_out(snapshot([device("d1", platform="android")], [jobs])) == {"d1": ["android1"]}


def test_a_device_is_avoided_only_while_another_one_exists() -> None:
    again = group("v1", queue("a", [1], avoid=("d1",)))
    assert given_out(snapshot([device("d1")], [again])) == {"d1": ["a1"]}
    other = {Target.EMULATOR: (device("d1"), device("elsewhere"))}
    assert given_out(snapshot([device("d1")], [again], candidates=other)) == {}
    assert given_out(snapshot([device("d1"), device("d2")], [again])) == {"d2": ["a1"]}
    # The reading of the fleet may be older than the session that shows the other one.
    assert given_out(snapshot([device("d1"), device("d2")], [again], candidates={})) == {"d2": ["a1"]}


def test_another_device_that_could_not_serve_it_is_no_reason_to_avoid_this_one() -> None:
    again = group("v1", queue("a", [1], requirements=ANDROID, avoid=("d1",)))
    s = snapshot([device("d1", platform="android"), device("d2", platform="ios")], [again])
    assert given_out(s) == {"d1": ["a1"]}


def test_an_org_gets_no_more_than_its_room_and_the_rest_goes_to_others() -> None:
    groups = [group("v1", queue("a", range(20))), group("v2", queue("b", [99]), org_id="globex")]
    s = snapshot([device("d1"), device("d2")], groups, room={"acme": 2})
    assert given_out(s) == {"d1": ["a0"], "d2": ["b99"]}
    assert given_out(snapshot([device("d1")], groups, room={"acme": 0})) == {"d1": ["b99"]}


def test_a_target_is_served_by_its_own_devices() -> None:
    phone = device("d1", target=Target.DEVICE)
    assert given_out(snapshot([phone], [group("v1", queue("a", [1]))])) == {}


def test_the_tail_is_dealt_singly() -> None:
    groups = [group("v1", queue("a", range(n)), typical_seconds=0.1) for n in (64, 11, 5, 4, 3, 2, 1)]
    sizes = [len(plan(snapshot([device("d1")], [g])).assignments[0].ulids) for g in groups]
    assert sizes == [8, 8, 2, 1, 1, 1, 1]


def test_the_tail_is_not_dealt_singly_where_a_device_would_wait_for_the_next_job() -> None:
    groups = [group("v1", queue("a", range(3)), typical_seconds=t) for t in (0.01, 0.06, 0.1)]
    assert [len(plan(snapshot([device("d1")], [g])).assignments[0].ulids) for g in groups] == [3, 2, 1]


def test_near_the_end_a_long_job_goes_first_among_equally_urgent_ones() -> None:
    heads = (Head(score(1), "a1", 5.0), Head(score(2), "a2", 60.0), Head(score(3, Priority.HIGH), "a3", 1.0))
    warm = [device("d1", installed=("acme", "v1"))]
    tail = group("v1", Queue(ANY_DEVICE, (), 3, tuple(sorted(heads))), serving={"d2": 1})
    assert given_out(snapshot(warm, [tail])) == {"d1": ["a3"]}
    rest = group("v1", Queue(ANY_DEVICE, (), 2, heads[:2]), serving={"d2": 1})
    assert given_out(snapshot(warm, [rest])) == {"d1": ["a2"]}


def test_a_plan_is_made_of_assignments_that_name_their_agent() -> None:
    s = snapshot([device("d1", agent_id="agent-7")], [group("v1", queue("a", [1]))])
    batch = Assignment("d1", "agent-7", "acme", "e-v1", ("a1",), 0, (30.0,), 45.0, (score(1),), app_version_id="v1")
    assert plan(s).assignments == (batch,)


def test_a_warm_device_that_idles_goes_before_one_that_would_hold_the_job_ahead() -> None:
    runs = device("d1", installed=("acme", "v1"), held=1, holds_for=("acme", "e-v1"), free_at=NOW + 1000)
    idles = device("d2", installed=("acme", "v1"))
    s = snapshot([runs, idles], [group("v1", queue("a", [900]), serving={"d1": 1})])
    assert [a.device_id for a in plan(s).assignments] == ["d2"]


def test_a_plan_tells_what_the_jobs_ask_of_their_devices() -> None:
    """So that it is known of those that are held ahead. Of what any device may serve there is nothing to tell."""
    (plain,) = plan(snapshot([device("d1")], [group("v1", queue("a", [1]))])).assignments
    assert plain.asks == ()
    picky = group("v1", queue("a", [1], requirements=ANDROID), queue("b", [2], avoid=("d9",)), typical_seconds=0.01)
    (both,) = plan(snapshot([device("d1", platform="android")], [picky])).assignments
    assert dict(zip(both.ulids, both.asks, strict=True)) == {"a1": (ANDROID, ()), "b2": (ANY_DEVICE, ("d9",))}
