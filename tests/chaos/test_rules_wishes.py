"""Rules about what is wanted for later: each finds the history that breaks it, and blames nobody for the other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qgjob import JobStatus, Outcome
from tests.chaos import bounds
from tests.chaos.checker import check
from tests.chaos.histories import GLOBEX, SCALE, Case, attempt, each, ended, events, job, judge, plan, sound
from tests.chaos.history import Asked, Cut, Event, History, Outage, Span, Write
from tests.chaos.workload import BOND_SECONDS, Verb

SUPERSEDED = "a_superseded_run_ends"
BOND = "a_bond_ends_with_its_client"
HELD = "a_held_device_starts_nothing"
DEADLINE = "a_deadline_is_kept"
CANCEL = "a_cancel_was_asked_for"


def globex(h: History) -> list[Event]:
    """The second job's transitions: it ran from 11 to 12 s, and the store has its verdict at 12.0."""
    steps = ("q", "s1 cmd-1-1", "r1 cmd-1-1", "c1:passed cmd-1-1")
    times = (1.1, 10.9, 11.0, 12.0)
    mine = [replace(e, at=at) for e, at in zip(events(GLOBEX, *steps), times, strict=True)]
    h.events = [e for e in h.events if e.job_id != GLOBEX] + mine
    return mine


def superseded(h: History, at: float) -> Asked:
    """The second job is of run1 under the key main; run2 took the key then."""
    globex(h)
    h.jobs[GLOBEX] = replace(h.jobs[GLOBEX], run_ids=("run1",))
    h.asked[1] = replace(h.asked[1], verb=Verb.SUPERSEDE, key="main", run_id="run1")
    h.asked.append(Asked(Verb.SUPERSEDE, "globex", at, answered_at=at + 0.1, key="main", run_id="run2"))
    return h.asked[-1]


def went_on_after_its_run_was_superseded(h: History) -> None:
    superseded(h, 12.0 - bounds.SUPERSEDED.seconds(SCALE) - SCALE.load_seconds - 0.3)


def cancelled(h: History, at: float) -> None:
    """The second job, then, and not by its name."""
    ended(h, GLOBEX, Outcome.CANCELLED, "x")
    h.events[-1] = replace(h.events[-1], at=at)


def the_newer_run_was_cancelled(h: History) -> None:
    newer = superseded(h, 1.0)
    newer.run_id, h.asked[1].run_id = "run1", "run2"
    h.asked[1].at, h.asked[1].answered_at = 0.2, 0.3
    newer.job_ids, h.asked[1].job_ids = (GLOBEX,), ()
    cancelled(h, 12.0)


def the_run_of_another_key_was_cancelled(h: History) -> None:
    superseded(h, 11.5).key = "next"
    cancelled(h, 11.6)


def the_run_of_another_org_was_cancelled(h: History) -> None:
    superseded(h, 11.5).org_id = "acme"
    cancelled(h, 11.6)


def bound_to_a_client(h: History, gone_at: float | None) -> Asked:
    """The second job's run is bound to a client that showed itself each third of the time until it went."""
    globex(h)
    h.jobs[GLOBEX] = replace(h.jobs[GLOBEX], run_ids=("run1",))
    end = gone_at if gone_at is not None else 20.0
    signs = [1.0 + n * BOND_SECONDS / 3 for n in range(100) if 1.0 + n * BOND_SECONDS / 3 <= end]
    bound = replace(h.asked[1], verb=Verb.BOND, run_id="run1", gone_at=gone_at, silent_at=gone_at, signs=signs)
    h.asked[1] = bound
    return h.asked[1]


def went_on_without_its_client(h: History) -> None:
    bound_to_a_client(h, 12.0 - BOND_SECONDS - bounds.BOND_ENDED.seconds(SCALE) - SCALE.load_seconds - 0.1)


def cancelled_while_its_client_lived(h: History) -> None:
    bound_to_a_client(h, None)
    cancelled(h, 11.9)


def cancelled_after_its_client_let_it_go(h: History) -> None:
    """It said so, and was silent from then on."""
    asked = bound_to_a_client(h, 3.0)
    asked.gone_at, asked.released_at = None, 3.0
    cancelled(h, 11.9)


def cancelled_by_the_bond_of_another_run(h: History) -> None:
    bound_to_a_client(h, 3.0).run_id = "run2"
    cancelled(h, 11.9)


def held(h: History, since: float, until: float, device_id: str = "cmd-1-1") -> Asked:
    """The device on which the second job began at 11 s."""
    h.asked.append(Asked(Verb.RESERVE, "acme", since - 0.1, answered_at=since, device_id=device_id, until=until))
    return h.asked[-1]


def began_on_a_reserved_device(h: History) -> None:
    held(h, 11.0 - bounds.HELD.seconds(SCALE) - SCALE.load_seconds - 0.1, 12.0)


def a_simulated_test_began_in_maintenance(h: History) -> None:
    """It wrote down nothing: its record tells."""
    h.asked.append(Asked(Verb.MAINTAIN, "acme", 20.0, answered_at=20.1, device_id="sim-1-1", until=40.0))
    h.jobs["acme~03"] = job("acme~03", attempt(1, Outcome.PASSED, 30.0, 31.0, "sim-1-1"))
    h.events += events("acme~03", "q", "s1 sim-1-1", "c1:passed sim-1-1", begin=30.0)


def due(h: History, seconds: float) -> None:
    """The second job, which was submitted at 1.1 s and given out at 10.9 s, had so long to wait."""
    globex(h)
    h.asked[1].plans = (replace(plan(GLOBEX), deadline=seconds),)


def given_out_after_its_deadline(h: History) -> None:
    due(h, 9.8 - bounds.DEADLINE.seconds(SCALE) - SCALE.load_seconds - 0.1)


def expired(h: History, at: float) -> None:
    """The second job, unstarted, then."""
    h.jobs[GLOBEX] = replace(job(GLOBEX), status=JobStatus.FAILED, outcome=Outcome.EXPIRED)
    h.runs = [r for r in h.runs if r.job_id != GLOBEX]
    h.events = [e for e in h.events if e.job_id != GLOBEX] + events(GLOBEX, "q", "f0:expired")
    h.events[-1] = replace(h.events[-1], at=at)


def expired_before_its_deadline(h: History) -> None:
    due(h, 5.0)
    expired(h, 5.5)


BROKEN = [
    Case(
        went_on_after_its_run_was_superseded, SUPERSEDED, f"P1: {GLOBEX} of run1, which was to be cancelled", alone=True
    ),
    Case(the_newer_run_was_cancelled, CANCEL, f"P2: {GLOBEX} is cancelled, and nobody asked for that"),
    Case(the_run_of_another_key_was_cancelled, CANCEL, f"P2: {GLOBEX} is cancelled, and nobody asked"),
    Case(the_run_of_another_org_was_cancelled, CANCEL, f"P2: {GLOBEX} is cancelled, and nobody asked"),
    Case(went_on_without_its_client, BOND, f"P1: {GLOBEX} of run1, which was to be cancelled", alone=True),
    Case(cancelled_while_its_client_lived, CANCEL, f"P2: {GLOBEX} is cancelled, and nobody asked", alone=True),
    Case(cancelled_after_its_client_let_it_go, CANCEL, f"P2: {GLOBEX} is cancelled, and nobody asked", alone=True),
    Case(cancelled_by_the_bond_of_another_run, CANCEL, f"P2: {GLOBEX} is cancelled, and nobody asked"),
    Case(
        began_on_a_reserved_device, HELD, f"{GLOBEX} began on cmd-1-1 3.10 s after reserve was acknowledged", alone=True
    ),
    Case(a_simulated_test_began_in_maintenance, HELD, "acme~03 began on sim-1-1 9.90 s after maintain", alone=True),
    Case(given_out_after_its_deadline, DEADLINE, f"P2: {GLOBEX} was given out after its deadline", alone=True),
    Case(expired_before_its_deadline, DEADLINE, f"P2: {GLOBEX} expired 0.50 s before its deadline", alone=True),
]


@each(BROKEN)
def test_each_broken_promise_is_found(case: Case) -> None:
    judge(case)


def test_a_superseded_run_may_be_cancelled_and_what_it_shares_goes_on() -> None:
    history = sound()
    superseded(history, 11.5)
    cancelled(history, 11.7)
    assert check(history) == []
    shared = sound()
    went_on_after_its_run_was_superseded(shared)
    shared.jobs[GLOBEX] = replace(shared.jobs[GLOBEX], run_ids=("run1", "run9"))
    assert check(shared) == []


def test_what_was_cancelled_and_begun_again_before_the_newer_run_had_its_answer_goes_on() -> None:
    history = sound()
    newer = superseded(history, 2.0)
    newer.answered_at = 6.0
    steps = ("q", "x0:cancelled", "q0", "s1 cmd-1-1", "r1 cmd-1-1", "c1:passed cmd-1-1")
    times = (1.1, 2.1, 3.0, 10.9, 11.0, 12.0)
    mine = [replace(e, at=at) for e, at in zip(events(GLOBEX, *steps), times, strict=True)]
    history.events = [e for e in history.events if e.job_id != GLOBEX] + mine
    again = attempt(1, Outcome.PASSED, 11.0, 12.0, round=2)
    history.jobs[GLOBEX] = job(GLOBEX, again, round=2, run_ids=("run1",))
    assert check(history) == []


def test_what_was_begun_again_in_a_run_that_had_lost_its_key_before_goes_on() -> None:
    """The newer run that took the key was not answered; a third one takes it from that one."""
    history = sound()
    newer = superseded(history, 2.0)
    newer.error = "deadline"
    steps = ("q", "x0:cancelled", "q0", "s1 cmd-1-1", "r1 cmd-1-1", "c1:passed cmd-1-1")
    times = (1.1, 2.1, 3.0, 10.9, 11.0, 22.0)
    mine = [replace(e, at=at) for e, at in zip(events(GLOBEX, *steps), times, strict=True)]
    history.events = [e for e in history.events if e.job_id != GLOBEX] + mine
    again = attempt(1, Outcome.PASSED, 11.0, 12.0, round=2)
    history.jobs[GLOBEX] = job(GLOBEX, again, round=2, run_ids=("run1",))
    history.asked.append(replace(newer, at=11.5, answered_at=11.6, run_id="run3", error=None))
    assert check(history) == []


def test_what_a_superseded_run_brings_late_is_cancelled_too() -> None:
    """Its submission was not answered: it came when the newer run had the key for a while."""
    history = sound()
    superseded(history, 2.0)
    history.asked[1].answered_at, history.asked[1].error = 9.0, "deadline"
    cancelled(history, 11.7)
    assert check(history) == []


def test_a_bond_ends_when_no_sign_of_life_came_for_its_time() -> None:
    history = sound()
    bound_to_a_client(history, 7.0)
    cancelled(history, 11.2)
    assert check(history) == []
    silent = sound()
    bound_to_a_client(silent, None).signs = [1.0, 2.3, 3.6]  # the links of clients were bad from then on
    cancelled(silent, 8.0)
    assert check(silent) == []


def test_a_bond_of_which_nobody_knows_whether_it_was_ended_may_end_and_may_not() -> None:
    """Its end was asked for and not answered, or was answered by a store that went back."""
    history = sound()
    asked = bound_to_a_client(history, 3.0)
    asked.gone_at = None
    assert check(history) == []
    cancelled(history, 10.0)
    assert check(history) == []
    asked.released_at, history.cuts = 3.0, [Cut(2.9, 3.4)]
    assert check(history) == []
    history.cuts = []
    assert [v.rule for v in check(history)] == [CANCEL]


def test_who_could_not_look_counts_the_time_of_a_bond_anew() -> None:
    history = sound()
    went_on_without_its_client(history)
    history.outages.append(Outage("store", Span(6.0, 6.5)))
    assert check(history) == []


@pytest.mark.parametrize(
    "end",
    [
        lambda h, hold: setattr(hold, "until", 10.9),
        lambda h, hold: setattr(hold, "released_at", 10.9),
        lambda h, hold: setattr(hold, "error", "conflict"),
        lambda h, hold: h.asked.append(
            Asked(Verb.MAINTAIN, "acme", 10.0, answered_at=10.2, device_id="cmd-1-1", until=10.9)
        ),
        lambda h, hold: h.asked.append(
            Asked(Verb.MAINTAIN, "acme", 7.0, answered_at=7.6, device_id="cmd-1-1", until=10.9)
        ),
        lambda h, hold: h.cuts.append(Cut(8.9, 9.0)),
        lambda h, hold: h.outages.append(Outage("link cmd-1", Span(9.0, 10.9))),
    ],
    ids=["its time", "release", "refused", "another word", "a late word", "forgotten", "not heard"],
)
def test_a_hold_that_is_over_or_not_heard_of_yet_is_none(end) -> None:  # type: ignore[no-untyped-def]
    history = sound()
    hold = held(history, 7.5, 12.0)
    assert [v.rule for v in check(history)] == [HELD]
    end(history, hold)
    assert check(history) == []


def test_the_time_of_a_deadline_begins_when_a_coordinator_was_asked() -> None:
    """The store was away, and had the job at 3.1 s."""
    history = sound()
    due(history, 5.0)
    expired(history, 6.2)
    mine = next(i for i, e in enumerate(history.events) if e.job_id == GLOBEX)
    history.events[mine] = replace(history.events[mine], at=3.1)
    history.asked[1].answered_at = 3.2
    assert check(history) == []
    history.asked[1].at = 2.9
    assert [v.rule for v in check(history)] == [DEADLINE]


def test_a_job_may_expire_when_its_deadline_has_come_and_with_each_round_anew() -> None:
    history = sound()
    due(history, 5.0)
    expired(history, 6.2)
    assert check(history) == []
    again = sound()
    steps = ("q", "f0:expired", "q0", "s1 cmd-1-1", "r1 cmd-1-1", "c1:passed cmd-1-1")
    due(again, 5.0)
    times = (1.1, 6.2, 10.0, 10.9, 11.0, 12.0)
    mine = [replace(e, at=at) for e, at in zip(events(GLOBEX, *steps), times, strict=True)]
    again.events = [e for e in again.events if e.job_id != GLOBEX] + mine
    again.jobs[GLOBEX] = job(GLOBEX, attempt(1, Outcome.PASSED, 11.0, 12.0, round=2), round=2)
    assert check(again) == []


def test_a_job_that_comes_back_after_its_deadline_may_find_a_device_at_once_but_not_wait_on() -> None:
    steps = ("q", "s1 sim-1-1", "q0", "s1 cmd-1-1", "r1 cmd-1-1", "c1:passed cmd-1-1")
    for back_at, rules in ((10.8, []), (4.2, [DEADLINE])):
        history = sound()
        due(history, 3.0)
        times = (1.1, 1.2, back_at, 10.9, 11.0, 12.0)
        mine = [replace(e, at=at) for e, at in zip(events(GLOBEX, *steps), times, strict=True)]
        history.events = [e for e in history.events if e.job_id != GLOBEX] + mine
        assert [v.rule for v in check(history)] == rules


def test_a_run_that_only_another_server_than_the_master_took_takes_no_key() -> None:
    """One whose jobs the master was seen to take has it."""
    history = sound()
    went_on_after_its_run_was_superseded(history)
    newer = history.asked[-1]
    newer.job_ids = ("globex~03", "globex~04")
    history.cuts = [Cut(newer.at - 0.5, newer.at + 1.0, until=newer.at + 1.0, by_another=True)]
    history.writes = [Write(newer.at, "globex~03", 1, "q")]
    assert SUPERSEDED not in {v.rule for v in check(history)}
    history.writes.append(Write(newer.at, "globex~04", 1, "q"))
    assert SUPERSEDED in {v.rule for v in check(history)}


def test_a_sign_of_life_that_the_store_forgot_keeps_no_bond() -> None:
    """The last one was sent at 10.3 s, and the run was cancelled at 13.9 s: by the one before it, if that is gone."""
    history = sound()
    bound_to_a_client(history, 11.0)
    cancelled(history, 13.9)
    assert max(history.asked[1].signs) == pytest.approx(10.33, abs=0.01)
    assert CANCEL in {v.rule for v in check(history)}
    history.cuts = [Cut(10.2, 10.8)]
    assert CANCEL not in {v.rule for v in check(history)}
    history.cuts = [Cut(9.0, 10.0)]  # this one is there
    assert CANCEL in {v.rule for v in check(history)}
