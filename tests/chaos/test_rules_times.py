"""Rules about time: each finds the history that breaks it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qgjob import JobStatus, Outcome
from tests.chaos import bounds
from tests.chaos.checker import check
from tests.chaos.histories import (
    GLOBEX,
    SCALE,
    Case,
    attempt,
    done,
    each,
    events,
    job,
    judge,
    sound,
    wall,
)
from tests.chaos.history import MACHINE, History, Outage, Recovery, Span
from tests.chaos.recovered import shows
from tests.chaos.rules_times import judged, taken
from tests.chaos.schedule import Kind
from tests.chaos.workload import BOND_SECONDS, Verb


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


def a_bound_of_its_own(h: History) -> None:
    """A recovery that is looser than the table: it would never be late."""
    lax = replace(h.done[0].recoveries[0], bound=60.0)
    h.done[0] = replace(h.done[0], recoveries=(lax,))


def a_recovery_without_a_row(h: History) -> None:
    h.done[0] = replace(h.done[0], recoveries=(replace(h.done[0].recoveries[0], what="it feels better"),))


def told_too_late(h: History) -> None:
    """Its test ended at 12 s, its agent's link was there again at 14 s; the result came 2 S and more after that."""
    late = 14.0 + bounds.TOLD.seconds(SCALE) + SCALE.load_seconds + 0.1
    h.events[-1] = replace(h.events[-1], at=late)
    back = Recovery(bounds.BACK.what, 14.0, 14.2, bounds.BACK.seconds(SCALE))
    h.done.append(done(Kind.LINK_BOTH, "cmd-1", 11.5, 14.3, back))
    h.outages.append(Outage("link cmd-1", Span(11.5, 14.0)))


def many_slow_cancels(h: History) -> None:
    """Two of a hundred: each within its own bound, which a heartbeat makes longer."""
    for n in range(100):
        job_id = f"globex~1{n:03}"
        dead = 12.0 + (bounds.CANCELLED_99.seconds(SCALE) + SCALE.load_seconds + 0.1 if n < 2 else 0.1)
        last = attempt(1, Outcome.CANCELLED, 11.0, dead, f"sim-9-{n}")
        word = {"status": JobStatus.CANCELLED, "outcome": Outcome.CANCELLED, "completed_at": wall(12.0)}
        h.jobs[job_id] = job(job_id, last, **word)


def a_watcher_that_costs_memory(h: History) -> None:
    watched = done(Kind.SLOW_WATCHER, "coordinator-1", 11.0, 14.0)
    h.done.append(replace(watched, grown_mib=bounds.MOST_MIB + 0.1))


def served_but_nobody_can_say_when(h: History) -> None:
    """A long run, in which the store was away whenever a coordinator was killed."""
    h.span = Span(0.0, 25 * SCALE.lease)
    h.outages.append(Outage("store", Span(0.0, h.span.end)))
    bound = bounds.SERVED
    for n in range(8):
        served = Recovery(bound.what, 10.0 + n, 20.0 + n if n < 5 else 10.1 + n, bound.seconds(SCALE), ("store",))
        h.done.append(done(Kind.COORDINATOR_KILL, "coordinator-0", 10.0 + n, 20.0 + n, served))


def served_late_every_time(h: History) -> None:
    """Later than the bound, by what a busy machine may add: no promise is broken, and none is shown."""
    h.span = Span(0.0, 25 * SCALE.lease)
    bound = bounds.SERVED
    late = bound.seconds(SCALE) + SCALE.load_seconds / 2
    for n in range(8):
        served = Recovery(bound.what, 10.0 + n, 10.0 + n + late, bound.seconds(SCALE))
        h.done.append(done(Kind.COORDINATOR_KILL, "coordinator-0", 10.0 + n, 20.0 + n, served))


def kept_with_the_allowance(h: History, late: int, of: int) -> None:
    """So many of these recoveries needed a second of what a busy machine may add."""
    seconds = bounds.SERVED.seconds(SCALE)
    for n in range(of):
        took = seconds + 1.0 if n < late else 0.1
        served = Recovery(bounds.SERVED.what, 10.0 + n, 10.0 + n + took, seconds)
        h.done.append(done(Kind.COORDINATOR_KILL, "coordinator-0", 10.0 + n, 20.0 + n, served))


def three_of_five_needed_the_allowance(h: History) -> None:
    kept_with_the_allowance(h, 3, 5)


def given_up(seconds: float) -> Recovery:
    bound = bounds.GIVEN
    return Recovery(bound.what, 10.0, 10.0 + seconds, bound.seconds(SCALE), ("store", "coordinator-0", "coordinator-1"))


def never_watched(h: History) -> None:
    """A long run, and whenever an agent was silent, each coordinator was started again meanwhile."""
    h.span = Span(0.0, 25 * SCALE.lease)
    h.done.append(done(Kind.AGENT_GONE, "cmd-1", 10.0, 25.0, given_up(10.0)))
    h.outages += [Outage(f"rolled coordinator-{i}", Span(14.0 + i, 14.5 + i)) for i in (0, 1)]


BROKEN = [
    Case(a_bound_of_its_own, "recoveries_keep_their_bounds", "within 60.00 s is in no row", alone=True),
    Case(a_recovery_without_a_row, "recoveries_keep_their_bounds", "it feels better", alone=True),
    Case(told_too_late, "what_a_partition_held_back_is_told", f"{GLOBEX}#1 was told 5.10 s after its end", alone=True),
    Case(many_slow_cancels, "cancelled_trees_die_in_time", "P5: 2 of 100 cancelled trees lived longer than grace"),
    Case(late_recovery, "recoveries_keep_their_bounds", "its jobs are adopted or released took 3.60 s"),
    Case(no_recovery, "recoveries_keep_their_bounds", "its jobs are adopted or released was not seen at all"),
    Case(a_watcher_that_costs_memory, "recoveries_keep_their_bounds", "coordinator-1 grew by 50.1 MiB", alone=True),
    Case(never_watched, "a_long_run_judges_what_silent_agents_held", "P9: 1 silent agents held something", alone=True),
    Case(
        served_but_nobody_can_say_when,
        "a_long_run_shows_each_bound",
        "P9: after coordinator_kill: clients are served: 3 of 8 recoveries show that the bound holds",
    ),
    Case(
        served_late_every_time,
        "a_long_run_shows_each_bound",
        "P9: after coordinator_kill: clients are served: 0 of 8 recoveries show that the bound holds",
    ),
    Case(
        three_of_five_needed_the_allowance,
        "a_bound_is_kept_without_the_allowance",
        "P9: clients are served: 3 of 5 recoveries took longer than S, by 1.00 s at most",
        alone=True,
    ),
    Case(slow_cancel, "cancelled_trees_die_in_time", f"P5: the tree of {GLOBEX} lived 8.00 s after its cancel"),
]


@each(BROKEN)
def test_each_broken_promise_is_found(case: Case) -> None:
    judge(case)


def test_what_was_told_in_time_or_not_by_a_report_is_not_blamed() -> None:
    history = sound()
    told_too_late(history)
    verdict = history.events[-1]
    history.events[-1] = replace(verdict, at=14.0 + bounds.TOLD.seconds(SCALE))
    assert check(history) == []
    given_up = replace(verdict, version=4, letter="q", outcome=None, at=13.9)
    granted = [replace(verdict, version=5 + n, letter=x, outcome=None, attempt=2, at=20.0) for n, x in enumerate("sr")]
    history.events[-1:] = [given_up, *granted, replace(verdict, version=7, attempt=2, at=30.0)]
    assert [v.rule for v in check(history)] == []


@pytest.mark.parametrize(("shown", "found"), [(1, ["a_long_run_shows_each_bound"]), (2, [])])
def test_of_what_counts_anew_after_each_outage_a_fifth_is_enough(shown: int, found: list[str]) -> None:
    """Bonds that ended 4 s late, each with its outage near, and some that ended at once."""
    history = sound()
    history.span = Span(0.0, 25 * SCALE.lease)
    history.outages.append(Outage("store", Span(20.0, 120.0)))
    for n in range(8):
        late = 0.1 if n < shown else 4.0
        wanted = replace(
            history.asked[1], verb=Verb.BOND, run_id=f"run{n}", gone_at=30.0 + n, job_ids=(f"globex~1{n}",)
        )
        history.asked.append(wanted)
        job_id, ended = f"globex~1{n}", 30.0 + n + BOND_SECONDS + late
        history.jobs[job_id] = job(job_id, status=JobStatus.CANCELLED, outcome=Outcome.CANCELLED, run_ids=(f"run{n}",))
        queued, over = events(job_id, "q", "x:cancelled", begin=2.0)
        history.events += [queued, replace(over, at=ended)]
    rule = "a_long_run_shows_each_bound"
    assert [v.rule for v in check(history) if v.rule == rule] == found


@pytest.mark.parametrize(("late", "of", "kept"), [(2, 3, True), (3, 29, False), (3, 30, True), (4, 30, False)])
def test_few_recoveries_of_a_bound_may_need_what_a_busy_machine_adds(late: int, of: int, *, kept: bool) -> None:
    history = sound()
    kept_with_the_allowance(history, late, of)
    assert {v.rule for v in check(history)} == (set() if kept else {"a_bound_is_kept_without_the_allowance"})


def test_the_clock_of_a_recovery_stands_still_while_what_it_needs_is_away() -> None:
    history = sound()
    late_recovery(history)
    history.outages.append(Outage("store", Span(10.0, 11.0)))
    (recovery,) = history.done[0].recoveries
    assert recovery.at is not None
    assert taken(history, recovery) == pytest.approx(recovery.at - 11.0 - SCALE.session)
    assert check(history) == []


def test_what_no_coordinator_could_watch_for_so_long_is_given_up_later() -> None:
    """Each begins to count anew when it was started again, however soon the other one was found."""
    history, recovery = sound(), given_up(14.0)
    history.done.append(done(Kind.AGENT_GONE, "cmd-1", 10.0, 25.0, recovery))
    assert [v.rule for v in check(history)] == ["recoveries_keep_their_bounds"]
    history.outages += [Outage(f"rolled coordinator-{i}", Span(16.0 + i, 16.5 + i)) for i in (0, 1)]
    assert check(history) == []
    assert taken(history, recovery) == pytest.approx(7.5)
    del history.outages[-1]
    assert [v.rule for v in check(history)] == ["recoveries_keep_their_bounds"]


def test_what_was_not_seen_is_blamed_when_there_was_time_enough_for_it() -> None:
    """The store was away so often that no coordinator watched for A + S until the lab gave up waiting."""
    history, recovery = sound(), replace(given_up(80.0), at=None, until=90.0)
    history.outages += [Outage("store", Span(17.0 + 7 * n, 17.5 + 7 * n)) for n in range(11)]
    history.done.append(done(Kind.AGENT_GONE, "cmd-1", 10.0, 90.0, recovery))
    assert check(history) == []
    assert not judged(history, recovery)
    assert not shows(history, recovery)
    del history.outages[-6]
    history.forget()
    (violation,) = check(history)
    assert "what it held is free for others was not seen at all, the bound is 7.50 s" in violation.text
    assert judged(history, recovery)
    assert not shows(history, recovery)


def test_a_recovery_is_judged_when_its_time_counted_or_the_bound_s_worth_of_it() -> None:
    history = sound()
    never_watched(history)
    assert not judged(history, given_up(10.0))  # 5.5 s of it, and nobody knows what 30 s would have been
    assert judged(history, given_up(5.0 + bounds.GIVEN.seconds(SCALE) + 0.5))
    assert judged(history, replace(given_up(10.0), at=None))
    history.outages[-2:] = [Outage(MACHINE, Span(14.0, 16.0))]
    history.forget()
    assert judged(history, given_up(10.0))
    history.outages.append(Outage("rolled coordinator-0", Span(14.0, 14.5)))
    history.forget()
    assert judged(history, given_up(10.0))  # by the other one


def test_a_run_that_judged_no_silent_agent_is_long_before_that_is_wrong() -> None:
    history = sound()
    never_watched(history)
    history.span = Span(0.0, 25 * SCALE.lease - 1)
    assert check(history) == []
    never_watched(history)
    history.done.append(done(Kind.AGENT_STOP, "cmd-1", 30.0, 35.0, replace(given_up(5.0), since=30.0, at=35.0)))
    assert check(history) == []


def test_one_coordinator_of_several_stops_the_clock_only_until_another_one_is_found() -> None:
    history = sound()
    history.outages = [Outage("coordinator-0", Span(10.0, 30.0))]
    waited = Recovery("served", 10.0, 20.0, 1.0, ("coordinator-0",))
    assert taken(history, waited) == pytest.approx(10.0 - 2 * SCALE.session)
