"""Rules about time: each finds the history that breaks it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qgjob import JobStatus, Outcome
from tests.chaos.checker import check
from tests.chaos.histories import (
    GLOBEX,
    SCALE,
    Case,
    attempt,
    each,
    job,
    judge,
    sound,
    wall,
)
from tests.chaos.history import History, Outage, Recovery, Span
from tests.chaos.rules_times import taken


def late_recovery(h: History) -> None:
    late = replace(h.done[0].recoveries[0], at=10.0 + SCALE.session + SCALE.load_seconds + 0.1)
    h.done[0] = replace(h.done[0], recoveries=(late,))


def no_recovery(h: History) -> None:
    h.done[0] = replace(h.done[0], recoveries=(replace(h.done[0].recoveries[0], at=None),))


def slow_cancel(h: History) -> None:
    h.jobs[GLOBEX] = job(
        GLOBEX,
        attempt(1, Outcome.CANCELLED, 11.0, 20.0),
        status=JobStatus.CANCELLED,
        outcome=Outcome.CANCELLED,
        completed_at=wall(12.0),
    )
    h.events[-1] = replace(h.events[-1], letter="x", outcome="cancelled")


BROKEN = [
    Case(late_recovery, "recoveries_keep_their_bounds", "its jobs are adopted or released took 3.60 s"),
    Case(no_recovery, "recoveries_keep_their_bounds", "its jobs are adopted or released was not seen at all"),
    Case(slow_cancel, "cancelled_trees_die_in_time", f"P5: the tree of {GLOBEX} lived 8.00 s after its cancel"),
]


@each(BROKEN)
def test_each_broken_promise_is_found(case: Case) -> None:
    judge(case)


def test_the_clock_of_a_recovery_stands_still_while_what_it_needs_is_away() -> None:
    history = sound()
    late_recovery(history)
    history.outages.append(Outage("store", Span(10.0, 11.0)))
    (recovery,) = history.done[0].recoveries
    assert recovery.at is not None
    assert taken(history, recovery) == pytest.approx(recovery.at - 11.0 - SCALE.session)
    assert check(history) == []


def test_one_coordinator_of_several_stops_the_clock_only_until_another_one_is_found() -> None:
    history = sound()
    history.outages = [Outage("coordinator-0", Span(10.0, 30.0))]
    waited = Recovery("served", 10.0, 20.0, 1.0, ("coordinator-0",))
    assert taken(history, waited) == pytest.approx(10.0 - 2 * SCALE.session)
