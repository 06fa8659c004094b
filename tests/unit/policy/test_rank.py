"""The order of jobs: a time of submission, less a head start for its class and for a failure in its last run."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgjob_coordinator.model.enums import Priority
from qgjob_coordinator.policy.rank import (
    AHEAD_OF_CLOCK_SECONDS,
    CLASS_SECONDS,
    FAILED_FIRST_SECONDS,
    HEAD_STARTS,
    ORDER_EPOCH_MS,
    ORDERS_PER_MS,
    URGENT,
    URGENT_SECONDS,
    older_by,
    queue_score,
    urgency,
    urgency_of,
    urgent_for,
    waited,
)
from qgjob_coordinator.policy.snapshot import Head
from tests.fakes import store_audit

ORDERS_PER_SECOND = 1000 * ORDERS_PER_MS
EXACT = 2**53
"""Whole numbers up to this are exact as the double that a store keeps a score as."""
MINUTE = 60
HOUR = 60 * MINUTE
TODAY = 1_800_000_000
"""A moment, in seconds since the epoch of orders."""

LOW, MEDIUM, HIGH = Priority.LOW, Priority.MEDIUM, Priority.HIGH

orders = st.integers(0, EXACT - 1)
scores = st.integers(-2 * URGENT_SECONDS * ORDERS_PER_SECOND, EXACT - 1)
moments = st.integers(ORDER_EPOCH_MS, ORDER_EPOCH_MS + EXACT // ORDERS_PER_MS)
classes = st.sampled_from(Priority)


def submitted(priority: Priority, ago: float = 0.0, *, failed_last: bool = False, name: str = "job") -> Head:
    """A job that was submitted so many seconds ago; fewer than 0: ahead of the clock."""
    order = TODAY * ORDERS_PER_SECOND - round(ago * ORDERS_PER_SECOND)
    return Head(queue_score(priority, order, failed_last=failed_last), name)


def now() -> int:
    return ORDER_EPOCH_MS + TODAY * 1000


# ---- the score ----


@pytest.mark.parametrize(
    ("priority", "failed_last", "minutes"),
    [(LOW, False, 0), (LOW, True, 10), (MEDIUM, False, 20), (MEDIUM, True, 30), (HIGH, False, 480), (HIGH, True, 490)],
)
def test_the_middle_class_is_20_minutes_ahead_the_highest_8_hours_and_a_failure_in_the_last_run_10_minutes(
    priority: Priority, failed_last: bool, minutes: int
) -> None:
    fresh = submitted(priority, failed_last=failed_last)
    assert waited(fresh.score, now()) == minutes * MINUTE
    assert fresh.score == submitted(LOW, minutes * MINUTE).score


@pytest.mark.parametrize(
    ("ago", "before"),
    [(0, "high"), (40, "high"), (479, "high"), (480, "equal"), (481, "low")],
    ids=["both new", "40 minutes older", "8 hours less a minute", "8 hours older", "a minute more"],
)
def test_no_class_beats_every_age(ago: int, before: str) -> None:
    """What is urgent goes before a backlog of hours; but a low job comes before high ones of a working day later."""
    low, high = submitted(LOW, ago * MINUTE), submitted(HIGH)
    assert {-1: "low", 0: "equal", 1: "high"}[(low.score > high.score) - (low.score < high.score)] == before


@pytest.mark.parametrize(
    ("priority", "ago", "first"),
    [
        (MEDIUM, 0, "failed"),
        (MEDIUM, FAILED_FIRST_SECONDS - 1, "failed"),
        (MEDIUM, FAILED_FIRST_SECONDS + 1, "other"),
        (HIGH, 0, "other"),  # half a class is no class
    ],
)
def test_what_failed_last_comes_before_others_of_its_class_that_are_a_little_older(
    priority: Priority, ago: int, first: str
) -> None:
    failed, other = submitted(MEDIUM, failed_last=True, name="failed"), submitted(priority, ago, name="other")
    assert min(failed, other).ulid == first


def test_of_two_jobs_of_one_score_the_earlier_id_is_first() -> None:
    assert min(submitted(MEDIUM, name="b"), submitted(MEDIUM, name="a")).ulid == "a"


@given(classes, orders, st.booleans())
def test_a_store_keeps_every_score_exactly(priority: Priority, order: int, failed_last: bool) -> None:
    kept = queue_score(priority, order, failed_last=failed_last)
    assert type(kept) is int
    assert abs(kept) <= EXACT
    assert int(float(kept)) == kept


def test_scores_are_exact_for_some_centuries() -> None:
    """And so are those of the first moment, whose head start lies before it."""
    year_2300 = round(datetime(2300, 1, 1, tzinfo=UTC).timestamp() * 1000)
    for order in (0, (year_2300 - ORDER_EPOCH_MS) * ORDERS_PER_MS):
        found = [queue_score(p, order, failed_last=f) for p, f in product(Priority, (False, True))]
        assert max(map(abs, found)) < EXACT
        assert len({float(s) for s in found}) == len(found)


@given(classes, st.booleans(), st.integers(0, EXACT - 2))
def test_jobs_of_one_moment_stay_distinct_and_in_order(priority: Priority, failed_last: bool, order: int) -> None:
    first, second = (float(queue_score(priority, o, failed_last=failed_last)) for o in (order, order + 1))
    assert first < second


@given(orders, st.booleans())
def test_an_equal_submission_of_a_higher_class_moves_a_job_forward_by_its_head_start(
    order: int, failed_last: bool
) -> None:
    by_class = [Head(queue_score(p, order, failed_last=failed_last), p.word) for p in (LOW, MEDIUM, HIGH)]
    ahead = [older_by(higher, lower) for lower, higher in pairwise(by_class)]
    assert ahead == [CLASS_SECONDS, URGENT_SECONDS - CLASS_SECONDS]


def test_the_audit_of_the_store_has_the_same_head_starts() -> None:
    """It tells them again, in millionths of a second."""
    ours = {str(int(p)): seconds * ORDERS_PER_SECOND for p, seconds in HEAD_STARTS.items()}
    assert ours == store_audit.HEAD_STARTS
    assert FAILED_FIRST_SECONDS * ORDERS_PER_SECOND == store_audit.FAILED_FIRST_SCORE


def test_a_higher_class_has_the_greater_head_start() -> None:
    assert HEAD_STARTS.keys() == set(Priority)
    assert [HEAD_STARTS[p] for p in sorted(Priority)] == sorted(set(HEAD_STARTS.values()))


# ---- urgency ----


@pytest.mark.parametrize(("priority", "expected"), [(LOW, 0), (MEDIUM, 1), (HIGH, URGENT)])
def test_a_fresh_job_is_as_urgent_as_its_class(priority: Priority, expected: int) -> None:
    assert urgency(submitted(priority), now()) == expected


@pytest.mark.parametrize("sooner", [CLASS_SECONDS, 10 * MINUTE + 2, 10 * MINUTE, 2])
@pytest.mark.parametrize(("priority", "needs"), [(LOW, CLASS_SECONDS), (MEDIUM, URGENT_SECONDS - CLASS_SECONDS)])
def test_a_failure_in_the_last_run_lifts_no_fresh_job_to_the_next_class(
    priority: Priority, needs: int, sooner: int
) -> None:
    """It is there ten minutes sooner than others, no more."""
    ago = needs - sooner
    failed = submitted(priority, ago, failed_last=True)
    assert urgency(failed, now()) == priority - LOW + (sooner <= 10 * MINUTE)
    assert urgency(submitted(priority, ago), now()) == priority - LOW


@pytest.mark.parametrize(
    ("priority", "ago", "expected"),
    [
        (LOW, 20 * MINUTE - AHEAD_OF_CLOCK_SECONDS - 0.001, 0),
        (LOW, 20 * MINUTE - AHEAD_OF_CLOCK_SECONDS, 1),
        (LOW, 20 * MINUTE, 1),
        (LOW, 8 * HOUR - AHEAD_OF_CLOCK_SECONDS - 0.001, 1),
        (LOW, 8 * HOUR - AHEAD_OF_CLOCK_SECONDS, URGENT),
        (LOW, 8 * HOUR, URGENT),
        (MEDIUM, 20 * MINUTE, 1),  # a backlog of one class is as urgent as what is fresh of it: so shares count
        (MEDIUM, 8 * HOUR - 20 * MINUTE - AHEAD_OF_CLOCK_SECONDS - 0.001, 1),
        (MEDIUM, 8 * HOUR - 20 * MINUTE - AHEAD_OF_CLOCK_SECONDS, URGENT),
        (HIGH, 100 * HOUR, URGENT),  # nothing is more urgent than the highest class
    ],
)
def test_a_job_that_waits_is_of_the_middle_class_after_20_minutes_and_of_the_highest_after_8_hours(
    priority: Priority, ago: float, expected: int
) -> None:
    """Less the second that orders may be ahead of the clock."""
    assert urgency(submitted(priority, ago), now()) == expected


@pytest.mark.parametrize("priority", list(Priority))
@pytest.mark.parametrize(("ahead", "lower"), [(0.5, 0), (AHEAD_OF_CLOCK_SECONDS, 0), (AHEAD_OF_CLOCK_SECONDS + 1, 1)])
def test_a_job_whose_order_is_a_little_ahead_of_the_clock_is_of_its_class_at_once(
    priority: Priority, ahead: float, lower: int
) -> None:
    """Those of many jobs of one moment are made distinct, so the last of them lie in the future. Not far, though."""
    assert urgency(submitted(priority, -ahead), now()) == max(0, priority - LOW - lower)


@given(scores, moments, st.integers(0, 2 * URGENT_SECONDS * 1000))
def test_no_job_becomes_less_urgent_as_it_waits(score: int, at: int, ms: int) -> None:
    assert urgency_of(score, at + ms) >= urgency_of(score, at)


@given(scores, moments)
def test_every_job_is_urgent_in_the_end_and_none_is_more_than_that(score: int, at: int) -> None:
    left = max(0, round((URGENT_SECONDS - waited(score, at)) * 1000))
    assert urgency_of(score, at + left) == urgency_of(score, at + left + URGENT_SECONDS * 1000) == URGENT


@pytest.mark.parametrize(
    ("priority", "ago", "expected"),
    [
        (LOW, 0, 0),
        (LOW, 1000, 1000),
        (LOW, CLASS_SECONDS + 30, 30),  # since it became as urgent as it is
        (MEDIUM, 30, 30),
        (MEDIUM, 5 * HOUR, 5 * HOUR),
        (MEDIUM, URGENT_SECONDS, CLASS_SECONDS),
        (HIGH, 30, 30),
        (HIGH, 100 * HOUR, 100 * HOUR),
    ],
)
def test_how_long_a_job_has_been_as_urgent_as_it_is(priority: Priority, ago: int, expected: int) -> None:
    assert urgent_for(submitted(priority, ago).score, now()) == expected


@given(scores, scores, moments)
def test_who_is_before_another_is_never_less_urgent_at_any_moment(score: int, other: int, at: int) -> None:
    """So the order that a queue keeps stays the right one while time goes on."""
    first, second = sorted((score, other))
    assert urgency_of(first, at) >= urgency_of(second, at)


@given(scores, moments)
def test_the_urgency_of_a_job_is_that_of_its_score(score: int, at: int) -> None:
    assert urgency(Head(score, "job", 5.0), at) == urgency_of(score, at)


# ---- waiting ----


@given(scores, scores, moments)
def test_who_waited_longer_is_older_by_the_difference(score: int, other: int, at: int) -> None:
    a, b = Head(score, "a"), Head(other, "b")
    assert older_by(a, b) == -older_by(b, a)
    assert older_by(a, b) == pytest.approx(waited(score, at) - waited(other, at), abs=1e-5)
    assert (older_by(a, b) > 0) == (a.score < b.score)
