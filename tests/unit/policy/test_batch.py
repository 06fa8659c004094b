"""What a device gets at once: two seconds of work, and near a group's end a long job in time."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from qgjob_coordinator.model.enums import Priority
from qgjob_coordinator.model.jobs import ANY_DEVICE, Requirements
from qgjob_coordinator.policy.planning.batch import DEALT_SECONDS, NEAR_JOBS, TAIL_JOBS, batch
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.work import Work
from qgjob_coordinator.policy.rank import CLASS_SECONDS, URGENT_SECONDS, older_by, urgency
from qgjob_coordinator.policy.snapshot import AHEAD_SECONDS, DeviceView, Head, Limits, Queue, Snapshot
from tests.unit.policy.snapshots import ANDROID, NOW, device, group, queue, score, snapshot, snapshots

V1, KEY = ("acme", "v1"), ("acme", "e-v1")
WARM = device("d1", installed=V1)
MANY = 40


def jobs(*seconds: float | None, hidden: int = 0, first: int = 900) -> Queue:
    """Jobs `j0`, `j1`... in order, that are expected to take so long; behind them those that no snapshot shows."""
    heads = tuple(Head(score(first + n), f"j{n}", takes) for n, takes in enumerate(seconds))
    return Queue(ANY_DEVICE, (), len(heads) + hidden, heads)


def holding(seconds: float, **changes: Any) -> DeviceView:
    """The device while it runs an attempt, that has so long to go."""
    values: dict[str, Any] = {"held": 1, "holds_for": KEY, "free_at": NOW + round(seconds * 1000)}
    return WARM._replace(**values | changes)


def round_of(
    *queues: Queue, by: DeviceView = WARM, serving: int = 0, typical: float = 30.0, **changes: Any
) -> tuple[Books, Work]:
    """The books of a round with one group, which so many other devices serve."""
    others = {f"b{n}": 1 for n in range(serving)} | ({by.device_id: by.held} if by.held else {})
    books = Books(snapshot([by], [group("v1", *queues, serving=others, typical_seconds=typical)], **changes))
    work = books.home(by)
    assert work is not None
    return books, work


def dealt(*queues: Queue, by: DeviceView = WARM, **changes: Any) -> list[str]:
    """The jobs that the device gets."""
    return [h.ulid for h in batch(*round_of(*queues, by=by, **changes), by)]


def count(*queues: Queue, by: DeviceView = WARM, **changes: Any) -> int:
    return len(dealt(*queues, by=by, **changes))


# ---- two seconds of work ----


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, 8),  # as many as a device may have
        (0.1, 8),
        (0.3, 7),
        (0.5, 4),  # two seconds exactly
        (0.7, 3),
        (1.9, 2),
        (2.0, 1),
        (30.0, 1),
        (1e9, 1),
    ],
)
def test_an_idle_device_gets_what_keeps_it_busy_for_two_seconds(seconds: float, expected: int) -> None:
    assert count(jobs(*[seconds] * MANY)) == expected


@pytest.mark.parametrize(("typical", "expected"), [(0.5, 4), (30.0, 1)])
def test_a_job_of_which_nothing_is_known_counts_as_is_typical_of_its_group(typical: float, expected: int) -> None:
    assert count(jobs(*[None] * MANY), typical=typical) == expected


def test_a_long_job_ends_a_batch_and_is_taken_where_there_is_time_left() -> None:
    assert dealt(jobs(0.5, 0.5, 600.0, *[0.5] * MANY)) == ["j0", "j1", "j2"]
    assert dealt(jobs(600.0, *[0.5] * MANY)) == ["j0"]


@pytest.mark.parametrize(
    ("left", "expected"),
    [(0.0, 4), (0.5, 3), (1.5, 1), (1.999, 1), (2.0, 0), (900.0, 0), (-0.5, 3), (-1.5, 1), (-2.0, 0), (-500.0, 0)],
)
def test_a_device_that_runs_something_gets_what_is_missing_to_two_seconds(left: float, expected: int) -> None:
    """One that is late with what it runs takes as long again."""
    assert count(jobs(*[0.5] * MANY), by=holding(left)) == expected


def test_what_waits_on_the_device_behind_a_late_attempt_still_has_its_time_to_go() -> None:
    late = holding(0.5, held=2, unstarted=1, next_at=NOW - 500)  # half a second to go, and one behind it
    assert count(jobs(*[0.5] * MANY), by=late) == 1
    later = late._replace(free_at=NOW + 1000)
    assert count(jobs(*[0.5] * MANY), by=later) == 0


@pytest.mark.parametrize(("held", "batch_of", "expected"), [(0, 3, 3), (1, 3, 2), (2, 3, 1), (3, 3, 0), (5, 3, 0)])
def test_a_device_has_at_most_a_batch_of_attempts(held: int, batch_of: int, expected: int) -> None:
    by = holding(0.0, held=held) if held else WARM
    assert count(jobs(*[0.01] * MANY), by=by, limits=Limits(batch=batch_of)) == expected


@pytest.mark.parametrize(("room", "expected"), [({"acme": 0}, 0), ({"acme": 3}, 3), ({"acme": 99}, 8), ({}, 8)])
@pytest.mark.parametrize("others", [{}, {"globex": 0}], ids=["alone", "beside one without room"])
def test_an_org_gets_no_more_than_its_room(room: dict[str, int], others: dict[str, int], expected: int) -> None:
    assert count(jobs(*[0.01] * MANY), room=room | others) == expected


def test_what_a_snapshot_does_not_show_is_not_given() -> None:
    assert dealt(jobs(0.01, 0.01, hidden=MANY)) == ["j0", "j1"]
    assert dealt(jobs(hidden=MANY)) == []


def test_what_is_given_is_taken_from_the_books() -> None:
    books, work = round_of(jobs(*[0.5] * MANY))
    first, second = (batch(books, work, device(i, installed=V1)) for i in ("d1", "d2"))
    assert [h.ulid for h in (*first, *second)] == [f"j{n}" for n in range(8)]
    assert work.left == MANY - 8
    assert work.seconds == pytest.approx(0.5 * (MANY - 8))
    assert dict(work.serving) == {"d1": 2.0, "d2": 2.0}


# ---- whose turn it is ----


def test_jobs_of_all_queues_that_the_device_may_serve_are_taken_in_one_order() -> None:
    queues = (
        queue("any", range(900, 940, 4)),
        queue("android", range(901, 940, 4), requirements=ANDROID),
        queue("again", range(902, 940, 4), avoid=("d1",)),
        queue("mine", range(903, 940, 4), requirements=Requirements(device_id="d1")),
    )
    other = device("d2", platform="android")
    everywhere: dict[str, Any] = {"typical": 0.5, "candidates": {WARM.target: (WARM, other)}}
    assert dealt(*queues, **everywhere) == ["any900", "mine903", "any904", "mine907"]
    android = WARM._replace(platform="android")
    assert dealt(*queues, by=android, **everywhere) == ["any900", "android901", "mine903", "any904"]
    alone: dict[str, Any] = {"typical": 0.5, "candidates": {}}
    assert dealt(*queues, by=android, **alone) == ["any900", "android901", "again902", "mine903"]


def test_a_device_that_may_serve_no_queue_gets_nothing() -> None:
    assert dealt(queue("a", range(900, 940), requirements=ANDROID)) == []


def test_the_class_comes_before_the_age_and_not_the_duration() -> None:
    queues = (queue("low", range(900, 940), Priority.LOW), queue("high", range(950, 952), Priority.HIGH))
    mixed = Queue(ANY_DEVICE, (), 42, tuple(sorted((*queues[0].heads, *queues[1].heads))))
    assert dealt(mixed, typical=0.5) == ["high950", "high951"]
    assert dealt(queue("low", range(900, 940), Priority.LOW), by=holding(1.0), typical=0.5) == ["low900", "low901"]


# ---- near the end ----


@pytest.mark.parametrize("serving", [1, 2, 5])
def test_a_job_goes_first_that_takes_as_long_as_the_work_before_each_device(serving: int) -> None:
    """The device counts as one of them. 30 s for the others and itself: then a longer job would end last."""
    for seconds, expected in ((30.0 / serving, "j1"), (29.9 / serving, "j0")):
        assert dealt(jobs(5.0, seconds, *[5.0] * 5), serving=serving) == [expected]


def test_a_device_alone_has_no_reason_to_begin_with_the_longest() -> None:
    assert dealt(jobs(5.0, 60.0, 5.0)) == ["j0"]
    assert dealt(jobs(5.0, 60.0), by=holding(1.0)) == ["j0"]


def test_what_a_device_holds_counts_and_it_counts_once_among_those_that_serve() -> None:
    for seconds, expected in ((2.0, "j1"), (1.9, "j0")):
        assert dealt(jobs(0.5, seconds, 0.5), by=holding(1.0), serving=1) == [expected]


@pytest.mark.parametrize("serving", [1, 2, 5])
def test_it_is_not_looked_for_among_more_than_eight_jobs_for_each_device(serving: int) -> None:
    for left, expected in ((8 * (serving + 1), "j1"), (8 * (serving + 1) + 1, "j0")):
        assert dealt(jobs(5.0, 600.0, *[5.0] * (left - 2)), serving=serving) == [expected]
    assert NEAR_JOBS == 8


def test_those_that_no_snapshot_shows_and_no_device_here_may_serve_are_work_too() -> None:
    assert dealt(jobs(5.0, 60.0, hidden=1), serving=1) == ["j1"]
    assert dealt(jobs(5.0, 60.0, hidden=2), serving=1) == ["j0"]
    assert dealt(jobs(5.0, 60.0), queue("a", [900], requirements=ANDROID), serving=1) == ["j1"]
    assert dealt(jobs(5.0, 60.0), queue("a", [900, 901], requirements=ANDROID), serving=1) == ["j0"]


@pytest.mark.parametrize("serving", [0, 1, 4])
def test_with_three_jobs_or_fewer_for_each_device_they_are_dealt_singly(serving: int) -> None:
    for more, expected in ((0, 1), (1, 1), (2, 2)):  # a second one is taken where more are left after the first
        assert count(jobs(*[0.2] * (3 * (serving + 1) + more)), serving=serving) == expected
    assert TAIL_JOBS == 3


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, 3), (0.03, 3), (0.06, 2), (DEALT_SECONDS / 2, 2), (DEALT_SECONDS, 1), (0.5, 1), (30.0, 1)],
)
def test_there_jobs_are_dealt_singly_but_for_those_that_take_no_time(seconds: float, expected: int) -> None:
    """As many as take a tenth of a second: whoever is free first takes the next one."""
    assert dealt(jobs(*[seconds] * 3)) == [f"j{n}" for n in range(expected)]
    assert DEALT_SECONDS == 0.1


@pytest.mark.parametrize(("left", "expected"), [(0.0, 1), (1.5, 1), (2.0, 0)])
def test_there_a_device_that_runs_something_gets_one_when_it_is_nearly_free(left: float, expected: int) -> None:
    assert count(jobs(*[5.0] * 3), by=holding(left)) == expected


def test_a_batch_that_comes_near_the_end_stops_there() -> None:
    """Five jobs and one device: two are taken as anywhere, then three are left."""
    assert dealt(jobs(*[0.2] * 5)) == ["j0", "j1"]
    assert dealt(jobs(*[0.2] * 9)) == [f"j{n}" for n in range(6)]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ((5.0, 60.0, 20.0), "j1"),
        ((5.0, None, 20.0), "j1"),  # one of which nothing is known counts as is typical
        ((5.0, None, 31.0), "j2"),
        ((1.0, 20.0, 20.0), "j1"),  # the oldest of the longest
        ((0.0, 0.0, 1e9), "j2"),
        ((5.0, 20.0, 20.0, 20.0), "j0"),  # none is so long
    ],
)
def test_of_long_jobs_the_longest_goes_first(seconds: tuple[float | None, ...], expected: str) -> None:
    assert dealt(jobs(*seconds), serving=2)[0] == expected


def test_a_longer_job_never_goes_before_a_more_urgent_one() -> None:
    urgent = Head(score(999, Priority.HIGH), "urgent", 1.0)
    waited = Head(
        score(999 - URGENT_SECONDS + CLASS_SECONDS), "waited", 2.0
    )  # of a lower class, until it was as urgent
    long = Head(score(990), "long", 900.0)
    for heads, expected in (((urgent, long), "urgent"), ((waited, long), "waited"), ((urgent, waited), "waited")):
        assert dealt(Queue(ANY_DEVICE, (), len(heads), tuple(sorted(heads))), serving=2) == [expected]


@pytest.mark.parametrize(("older", "expected"), [(0, "long"), (CLASS_SECONDS, "long"), (CLASS_SECONDS + 1, "short")])
def test_a_longer_job_never_goes_before_one_that_is_older_by_more_than_20_minutes(older: int, expected: str) -> None:
    """Else where long ones keep coming a short one waits for as long as a class lasts, which is for hours."""
    short, long = Head(score(990 - older), "short", 1.0), Head(score(990), "long", 900.0)
    assert dealt(Queue(ANY_DEVICE, (), 2, (short, long)), serving=2) == [expected]


def test_the_longest_of_all_queues_that_the_device_may_serve_goes_first() -> None:
    android = Queue(ANDROID, (), 1, (Head(score(950), "android", 90.0),))
    assert dealt(jobs(5.0, 60.0), android, serving=2) == ["j1"]
    assert dealt(jobs(5.0, 60.0), android, by=WARM._replace(platform="android"), serving=2) == ["android"]


def test_of_those_that_take_as_long_the_oldest_goes_first_and_then_the_earlier_id() -> None:
    mine = Requirements(device_id="d1")
    for others, expected in (([899], ["b899"]), ([901], ["a900"]), ([900], ["a900"])):
        for queues in ((queue("a", [900]), queue("b", others, requirements=mine)),):
            assert dealt(*queues, serving=1) == dealt(*reversed(queues), serving=1) == expected


# ---- laws ----


def first_of(s: Snapshot) -> tuple[Books, Work, DeviceView] | None:
    """Any device of a snapshot, and the group whose build it has."""
    books = Books(s)
    found = ((books.home(d), d) for d in s.devices)
    return next(((books, w, d) for w, d in found if w is not None and w.left), None)


@given(snapshots())
def test_a_batch_is_of_jobs_that_the_device_may_serve_in_an_order_that_breaks_no_class(s: Snapshot) -> None:
    """Each once, within its limits, and for no longer than it has to."""
    asked = first_of(s)
    event("home" if asked else "no home")
    if asked is None:
        return
    books, work, by = asked
    open_ = {h.ulid: h for line in books.lines(work, by) for h in work.group.queues[line].heads}
    left, seconds, free_in = work.left, work.seconds, books.fleet.free_in(by)
    given_out = batch(books, work, by)
    took = [work.seconds_of(h) for h in given_out]
    assert len({h.ulid for h in given_out}) == len(given_out)
    assert all(open_[h.ulid] is h for h in given_out)
    assert len(given_out) <= max(0, s.limits.batch - by.held)
    assert len(given_out) <= s.room.get(work.key[0], s.limits.batch)
    assert not given_out or free_in + sum(took[:-1]) < AHEAD_SECONDS
    most_urgent = [urgency(h, s.now) for h in given_out]
    assert most_urgent == sorted(most_urgent, reverse=True)
    rest = [urgency(h, s.now) for h in open_.values() if h not in given_out]
    assert not given_out or all(u <= most_urgent[-1] for u in rest)
    assert work.left == left - len(given_out)
    assert work.seconds == pytest.approx(max(0.0, seconds - sum(took)))


@given(snapshots())
def test_the_first_job_is_the_next_one_or_a_longest_that_takes_as_long_as_the_work_before_each(s: Snapshot) -> None:
    asked = first_of(s)
    if asked is None:
        return
    books, work, by = asked
    open_ = [h for line in books.lines(work, by) for h in work.group.queues[line].heads]
    joins = by.device_id not in work.serving
    near, each = work.left <= NEAR_JOBS * (len(work.serving) + joins), work.per_device(int(joins))
    given_out = batch(books, work, by)
    if not given_out:
        return
    first = min(open_)
    equals = [h for h in open_ if urgency(h, s.now) == urgency(first, s.now) and older_by(first, h) <= CLASS_SECONDS]
    longest = max(map(work.seconds_of, equals))
    in_time = near and longest >= each
    event("a long job" if in_time else "the next job")
    assert given_out[0] == min(
        h for h in (equals if in_time else open_) if not in_time or work.seconds_of(h) == longest
    )


@given(snapshots(), st.randoms(use_true_random=False))
def test_the_order_in_which_queues_are_seen_does_not_matter(s: Snapshot, random: Random) -> None:
    asked = first_of(s)
    if asked is None:
        return
    books, work, by = asked
    queues = tuple(random.sample(work.group.queues, len(work.group.queues)))
    groups = tuple(g._replace(queues=queues) if (g.org_id, g.gid) == work.key else g for g in s.groups)
    mixed = Books(replace(s, groups=groups))
    same = mixed.home(by)
    assert same is not None
    assert batch(mixed, same, by) == batch(books, work, by)
