"""Whose time runs when a command carries out several attempts."""

from __future__ import annotations

import pytest

from qgjob_agent.executions.attempt_watch import AttemptWatch
from qgjob_agent.executions.names import SILENCE, TIMEOUT

NONE = (0.0, 0.0)


def test_without_limits_nothing_is_ever_due() -> None:
    watch = AttemptWatch({0: NONE}, 0.0)
    assert (watch.deadline(), watch.overdue(1e9)) == (float("inf"), None)


def test_each_attempt_has_its_own_time_from_the_end_of_the_one_before() -> None:
    watch = AttemptWatch({0: (10, 0), 1: (3, 0)}, 100.0)
    watch.begin(0, 105.0)
    assert (watch.current, watch.deadline()) == (0, 110.0)
    watch.end(0, 109.0)
    assert (watch.current, watch.deadline()) == (1, 112.0)  # what hangs before its beginning is charged to it
    watch.begin(1, 110.0)
    assert watch.overdue(111.9) is None
    assert watch.overdue(112.0) == TIMEOUT


def test_one_that_overtakes_another_has_its_time_from_its_beginning() -> None:
    watch = AttemptWatch({0: (10, 0), 1: (3, 0)}, 0.0)
    watch.begin(1, 5.0)
    assert (watch.current, watch.deadline()) == (1, 8.0)
    watch.end(1, 6.0)
    assert (watch.current, watch.deadline()) == (0, 16.0)


def test_the_commands_own_order_counts() -> None:
    watch = AttemptWatch({0: NONE, 1: NONE, 2: NONE}, 0.0)
    watch.order([2, "x", 7, 0])
    turns = []
    while (current := watch.current) is not None:
        turns.append(current)
        watch.end(current, 1.0)
    assert turns == [2, 0, 1]


def test_what_moves_is_not_silent_and_a_start_may_be_silent_for_longer() -> None:
    watch = AttemptWatch({0: (0, 2), 1: (0, 2)}, 0.0, first_seconds=60.0)
    assert watch.deadline() == 60.0
    watch.begin(0, 10.0)
    watch.heard(11.0)
    assert watch.overdue(12.9) is None
    assert watch.overdue(13.0) == SILENCE


def test_when_all_have_ended_the_command_has_a_little_time_left() -> None:
    watch = AttemptWatch({0: (5, 1)}, 0.0, last_seconds=30.0)
    watch.end(0, 4.0)
    assert (watch.current, watch.overdue(33.9), watch.overdue(34.0)) == (None, None, TIMEOUT)


@pytest.mark.parametrize("attempt", [0, 9], ids=["has_ended", "is_none"])
def test_what_is_told_of_no_attempt_under_way_changes_no_turn(attempt: int) -> None:
    watch = AttemptWatch({0: (5, 0), 1: (5, 0)}, 0.0)
    watch.end(0, 4.0)
    watch.begin(attempt, 6.0)
    watch.end(attempt, 7.0)
    assert (watch.current, watch.deadline(), watch.ended(1)) == (1, 9.0, False)


def test_one_that_is_added_has_its_time_from_then_if_nothing_else_is_due() -> None:
    watch = AttemptWatch({0: (5, 0)}, 0.0, last_seconds=30.0)
    watch.end(0, 4.0)
    watch.add(1, (3, 0), 20.0)
    assert (watch.current, watch.deadline(), watch.known) == (1, 23.0, [0, 1])
    watch.add(2, (3, 0), 21.0)
    watch.add(1, (99, 0), 21.0)  # told twice
    watch.end(1, 22.0)
    assert (watch.current, watch.deadline()) == (2, 25.0)
