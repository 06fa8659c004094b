"""When waiting jobs are expected to start: exact where it is simple, in order everywhere, near the truth in traces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from bench.scheduling.engine import Simulation
from bench.scheduling.trace import Trace, TraceDevice, TraceJob
from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.model.jobs import ANY_DEVICE, Requirements
from qgjob_coordinator.policy.feasible import meets
from qgjob_coordinator.policy.forecast.expected import RUNNING_SHARE
from qgjob_coordinator.policy.forecast.forecast import Forecast
from qgjob_coordinator.policy.planning.plan import plan
from qgjob_coordinator.policy.planning.switching import PATIENCE_INSTALLS
from qgjob_coordinator.policy.snapshot import INSTALL_SECONDS, DeviceView, GroupView, Head, Limits, Queue, Snapshot
from tests.unit.policy.snapshots import ANDROID, NOW, device, group, queue, score, snapshot, snapshots

V1 = ("acme", "v1")
KEY = ("acme", "e-v1")
JOBS, SECONDS = 10, 60.0
HALF_OF_ONE = RUNNING_SHARE * SECONDS / 2
"""A job is given out when the one before it is, on average, half done."""


def of_one_group(*devices: DeviceView, busy: tuple[DeviceView, ...] = ()) -> Forecast:
    serving = {d.device_id: d.held for d in busy}
    waiting = group("v1", queue("a", range(900, 900 + JOBS)), typical_seconds=SECONDS, serving=serving)
    return Forecast(snapshot(devices, [waiting], busy=busy))


def starts(forecast: Forecast) -> list[float]:
    found = [forecast.start(KEY, SECONDS * (n - 1), n) for n in range(1, JOBS + 1)]
    return [expected.seconds for expected in found if expected is not None]


def test_one_warm_device_and_one_group_is_a_sum() -> None:
    forecast = of_one_group(device("d1", installed=V1))
    assert starts(forecast) == [0.0, *(n * SECONDS - HALF_OF_ONE for n in range(1, JOBS))]
    end = forecast.end(KEY)
    assert end is not None
    assert end.seconds == pytest.approx(JOBS * SECONDS)


@pytest.mark.timeout(20)
def test_times_of_a_device_that_contradict_each_other_end_no_look_ahead_late() -> None:
    """What it should begin next, it should begin after it has done all: nobody knows more than when it begins that."""
    held = {"installed": V1, "held": 2, "holds_for": KEY, "unstarted": 1}
    odd = device("d1", **held, free_at=NOW - 5_000_000, next_at=NOW + 1000)
    even = device("d1", **held, free_at=NOW + 1000, next_at=NOW + 1000)
    assert starts(of_one_group(busy=(odd,))) == starts(of_one_group(busy=(even,)))


def test_an_installation_comes_before_the_first_job() -> None:
    cold, warm = (of_one_group(device("d1", installed=has)) for has in (None, V1))
    assert starts(cold)[0] == pytest.approx(INSTALL_SECONDS)
    assert starts(cold)[2:] == pytest.approx([s + INSTALL_SECONDS for s in starts(warm)[2:]])
    end = cold.end(KEY)
    assert end is not None
    assert end.seconds == pytest.approx(INSTALL_SECONDS + JOBS * SECONDS)


def test_what_a_device_holds_comes_first() -> None:
    server = device("b0", installed=V1, held=1, holds_for=KEY, free_at=NOW + 200_000)
    end = of_one_group(busy=(server,)).end(KEY)
    assert end is not None
    assert end.seconds == pytest.approx(200 + JOBS * SECONDS)


def test_two_warm_devices_halve_it() -> None:
    end = of_one_group(device("d1", installed=V1), device("d2", installed=V1)).end(KEY)
    assert end is not None
    assert end.seconds == pytest.approx(JOBS * SECONDS / 2)


def test_a_second_group_begins_when_the_device_is_done_with_the_first() -> None:
    groups = [group(v, queue(v, range(900, 900 + JOBS)), typical_seconds=SECONDS) for v in ("v1", "v2")]
    forecast = Forecast(snapshot([device("d1", installed=V1)], groups))
    second = forecast.start(("acme", "e-v2"), 0.0, 1)
    assert second is not None
    assert second.seconds == pytest.approx(JOBS * SECONDS + INSTALL_SECONDS)


def test_nothing_is_told_where_nobody_will_serve_it() -> None:
    forecast = Forecast(snapshot([device("d1", target=Target.DEVICE)], [group("v1", queue("a", [900]))]))
    assert forecast.end(KEY) is None
    assert forecast.start(KEY, 60.0, 2) is None
    assert forecast.start(("acme", "gone"), 0.0, 1) is None


# ---- bounds: of a group's devices, of what an org may hold ----

DOZEN = [device(f"d{n:02d}") for n in range(12)]
ALL = 400 * 30.0


def end_of(*groups: GroupView, devices: Sequence[DeviceView], gid: str = "e-v1", **changes: Any) -> float | None:
    end = Forecast(snapshot(devices, groups, **changes)).end(("acme", gid))
    return None if end is None else end.seconds


def many(version: str = "v1", **changes: Any) -> GroupView:
    """400 jobs of 30 s."""
    return group(version, Queue(ANY_DEVICE, (), 400, queue("a", range(900, 964)).heads), **changes)


@pytest.mark.parametrize("cap", [1, 2, 5])
def test_no_more_devices_drain_a_group_than_its_cap(cap: int) -> None:
    capped = end_of(many(), devices=DOZEN, limits=Limits(group_max_devices=cap))
    assert capped == pytest.approx(INSTALL_SECONDS + ALL / cap)
    assert end_of(many(), devices=DOZEN) == pytest.approx(INSTALL_SECONDS + ALL / 12)


def test_of_more_warm_devices_than_the_cap_those_that_hold_something_serve() -> None:
    warm = [d._replace(installed=V1) for d in DOZEN]
    server = device("z", installed=V1, held=1, holds_for=KEY, free_at=NOW + 30_000)
    served = many(serving={"z": 1})
    limits = Limits(group_max_devices=1)
    assert end_of(served, devices=warm, busy=(server,), limits=limits) == pytest.approx(30 + ALL)
    assert end_of(many(), devices=warm, limits=limits) == pytest.approx(ALL)


@pytest.mark.parametrize("room", [1, 2, 5])
def test_no_more_devices_work_for_an_org_than_it_may_hold_attempts(room: int) -> None:
    assert end_of(many(), devices=DOZEN, room={"acme": room}) == pytest.approx(INSTALL_SECONDS + ALL / room)
    assert end_of(many(), devices=DOZEN, room={"globex": 0}) == pytest.approx(INSTALL_SECONDS + ALL / 12)


def test_a_quota_is_what_an_org_holds_and_has_room_for() -> None:
    servers = tuple(device(f"b{n}", installed=V1, held=1, holds_for=KEY, free_at=NOW) for n in range(2))
    served = many(serving={"b0": 1, "b1": 1})
    assert end_of(served, devices=DOZEN, busy=servers, room={"acme": 0}) == pytest.approx(ALL / 2)


def test_the_groups_of_an_org_at_its_quota_come_one_after_the_other_and_other_orgs_do_not_wait() -> None:
    mine = [group(v, queue(v, range(900, 910)), typical_seconds=SECONDS) for v in ("v1", "v2")]
    other = group("v3", queue("o", range(900, 910)), org_id="globex", typical_seconds=SECONDS)
    forecast = Forecast(snapshot(DOZEN, [*mine, other], room={"acme": 1}))
    ends = [forecast.end(key) for key in (("acme", "e-v1"), ("acme", "e-v2"), ("globex", "e-v3"))]
    once, by_two = INSTALL_SECONDS + JOBS * SECONDS, INSTALL_SECONDS + JOBS * SECONDS / 2
    assert [end.seconds for end in ends if end] == pytest.approx([once, 2 * once, by_two])


# ---- requirements ----

IOS = Requirements(platform="ios")
IOS_DEVICE = device("i1", platform="ios")
ANDROIDS = [device(f"a{n}", platform="android") for n in range(4)]


def matrix(ios: int = 40, android: int = 2) -> GroupView:
    """Jobs of 30 s for each of two platforms, the ios ones older."""
    return group(
        "v1",
        queue("i", range(800, 800 + ios), requirements=IOS),
        queue("a", range(900, 900 + android), requirements=ANDROID),
    )


@pytest.mark.parametrize("androids", [1, 4])
def test_devices_drain_only_what_they_may_serve(androids: int) -> None:
    devices = [IOS_DEVICE, *ANDROIDS[:androids]]
    assert end_of(matrix(), devices=devices) == pytest.approx(INSTALL_SECONDS + 40 * 30)
    forecast = Forecast(snapshot(devices, [matrix()]))
    first = forecast.start(KEY, 0.0, 1, ANDROID)
    last = forecast.start(KEY, 39 * 30.0, 40, IOS)
    assert first is not None
    assert last is not None
    assert first.seconds == pytest.approx(INSTALL_SECONDS)
    assert last.seconds == pytest.approx(INSTALL_SECONDS + 39 * 30, rel=0.02)


def test_a_group_with_a_queue_that_nothing_here_may_serve_has_no_end_and_its_other_jobs_have_starts() -> None:
    forecast = Forecast(snapshot(ANDROIDS, [matrix()]))
    assert forecast.end(KEY) is None
    assert forecast.start(KEY, 0.0, 1, ANDROID) is not None
    assert [forecast.start(KEY, 30.0 * n, n + 1, IOS) for n in range(3)] == [None] * 3


def test_a_group_of_which_nothing_may_be_served_has_neither_starts_nor_an_end() -> None:
    forecast = Forecast(snapshot(ANDROIDS, [group("v1", queue("i", [900, 901], requirements=IOS))]))
    assert forecast.end(KEY) is None
    assert [forecast.start(KEY, 30.0 * n, n + 1, IOS) for n in range(2)] == [None, None]


def test_pinned_jobs_start_one_after_the_other_whatever_else_idles() -> None:
    mine = Requirements(device_id="d03")
    pinned = group("v1", queue("p", range(900, 910), requirements=mine))
    forecast = Forecast(snapshot(DOZEN, [pinned]))
    told = [forecast.start(KEY, 30.0 * n, n + 1, mine) for n in range(10)]
    expected = [INSTALL_SECONDS + 30 * n - (RUNNING_SHARE * 15 if n else 0) for n in range(10)]
    assert [start.seconds for start in told if start] == pytest.approx(expected)


def test_a_device_for_several_queues_serves_the_oldest_job_first() -> None:
    """One device for all: the android jobs come between the others where they are as old, and behind them where not."""
    other = device("b1", held=1, holds_for=("acme", "gone"), free_at=NOW + 10**8)

    def first_android(ages: range) -> float:
        both = group("v1", queue("n", range(800, 840)), queue("a", ages, requirements=ANDROID))
        forecast = Forecast(snapshot([ANDROIDS[0]._replace(installed=V1)], [both], busy=(other,)))
        assert len(forecast.flows(KEY)) == 2
        start = forecast.start(KEY, 0.0, 1, ANDROID)
        assert start is not None
        return start.seconds

    assert first_android(range(798, 800)) == 0
    assert first_android(range(820, 822)) == pytest.approx(20 * 30, abs=4 * 30)
    assert first_android(range(900, 902)) == pytest.approx(40 * 30, abs=4 * 30)


def test_queues_that_the_same_devices_may_serve_are_one() -> None:
    """A retry that avoids one of many devices, or a requirement that all meet, leaves a job where its age puts it."""
    devices = [device(f"d{n}", platform="android") for n in range(12)]
    retried = queue("r", [850], avoid=("d3",))
    mixed = group("v1", queue("n", range(800, 900, 10)), queue("a", [855], requirements=ANDROID), retried)
    forecast = Forecast(snapshot(devices, [mixed]))
    assert len(forecast.flows(KEY)) == 1
    assert forecast.before(KEY, "r850", 7, ANY_DEVICE, ("d3",)) == (6 * 30.0, 7)


def test_of_two_devices_the_one_that_a_retry_avoids_does_not_drain_it() -> None:
    retry = queue("r", [850], avoid=("a0",))
    devices = [ANDROIDS[0]._replace(installed=V1), ANDROIDS[1]._replace(installed=None)]
    assert end_of(group("v1", retry), devices=devices) == pytest.approx(INSTALL_SECONDS + 30)
    assert end_of(group("v1", retry), devices=devices[:1]) == pytest.approx(30)
    elsewhere = {Target.EMULATOR: tuple(devices)}
    assert end_of(group("v1", retry), devices=devices[:1], candidates=elsewhere) is None


def test_where_a_job_stands_among_those_that_the_same_devices_may_serve() -> None:
    queues = (
        Queue(IOS, (), 100, queue("i", range(800, 810)).heads),
        Queue(ANDROID, (), 300, queue("a", range(805, 815)).heads),
    )
    forecast = Forecast(snapshot([IOS_DEVICE, *ANDROIDS], [group("v1", *queues)]))
    assert forecast.before(KEY, "a807", 11, ANDROID) == (2 * 30.0, 3)  # shown: exactly
    assert forecast.before(KEY, "hidden", 201, ANDROID) == (150 * 30.0, 151)  # not shown: as far back as in the group
    assert forecast.before(KEY, "hidden", 12, ANDROID) == (10 * 30.0, 11)  # and behind those that are shown
    assert forecast.before(KEY, "gone", 1, Requirements(platform="none")) is None
    assert forecast.before(("acme", "gone"), "a807", 1, ANDROID) is None


def test_a_device_that_idles_comes_when_a_full_group_has_a_place() -> None:
    """One device at a time: the other platform's comes when the first one is done."""
    limits = Limits(group_max_devices=1)
    android = ANDROIDS[0]._replace(installed=V1)
    both = matrix(ios=10, android=10)
    end = end_of(both, devices=[android, IOS_DEVICE], limits=limits)
    assert end == pytest.approx(10 * 30 + INSTALL_SECONDS + 10 * 30)


# ---- what is not seen here, and what is urgent ----


def test_devices_of_other_coordinators_drain_what_any_device_may_serve() -> None:
    served = many(serving={"far": 1})
    end = end_of(served, devices=[])
    assert end == pytest.approx(ALL + RUNNING_SHARE * 30 / 2)
    pinned = group("v1", queue("i", [900], requirements=IOS), serving={"far": 1})
    assert end_of(pinned, devices=[]) is None


@pytest.mark.parametrize("waited", [0, 100, 10_000])
def test_urgent_jobs_call_a_device_when_their_patience_ends(waited: int) -> None:
    """And not when the group that it serves happens to be looked at."""
    patience = PATIENCE_INSTALLS * INSTALL_SECONDS
    server = device("d1", installed=V1, held=1, holds_for=KEY, free_at=NOW)
    twin = device("d2", installed=V1, held=1, holds_for=KEY, free_at=NOW)
    urgent = group("v2", queue("u", [1000 - waited], Priority.HIGH))
    waiting = group(
        "v1", Queue(ANY_DEVICE, (), 400, queue("a", range(900, 964), Priority.LOW).heads), serving={"d1": 1, "d2": 1}
    )
    start = Forecast(snapshot([], [waiting, urgent], busy=(server, twin))).start(("acme", "e-v2"), 0.0, 1)
    assert start is not None
    assert start.seconds == pytest.approx(max(0, patience - waited) + INSTALL_SECONDS)


def test_devices_of_a_group_go_to_what_is_urgent_there_before_they_are_called_away() -> None:
    other = device("b1", held=1, holds_for=("acme", "gone"), free_at=NOW + 10**8)
    urgent = (Head(score(0, Priority.HIGH), "u", 30.0),)
    low = queue("n", range(800, 840), Priority.LOW).heads
    mine = group(
        "v1",
        Queue(ANY_DEVICE, (), 41, (*urgent, *low)),
        queue("a", [10], Priority.HIGH, requirements=ANDROID),
    )
    elsewhere = group("v2", queue("e", [0], Priority.HIGH, requirements=ANDROID))
    warm = ANDROIDS[0]._replace(installed=V1)
    forecast = Forecast(snapshot([warm], [mine, elsewhere], busy=(other,)))
    assert [each.seconds for each in (forecast.start(KEY, 0.0, 1, ANDROID),) if each] == pytest.approx([30.0])


def test_a_group_of_which_nothing_waits_ends_with_what_its_devices_hold() -> None:
    """The last of them counts; a job that waits for its time leaves the end open."""
    soon = device("d1", held=1, holds_for=KEY, free_at=NOW + 10_000)
    last = device("d2", held=1, holds_for=KEY, free_at=NOW + 25_000)
    held = group("v1", typical_seconds=SECONDS, serving={"d1": 1, "d2": 1})._replace(unfinished=2)
    forecast = Forecast(snapshot([soon], [held], busy=(last,)))
    assert KEY in forecast.groups()
    end = forecast.end(KEY)
    assert end is not None
    assert end.seconds == pytest.approx(25.0)
    assert end.least <= end.seconds <= end.most
    retry_waits = Forecast(snapshot([soon], [held._replace(unfinished=3)], busy=(last,)))
    assert KEY not in retry_waits.groups()
    assert retry_waits.end(KEY) is None


# ---- laws ----


@given(snapshots(), st.integers(2, 40))
def test_who_stands_further_back_starts_no_earlier_and_less_surely(s: Snapshot, jobs: int) -> None:
    forecast = Forecast(s)
    for key in forecast.groups():
        end = forecast.end(key)
        event("ends" if end else "never ends")
        for flow in forecast.flows(key):
            step = flow.work.seconds / jobs
            told = [flow.start(step * (n - 1), n) for n in range(1, jobs + 1)]
            known = [e for e in told if e is not None]
            assert all(0 <= e.least <= e.seconds <= e.most for e in known)
            assert told[: len(known)] == known, "one whose start is known stands behind one whose start is not"
            assert all(a.seconds <= b.seconds + 1e-6 for a, b in pairwise(known))
            if end is not None:
                assert end.least <= end.seconds <= end.most
                assert len(known) == jobs
                assert all(e.seconds <= end.seconds + 1e-6 for e in known)


@given(snapshots())
def test_what_drains_is_served_and_within_its_bounds(s: Snapshot) -> None:
    """What no device may serve has no start, and its group no end; and none ends sooner than its cap lets it."""
    forecast = Forecast(s)
    fleet = [*s.devices, *s.busy]
    away = {i for g in s.groups for i in g.serving} - {d.device_id for d in fleet}
    for view in s.groups:
        key = view.org_id, view.gid
        for q in view.queues:
            able = any(d.target is view.target and meets(q.requirements, d) for d in fleet)
            if not able and not away:
                assert forecast.start(key, 0.0, 1, q.requirements, q.avoid) is None
                assert forecast.end(key) is None
        cap = s.limits.group_max_devices
        end = forecast.end(key)
        holders = {d.device_id for d in fleet if d.holds_for == key} | set(view.serving)
        if cap is not None and end is not None and len(holders) <= cap:
            assert end.seconds >= sum(flow.work.seconds for flow in forecast.flows(key)) / cap - 1e-6


@given(snapshots())
def test_looking_ahead_changes_nothing(s: Snapshot) -> None:
    """Two looks at the same see the same; and a plan is the same after them."""
    before = plan(s)
    first, second = Forecast(s), Forecast(s)
    assert [first.end(key) for key in first.groups()] == [second.end(key) for key in second.groups()]
    assert plan(s) == before


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("versions", [1, 6])
def test_expected_starts_of_simulated_jobs_are_near_the_truth(devices: int, versions: int) -> None:
    """All come at once, of one class, and what each takes is known: what is left is that jobs are not a fluid."""
    jobs = tuple(
        TraceJob(0.0, "acme", f"v{n % versions}", Target.EMULATOR, Priority.MEDIUM, f"t{n}.py", 20.0 + 7 * (n % 5))
        for n in range(240)
    )
    history = {(j.org_id, j.test_path, j.target): (j.seconds,) for j in jobs}
    trace = Trace(45.0, tuple(TraceDevice(f"d{n}", Target.EMULATOR) for n in range(devices)), jobs, history)
    outcome = Simulation(trace, plan).run()
    errors = [abs(outcome.estimated_starts[i] - r.began) / max(r.began, 45.0) for i, r in outcome.runs.items()]
    assert len(outcome.estimated_starts) == len(jobs)
    assert median(errors) <= 0.15
    assert sorted(errors)[int(0.9 * len(errors))] <= 0.5
