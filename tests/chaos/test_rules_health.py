"""Rules about devices that fail what they are given: each finds the history that breaks it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qgjob import Outcome
from tests.chaos import bounds
from tests.chaos.checker import check
from tests.chaos.histories import SCALE, Case, attempt, done, each, events, job, judge, plan, run, sound
from tests.chaos.history import Asked, Cut, History, Outage, Quarantine, Span
from tests.chaos.rules_health import a_device_in_order_stays_in_service, came_back, taken_out
from tests.chaos.schedule import Kind
from tests.chaos.workload import Verb

DEVICE = "cmd-3-1"
BROKE, MENDED, KNOWN = 20.0, 40.0, 25.5
"""When the device broke, and was whole again; when three jobs had failed there and passed elsewhere."""
LATE = KNOWN + bounds.TAKEN_OUT.seconds(SCALE) + SCALE.load_seconds + 0.1
WHY = "automatic quarantine: 3 jobs failed on it"


def broke(h: History) -> None:
    """Three jobs fail on a device that broke, and pass on others; none is quarantined."""
    h.done.append(done(Kind.DEVICE_BREAKS, DEVICE, BROKE, MENDED))
    for n in range(3):
        job_id, begin = f"acme~{13 + n}", BROKE + 1 + n
        other = f"cmd-4-{n}"
        failed = attempt(1, Outcome.DEVICE_ERROR, begin, begin + 0.1, DEVICE)
        h.jobs[job_id] = job(job_id, failed, attempt(2, Outcome.PASSED, begin + 1, begin + 2.5, other))
        steps = ("q", f"s1 {DEVICE}", "q1", f"s2 {other}", f"r2 {other}", f"c2:passed {other}")
        h.events += events(job_id, *steps, begin=begin)
        h.runs.append(run(job_id, 2, begin + 1, begin + 2.5, other))
        asked = Asked(Verb.SUBMIT, "acme", begin, (plan(job_id),), answered_at=begin, job_ids=(job_id,))
        h.asked.append(asked)


def out(h: History, since: float, until: float, device_id: str = DEVICE, why: str = WHY) -> None:
    h.quarantines.append(Quarantine(device_id, since, until, why, Span(since, until)))


def never_taken_out(h: History) -> None:
    broke(h)


def taken_out_late(h: History) -> None:
    broke(h)
    out(h, LATE, LATE + 2)


def taken_out_without_a_word(h: History) -> None:
    broke(h)
    out(h, KNOWN, KNOWN + 2, why="bad")


def given_a_job(h: History) -> None:
    """One second after it was quarantined."""
    broke(h)
    out(h, KNOWN, KNOWN + 4)
    begin = KNOWN + 1
    failed = attempt(1, Outcome.DEVICE_ERROR, begin, begin + 0.1, DEVICE)
    h.jobs["acme~16"] = job("acme~16", failed, attempt(2, Outcome.PASSED, begin + 1, begin + 2, "cmd-4-1"))
    steps = ("q", f"s1 {DEVICE}", "q1", "s2 cmd-4-1", "r2 cmd-4-1", "c2:passed cmd-4-1")
    h.events += events("acme~16", *steps, begin=begin)
    h.runs.append(run("acme~16", 2, begin + 1, begin + 2, "cmd-4-1"))


def never_let_in(h: History) -> None:
    broke(h)
    out(h, KNOWN, KNOWN + 2)
    late = KNOWN + 2 + bounds.READMITTED.seconds(SCALE) + SCALE.load_seconds + 0.1
    h.quarantines[0] = replace(h.quarantines[0], seen=Span(KNOWN, late))


def made_longer(h: History) -> None:
    """By a probe, though its agent was there to answer it."""
    broke(h)
    out(h, KNOWN, KNOWN + 2)
    out(h, KNOWN + 2.2, KNOWN + 6.2, why=f"{WHY}; the 2nd time in a row, since a probe found: no answer within 3 s")


def another_one_is_taken_out(h: History) -> None:
    broke(h)
    out(h, KNOWN, KNOWN + 2)
    out(h, KNOWN, KNOWN + 2, "cmd-3-2")


def taken_out_when_it_was_whole(h: History) -> None:
    broke(h)
    out(h, KNOWN, KNOWN + 2)
    since = MENDED + SCALE.session + SCALE.load_seconds + 0.2
    out(h, since, since + 2)


def broken_by_no_fault(h: History) -> None:
    """What a broken device explains it explains on that device, and while it was broken."""
    broke(h)
    h.done[-1] = done(Kind.DEVICE_BREAKS, DEVICE, BROKE + 2.5, MENDED)


BROKEN = [
    Case(never_taken_out, "a_broken_device_is_taken_out", "3 jobs had failed there, and it was not quarantined", True),
    Case(taken_out_late, "a_broken_device_is_taken_out", "it was quarantined after 3.60 s", alone=True),
    Case(taken_out_without_a_word, "a_broken_device_is_taken_out", "and the reason is 'bad'", alone=True),
    Case(given_a_job, "a_quarantined_device_starts_nothing", f"acme~16 was given to {DEVICE} 1.20 s after", alone=True),
    Case(never_let_in, "a_quarantined_device_comes_back", f"of {DEVICE} ended 3.60 s late", alone=True),
    Case(made_longer, "a_quarantined_device_comes_back", f"of {DEVICE} ended 4.20 s late", alone=True),
    Case(another_one_is_taken_out, "a_device_in_order_stays_in_service", "cmd-3-2 was in order", alone=True),
    Case(taken_out_when_it_was_whole, "a_device_in_order_stays_in_service", f"{DEVICE} was in order", alone=True),
    Case(broken_by_no_fault, "a_verdict_has_a_cause", "attempt 1 of acme~13 is device_error", alone=True),
]


@each(BROKEN)
def test_each_broken_promise_is_found(case: Case) -> None:
    judge(case)


def test_a_device_that_is_taken_out_in_time_and_comes_back_is_not_blamed() -> None:
    history = sound()
    broke(history)
    out(history, KNOWN + 0.5, KNOWN + 2)
    assert check(history) == []
    recovery = taken_out(history, history.done[-1])
    assert recovery is not None
    assert recovery.at is not None
    assert round(recovery.at - recovery.since, 2) == 0.5


def test_a_job_that_came_right_after_the_last_look_at_a_quarantine_is_no_fault() -> None:
    """It was over by then, and nobody looked in between."""
    history = sound()
    given_a_job(history)
    history.quarantines = [replace(q, seen=Span(KNOWN, KNOWN + 1.6)) for q in history.quarantines]
    assert "a_quarantined_device_starts_nothing" not in [v.rule for v in check(history)]
    history.quarantines = [replace(q, seen=Span(KNOWN, KNOWN + 2.2)) for q in history.quarantines]
    assert "a_quarantined_device_starts_nothing" in [v.rule for v in check(history)]


def test_that_a_device_was_let_in_may_be_lost_with_the_end_of_the_store() -> None:
    """It tells of the quarantine once more then, whose time is over."""
    history = sound()
    given_a_job(history)
    since, given = KNOWN, KNOWN + 1.2
    history.quarantines = [replace(q, until=given - 0.5) for q in history.quarantines]
    history.cuts.append(Cut(given - 1.0, given - 0.3))
    assert "a_quarantined_device_starts_nothing" not in [v.rule for v in check(history)]
    history.quarantines = [replace(q, until=given + 0.1) for q in history.quarantines]
    assert "a_quarantined_device_starts_nothing" in [v.rule for v in check(history)]
    history.quarantines = [replace(q, until=given - 0.5) for q in history.quarantines]
    history.cuts[-1] = Cut(since - 1.0, given - 0.6)  # it was let in after that, if it was
    assert "a_quarantined_device_starts_nothing" in [v.rule for v in check(history)]


def test_what_is_judged_takes_three_jobs_that_others_could_do() -> None:
    history = sound()
    broke(history)
    never = history.jobs["acme~15"]
    history.jobs["acme~15"] = replace(never, attempts=never.attempts[:1])
    assert taken_out(history, history.done[-1]) is None


def test_a_test_that_passed_there_forgives_what_failed_before() -> None:
    history = sound()
    broke(history)
    history.jobs["acme~16"] = job("acme~16", attempt(1, Outcome.PASSED, BROKE - 1, BROKE + 2, DEVICE))
    assert taken_out(history, history.done[-1]) is None


def test_a_probe_of_an_agent_that_is_away_makes_it_longer() -> None:
    history = sound()
    made_longer(history)
    history.outages.append(Outage("cmd-3", Span(KNOWN + 2, KNOWN + 2.3)))
    assert check(history) == []


def test_a_device_that_came_back_and_fails_at_once_came_back() -> None:
    history = sound()
    broke(history)
    out(history, KNOWN, KNOWN + 2)
    out(history, KNOWN + 2.2, KNOWN + 6.2, why=f"{WHY}; the 2nd time in a row")
    assert check(history) == []


def flaky_here(h: History, number: int) -> None:
    """So many tests failed on a device that did not break, and passed on another one; then it is taken out."""
    for n in range(number):
        job_id, begin = f"acme~{13 + n}", BROKE + n
        failed = attempt(1, Outcome.TEST_FAILED, begin, begin + 0.5, DEVICE)
        h.jobs[job_id] = job(job_id, failed, attempt(2, Outcome.PASSED, begin + 2, begin + 2.5, f"cmd-4-{n}"))
    out(h, BROKE + number, BROKE + number + 2)


def test_a_device_that_failed_what_others_could_do_is_not_in_order() -> None:
    for number, passed_at, deserved in ((5, None, True), (4, None, False), (5, 22.0, False), (5, 19.0, True)):
        history = sound()
        flaky_here(history, number)
        if passed_at is not None:
            history.jobs["acme~99"] = job("acme~99", attempt(1, Outcome.PASSED, 18.0, passed_at, DEVICE))
        blamed = list(a_device_in_order_stays_in_service(history))
        assert bool(blamed) != deserved, (number, passed_at)


def test_on_probation_two_tests_are_enough() -> None:
    history = sound()
    flaky_here(history, 2)
    out(history, 10.0, 12.0)
    (first,) = a_device_in_order_stays_in_service(history)
    assert first.at == 10.0


def out_again(h: History, passed: int, quarantines: int = 1) -> None:
    """It was whole again, so many tests passed on it, one device error was its own, and it is taken out."""
    broke(h)
    for n in range(quarantines):
        out(h, KNOWN + n, KNOWN + n + 0.5)
    for n in range(passed):
        begin = MENDED + n / 3
        h.jobs[f"acme~{100 + n}"] = job(f"acme~{100 + n}", attempt(1, Outcome.PASSED, begin, begin + 0.2, DEVICE))
    failed = attempt(1, Outcome.DEVICE_ERROR, 53.0, 53.1, DEVICE)
    h.jobs["acme~99"] = job("acme~99", failed, attempt(2, Outcome.PASSED, 53.5, 54.0, "cmd-4-1"))
    out(h, 55.0, 57.0)


def test_ten_tests_that_pass_give_one_quarantine_back() -> None:
    for passed, quarantines, deserved in ((9, 1, True), (10, 1, False), (30, 1, False), (10, 2, True), (20, 2, False)):
        history = sound()
        out_again(history, passed, quarantines)
        blamed = [v.at for v in a_device_in_order_stays_in_service(history)]
        assert blamed == ([] if deserved else [55.0]), (passed, quarantines)


def test_passes_of_before_the_quarantine_give_nothing_back() -> None:
    history = sound()
    out_again(history, 30)
    history.quarantines[0] = replace(history.quarantines[0], since=50.5, until=51.0, seen=Span(50.5, 51.0))
    assert [v.at for v in a_device_in_order_stays_in_service(history)] == [50.5]


@pytest.mark.parametrize("lost", [Outage("store", Span(40.0, 49.0)), Cut(41.0, 50.0)])
def test_passes_that_may_not_have_been_written_down_give_nothing_back(lost: Outage | Cut) -> None:
    history = sound()
    out_again(history, 30)
    if isinstance(lost, Outage):
        history.outages.append(lost)
    else:
        history.cuts.append(lost)
    assert list(a_device_in_order_stays_in_service(history)) == []


def test_a_device_is_looked_at_when_it_has_nothing_to_do() -> None:
    history = sound()
    never_let_in(history)
    history.jobs["acme~16"] = job("acme~16", attempt(1, Outcome.PASSED, BROKE - 1, KNOWN + 4, DEVICE))
    (quarantine,) = history.quarantines
    back = came_back(history, quarantine)
    assert back is not None
    assert back.since == KNOWN + 4


def test_a_device_that_people_had_meanwhile_is_not_judged() -> None:
    history = sound()
    broke(history)
    held = Asked(Verb.MAINTAIN, "acme", 21.5, answered_at=21.6, device_id=DEVICE, until=23.0)
    history.asked.append(held)
    assert taken_out(history, history.done[-1]) is None


def test_a_failure_that_nobody_may_have_written_down_does_not_count() -> None:
    history = sound()
    broke(history)
    history.outages.append(Outage("store", Span(BROKE + 1.5, BROKE + 1.6)))
    assert taken_out(history, history.done[-1]) is None


def test_a_coordinator_that_is_away_stops_the_clock() -> None:
    history = sound()
    broke(history)
    history.outages.append(Outage("store", Span(KNOWN + 0.1, MENDED - SCALE.session)))
    assert taken_out(history, history.done[-1]) is None
