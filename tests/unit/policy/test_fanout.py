"""Whether one more device is worth an installation: by the work before each device, what idles, shares and urgency."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.model.jobs import ANY_DEVICE, Requirements
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.fanout import OWED_FAN_OUT, SPARE_INSTALLS, enough, out_of_reach, worth_joining
from qgjob_coordinator.policy.planning.plan import plan
from qgjob_coordinator.policy.planning.work import Work
from qgjob_coordinator.policy.rank import CLASS_SECONDS, URGENT_SECONDS
from qgjob_coordinator.policy.snapshot import INSTALL_SECONDS, DeviceView, GroupView, Head, Limits, Queue
from tests.unit.policy.snapshots import ANDROID, NOW, device, group, queue, score, snapshot

FAN_OUT = Limits(fan_out=5.0)
"""Where nothing is free 5 * 1.3 installations' worth of work are enough, where half of it is 5 * 0.675."""
BUSY = 6.5 * INSTALL_SECONDS
REACH = 3 * INSTALL_SECONDS
FRESH = 999
SOUGHT = "v1"


def server(device_id: str, seconds: float = 0.0, version: str = SOUGHT, **changes: Any) -> DeviceView:
    """A device that serves a group of acme, until what it holds is done."""
    key = ("acme", f"e-{version}")
    values: dict[str, Any] = {"held": 1, "holds_for": key, "free_at": NOW + round(seconds * 1000)}
    return device(device_id, installed=("acme", version), **values | changes)


def jobs(
    *seconds: float | None,
    hidden: int = 0,
    second: int = FRESH,
    priority: Priority = Priority.MEDIUM,
    requirements: Requirements = ANY_DEVICE,
) -> Queue:
    """Jobs that are expected to take so long; behind them those that no snapshot shows."""
    heads = tuple(Head(score(second, priority), f"j{n:03}", takes) for n, takes in enumerate(seconds))
    return Queue(requirements, (), len(heads) + hidden, heads)


def served(*queues: Queue, by: tuple[DeviceView, ...] = (), version: str = SOUGHT, **changes: Any) -> GroupView:
    values: dict[str, Any] = {"serving": {d.device_id: d.held for d in by}}
    return group(version, *queues, **values | changes)


def of(books: Books, version: str = SOUGHT, org_id: str = "acme") -> Work:
    """The books of a group."""
    work = books.home(device("asks", installed=(org_id, version)))
    assert work is not None
    return work


def look(
    sought: GroupView,
    *servers: DeviceView,
    idle: int = 0,
    others: tuple[GroupView, ...] = (),
    **changes: Any,
) -> tuple[Books, Work, Head]:
    """The books of a round, a group, and its next job."""
    free = [device(f"idle{n}") for n in range(idle)]
    books = Books(snapshot(free, (sought, *others), busy=servers, **{"limits": FAN_OUT} | changes))
    work = of(books, sought.app_version_id, sought.org_id)
    head = work.first(range(len(sought.queues)))
    assert head is not None
    return books, work, head


def worth(sought: GroupView, *servers: DeviceView, **changes: Any) -> bool:
    return worth_joining(*look(sought, *servers, **changes))


def reached(sought: GroupView, *servers: DeviceView, **changes: Any) -> bool:
    return not out_of_reach(*look(sought, *servers, **changes))


# ---- the work of a group ----


@pytest.mark.parametrize(
    ("queues", "expected"),
    [
        ((jobs(10.0, 20.0),), 30.0),
        ((jobs(10.0), jobs(20.0, requirements=ANDROID)), 30.0),
        ((jobs(10.0, None),), 70.0),  # nothing is known of the second: typical of the group
        ((jobs(None, None),), 120.0),
        ((jobs(10.0, 20.0, hidden=2),), 60.0),  # those behind are as those that are seen
        ((jobs(None, hidden=2),), 180.0),
        ((jobs(0.0, 0.0, hidden=2),), 0.0),
        ((jobs(1e9),), 1e9),
    ],
)
def test_the_work_of_a_group_is_what_its_waiting_jobs_take(queues: tuple[Queue, ...], expected: float) -> None:
    _, work, _ = look(served(*queues, typical_seconds=60.0))
    assert work.seconds == pytest.approx(expected)
    assert work.left == sum(q.waiting for q in queues)


def test_a_job_that_is_taken_is_work_no_more_but_that_of_its_device() -> None:
    _, work, head = look(served(jobs(10.0, 20.0)))
    assert work.take(head, "d1") == 10.0
    assert (work.left, work.seconds, dict(work.serving)) == (1, 20.0, {"d1": 10.0})
    assert work.per_device() == 30.0


def test_the_work_before_each_device_is_shared_by_those_that_serve_and_includes_what_they_hold() -> None:
    servers = server("b0", 50), server("b1", 20)
    _, work, _ = look(served(jobs(30.0, 30.0), by=servers), *servers)
    assert work.per_device() == (60 + 70) / 2
    assert work.per_device(1) == (20 + 60) / 2  # b0 holds more than that, so it has no part in it
    _, nobody, _ = look(served(jobs(30.0, 30.0)))
    assert nobody.per_device() == nobody.per_device(1) == 60.0


def test_the_installation_of_who_joins_is_no_work_to_share_but_keeps_it_busy() -> None:
    books, work, head = look(served(jobs(300.0, 300.0)))
    work.take(head, "d1")
    work.joined("d1")
    assert work.serving["d1"] == 300 + INSTALL_SECONDS
    assert work.per_device() == 600.0
    assert out_of_reach(books, work, head)


def test_a_device_that_only_the_store_knows_of_serves_and_holds_nothing() -> None:
    _, work, _ = look(served(jobs(60.0), serving={"away": 3}))
    assert dict(work.serving) == {"away": 0.0}


@pytest.mark.parametrize(
    ("holds", "alone", "with_another"),
    [
        ((100.0, 20.0), 80.0, 40.0),
        ((100.0, 20.0, 20.0), 50.0, 100 / 3),
        ((1e9, 60.0), 120.0, 60.0),
        ((1e9, 1e9), 1e9 + 30, 60.0),
        ((1e9,), 1e9 + 60, 60.0),
    ],
)
def test_who_holds_more_than_comes_to_the_others_has_no_part_in_what_waits(
    holds: tuple[float, ...], alone: float, with_another: float
) -> None:
    servers = tuple(server(f"b{n}", seconds) for n, seconds in enumerate(holds))
    _, work, _ = look(served(jobs(30.0, 30.0), by=servers), *servers)
    assert work.per_device() == pytest.approx(alone)
    assert work.per_device(1) == pytest.approx(with_another)


def test_the_installation_of_who_joins_beside_a_hung_one_is_no_work_to_share_either() -> None:
    hung = server("b0", -1e6)
    _, work, head = look(served(jobs(300.0, 300.0), by=(hung,)), hung)
    work.take(head, "d1")
    work.joined("d1")
    assert work.per_device() == 600.0
    assert work.per_device(1) == 300.0


def test_a_device_that_is_late_with_what_it_runs_takes_as_long_again() -> None:
    """With what is behind it. So one that is hung is soon as none: it is no reason not to join its group."""
    late = server("b0", -500)
    assert dict(look(served(jobs(60.0), by=(late,)), late)[1].serving) == {"b0": 500.0}
    behind = server("b0", -470, held=2, unstarted=1, next_at=NOW - 500_000)
    assert dict(look(served(jobs(60.0), by=(behind,)), behind)[1].serving) == {"b0": 530.0}


@pytest.mark.parametrize(("late", "expected"), [(0, False), (REACH, False), (REACH + 1, True), (1e6, True)])
def test_an_urgent_job_does_not_wait_for_a_device_that_is_late(late: float, expected: bool) -> None:
    by = server("b0", -late)
    assert worth(served(jobs(1.0, priority=Priority.HIGH), by=(by,)), by) is expected


@pytest.mark.parametrize(("late", "expected"), [(0, False), (BUSY - 2, False), (BUSY, True), (1e6, True)])
def test_nor_does_any_other_job_in_the_end(late: float, expected: bool) -> None:
    by = server("b0", -late)
    assert worth(served(jobs(1.0), by=(by,)), by) is expected


@pytest.mark.parametrize("late", [0, BUSY, 1e6])
def test_a_device_that_is_late_is_no_reason_to_join_where_another_one_is_not(late: float) -> None:
    by = server("b0", -late), server("b1")
    for priority in Priority:
        assert not worth(served(jobs(1.0, priority=priority), by=by), *by)


# ---- by work ----


@pytest.mark.parametrize("seconds", [0.0, 1.0, None, 1e9])
def test_a_group_that_nobody_serves_is_always_worth_it(seconds: float | None) -> None:
    assert worth(served(jobs(seconds)))


@pytest.mark.parametrize(
    ("waiting", "held", "expected"),
    [
        (BUSY, 0, True),
        (BUSY - 1, 0, False),
        (BUSY - 1, 1, True),  # what is held counts
        (1, BUSY, True),
        (0, BUSY - 1, False),
    ],
)
def test_a_served_group_is_worth_it_from_so_many_installations_of_work_on(
    waiting: float, held: float, expected: bool
) -> None:
    by = server("b0", held)
    assert worth(served(jobs(waiting), by=(by,)), by) is expected


@pytest.mark.parametrize(("count", "expected"), [(1, True), (2, True), (3, False)])
def test_so_much_before_each_of_those_that_serve(count: int, expected: bool) -> None:
    by = tuple(server(f"b{n}") for n in range(count))
    assert worth(served(jobs(2 * BUSY), by=by), *by) is expected


def test_each_that_joins_makes_one_more_less_worth_it() -> None:
    by = server("b0")
    sought = served(jobs(1.0, *[BUSY / 2] * 6), by=(by,))
    books, work, _ = look(sought, by)
    joined = 0
    for head in sought.queues[0].heads[1:]:
        if not worth_joining(books, work, head):
            break
        work.take(head, f"d{joined}")
        work.joined(f"d{joined}")
        joined += 1
    assert joined == 3  # three times BUSY, shared by b0 and three more, is less than BUSY for each


@pytest.mark.parametrize(("install", "expected"), [(45.0, False), (44.0, True), (0.0, True), (300.0, False)])
def test_what_an_installation_takes_is_that_of_the_target(install: float, expected: bool) -> None:
    by = server("b0")
    costs = {Target.EMULATOR: install, Target.DEVICE: 1.0}
    assert worth(served(jobs(BUSY - 1), by=(by,)), by, install_seconds=costs) is expected


@pytest.mark.parametrize(
    ("idle", "busy", "installs"),
    [(0, 4, 6.5), (1, 3, 4.9375), (2, 2, 3.375), (3, 1, 1.8125), (19, 1, 1.5)],
    ids=["none", "a quarter", "half", "three quarters", "nearly all"],
)
def test_the_more_idle_the_less_work_is_enough(idle: int, busy: int, installs: float) -> None:
    """1.3 less 1.25 times the share of devices that idle, but no less than 0.3, times `fan_out`."""
    by = server("b0")
    rest = tuple(server(f"b{n}", 0, "elsewhere") for n in range(1, busy))
    enough = installs * INSTALL_SECONDS
    assert worth(served(jobs(enough + 0.1), by=(by,)), by, *rest, idle=idle)
    assert not worth(served(jobs(enough - 0.1), by=(by,)), by, *rest, idle=idle)


@pytest.mark.parametrize("changes", [{"target": Target.DEVICE}, {"held": 1, "holds_for": ("acme", "e-elsewhere")}])
def test_devices_of_other_targets_and_those_that_may_take_more_do_not_idle(changes: dict[str, Any]) -> None:
    by = server("b0")
    free = [device(f"d{n}", **changes) for n in range(9)]
    books = Books(snapshot(free, [served(jobs(BUSY - 1), by=(by,))], busy=[by], limits=FAN_OUT))
    head = of(books).first((0,))
    assert head is not None
    assert not worth_joining(books, of(books), head)


LONG_IDLE = SPARE_INSTALLS * INSTALL_SECONDS
"""Seconds after which a device that had nothing to do counts as free in the group that it joined."""


@pytest.mark.parametrize(
    ("idled", "installs"),
    [(0.0, 4.9375), (LONG_IDLE / 4, 4.546875), (LONG_IDLE, 3.375), (100 * LONG_IDLE, 3.375), (-5.0, 4.9375)],
    ids=["not at all", "for a quarter", "for so long", "for longer", "a clock that went back"],
)
def test_a_device_that_had_idled_for_long_before_it_joined_counts_as_free(idled: float, installs: float) -> None:
    """One of four idles, and one serves the group; as if two idled in the end."""
    by = server("b0", idled=round(idled * 1000))
    rest = tuple(server(f"b{n}", 0, "elsewhere", idled=round(LONG_IDLE * 1000)) for n in (1, 2))
    books, work, _ = look(served(jobs(1.0), by=(by,)), by, *rest, idle=1)
    assert enough(books, work) == pytest.approx(installs)


def test_a_device_that_joins_in_this_round_counts_by_how_long_it_idles_now() -> None:
    """Half as much as those that waited for twice as long. One that nobody sees counts for nothing."""
    found = []
    for seconds in (LONG_IDLE / 2, LONG_IDLE):
        d1 = device("d1", idle_since=NOW - round(seconds * 1000))
        sought = served(jobs(30.0, 30.0), serving={"away": 1})
        books = Books(snapshot([d1], [sought], busy=[server(f"b{n}", 0, "x") for n in range(3)], limits=FAN_OUT))
        work = of(books)
        head = work.first((0,))
        assert head is not None
        work.take(head, "d1")
        books.serves(d1, "acme")
        found.append(enough(books, work))
    assert found == pytest.approx([5 * (1.3 - 1.25 * free) for free in (0.125, 0.25)])


@pytest.mark.parametrize(
    ("count", "seconds", "expected"),
    [(20, 30.0, 9), (20, 100.0, 20), (40, 60.0, 20), (4, 30.0, 2), (2, 5.0, 1)],
)
def test_a_group_spreads_over_a_farm_that_has_nothing_else_to_do(count: int, seconds: float, expected: int) -> None:
    """In one round, as far as the work is worth it: 0.3 times `fan_out` installations' worth for each device."""
    fresh = [device(f"d{n:02}") for n in range(20)]
    sought = group("v1", queue("a", range(900, 900 + count)), typical_seconds=seconds)
    given_out = plan(snapshot(fresh, [sought], limits=FAN_OUT)).assignments
    assert len({a.device_id for a in given_out}) == expected


# ---- by shares ----


def beside(other_devices: int, seconds: float, *, weight: float = 1.0, fan_out: float = 5.0, idle: int = 0) -> bool:
    """Whether one more is worth it for an org with one device beside one with so many."""
    by = server("b0")
    rest = [
        device(f"g{n}", installed=("globex", "v2"), held=1, holds_for=("globex", "e-v2"), free_at=NOW)
        for n in range(other_devices)
    ]
    return worth(
        served(jobs(seconds), by=(by,)),
        by,
        *rest,
        idle=idle,
        others=(group("v2", queue("g", [900]), org_id="globex"),),
        weights={"acme": weight},
        limits=Limits(fan_out=fan_out),
    )


def test_an_org_that_has_its_share_is_treated_as_one_alone() -> None:
    for others in (0, 1, 2, 3):
        assert beside(others, BUSY)
        assert not beside(others, BUSY - 1)


@pytest.mark.parametrize(
    ("others", "even"), [(5, 2 / 4), (9, 2 / 8), (201, 2 / 200)], ids=["half", "a quarter", "next to nothing"]
)
def test_the_less_an_org_has_of_its_share_the_less_is_enough_down_to_three(others: int, even: float) -> None:
    enough = (OWED_FAN_OUT + (6.5 - OWED_FAN_OUT) * even**3) * INSTALL_SECONDS
    assert OWED_FAN_OUT == 3
    assert beside(others, enough + 0.1)
    assert not beside(others, enough - 0.1)


def test_an_org_of_less_weight_has_its_share_sooner() -> None:
    assert beside(5, BUSY - 1)
    assert not beside(5, BUSY - 1, weight=0.5)


# ---- by urgency ----


@pytest.mark.parametrize(
    ("free_in", "expected"),
    [((0,), True), ((REACH,), True), ((REACH + 0.001,), False), ((REACH + 1, REACH), True), ((9e5, 9e5), False)],
)
def test_a_job_is_in_reach_of_a_device_that_is_free_within_three_installations(
    free_in: tuple[float, ...], expected: bool
) -> None:
    by = tuple(server(f"b{n}", seconds) for n, seconds in enumerate(free_in))
    assert reached(served(jobs(1.0), by=by), *by) is expected


def test_a_job_of_a_group_that_nobody_serves_is_out_of_reach() -> None:
    assert not reached(served(jobs(1.0)), server("b0", version="elsewhere"), idle=3)


def test_a_job_is_in_reach_of_a_device_that_only_the_store_knows_of_if_any_will_do() -> None:
    assert reached(served(jobs(1.0), serving={"away": 1}))
    assert not reached(served(jobs(1.0, requirements=ANDROID), serving={"away": 1}))


def test_where_installations_take_no_time_only_a_device_that_is_free_reaches_it() -> None:
    for seconds, expected in ((0, True), (1, False)):
        by = server("b0", seconds)
        assert reached(served(jobs(1.0), by=(by,)), by, install_seconds={Target.EMULATOR: 0.0}) is expected


def test_a_device_that_may_not_serve_the_job_reaches_it_never() -> None:
    for platform, expected in (("android", True), ("ios", False)):
        by = server("b0", platform=platform)
        assert reached(served(jobs(1.0, requirements=ANDROID), by=(by,)), by) is expected


@pytest.mark.parametrize(
    ("priority", "second", "free_in", "expected"),
    [
        (Priority.HIGH, FRESH, REACH + 1, True),
        (Priority.HIGH, FRESH, REACH, False),
        (Priority.MEDIUM, FRESH, REACH + 1, False),
        (Priority.MEDIUM, 1010 - URGENT_SECONDS + CLASS_SECONDS, REACH + 1, False),
        (Priority.MEDIUM, 1000 - URGENT_SECONDS + CLASS_SECONDS, REACH + 1, True),  # it waited until it was urgent
        (Priority.LOW, 1000 - URGENT_SECONDS + CLASS_SECONDS, REACH + 1, False),
        (Priority.LOW, 1000 - URGENT_SECONDS, REACH + 1, True),
    ],
)
def test_an_urgent_job_is_worth_it_if_none_of_those_that_serve_its_group_reaches_it(
    priority: Priority, second: int, free_in: float, expected: bool
) -> None:
    by = server("b0", free_in)
    assert worth(served(jobs(1.0, second=second, priority=priority), by=(by,)), by) is expected


def test_a_job_that_those_that_serve_the_group_may_not_serve_is_worth_it() -> None:
    for platform, expected in (("android", False), ("ios", True), (None, True)):
        by = server("b0", platform=platform)
        assert worth(served(jobs(1.0, requirements=ANDROID), by=(by,)), by) is expected


# ---- laws ----

durations = st.lists(st.sampled_from((0.0, 0.7, 30.0, 200.0, 1e6)), min_size=1, max_size=8)
held = st.lists(st.sampled_from((0, 5, 100, 5000, -1, -100, -5000)), max_size=3)
"""Seconds until each is expected to be done; less than nothing: it should have been."""
idle_counts = st.integers(0, 5)


@given(durations, held, idle_counts, st.sampled_from((0.0, 1.0, 500.0)))
def test_more_work_never_makes_it_less_worth(seconds: list[float], holds: list[int], idle: int, more: float) -> None:
    by = tuple(server(f"b{n}", s) for n, s in enumerate(holds))
    if worth(served(jobs(*seconds), by=by), *by, idle=idle):
        assert worth(served(jobs(*seconds, more), by=by), *by, idle=idle)


@given(durations, held, idle_counts, st.integers(0, 10**7), st.integers(0, 10**7))
def test_who_had_idled_for_longer_never_makes_it_less_worth(
    seconds: list[float], holds: list[int], idle: int, idled: int, more: int
) -> None:
    by, longer = ([server(f"b{n}", s, idled=ms) for n, s in enumerate(holds)] for ms in (idled, idled + more))
    if worth(served(jobs(*seconds), by=tuple(by)), *by, idle=idle):
        assert worth(served(jobs(*seconds), by=tuple(longer)), *longer, idle=idle)


@given(durations, held, idle_counts)
def test_one_more_device_that_holds_nothing_never_makes_it_more_worth(
    seconds: list[float], holds: list[int], idle: int
) -> None:
    """It was idle; so fewer idle too."""
    by = tuple(server(f"b{n}", s) for n, s in enumerate(holds))
    more = (*by, server("more"))
    if worth(served(jobs(*seconds), by=more), *more, idle=idle):
        assert worth(served(jobs(*seconds), by=by), *by, idle=idle + 1)


@given(durations, held, idle_counts, st.sampled_from((0.25, 2.0, 16.0)))
def test_only_the_ratio_of_work_to_installations_counts(
    seconds: list[float], holds: list[int], idle: int, times: float
) -> None:
    """A fleet that is slower in all that it does decides the same."""
    by, slow = (tuple(server(f"b{n}", s * t) for n, s in enumerate(holds)) for t in (1.0, times))
    slower = {Target.EMULATOR: times * INSTALL_SECONDS}
    fast = worth(served(jobs(*seconds), by=by), *by, idle=idle)
    assert worth(served(jobs(*[s * times for s in seconds]), by=slow), *slow, idle=idle, install_seconds=slower) is fast


@given(durations, held, st.permutations(range(3)))
def test_the_order_in_which_servers_are_seen_does_not_matter(
    seconds: list[float], holds: list[int], order: list[int]
) -> None:
    by = tuple(server(f"b{n}", s) for n, s in enumerate(holds))
    mixed = tuple(by[n] for n in order if n < len(by))
    seen, other = (look(served(jobs(*seconds), by=d), *d) for d in (by, mixed))
    assert seen[1].per_device() == other[1].per_device()
    assert worth_joining(*seen) is worth_joining(*other)
    assert out_of_reach(*seen) is out_of_reach(*other)


@pytest.mark.parametrize(("fan_out", "idle"), [(5.0, 40), (1.0, 0)], ids=["many idle", "a small fan-out"])
def test_an_org_that_is_owed_a_device_never_needs_more_work_for_one_than_an_org_alone(
    fan_out: float, idle: int
) -> None:
    enough = 2 * INSTALL_SECONDS
    assert beside(0, enough, fan_out=fan_out, idle=idle)
    assert beside(9, enough, fan_out=fan_out, idle=idle)


@given(durations, held, idle_counts, st.sampled_from((1.0, 200.0, 1e5)), st.sampled_from(list(Priority)))
def test_the_later_those_that_serve_the_more_it_is_worth(
    seconds: list[float], holds: list[int], idle: int, later: float, priority: Priority
) -> None:
    late = [min(0, s) for s in holds]
    by, others = ([server(f"b{n}", s - more) for n, s in enumerate(late)] for more in (0, later))
    if worth(served(jobs(*seconds, priority=priority), by=tuple(by)), *by, idle=idle):
        assert worth(served(jobs(*seconds, priority=priority), by=tuple(others)), *others, idle=idle)
