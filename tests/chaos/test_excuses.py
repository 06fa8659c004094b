"""A fault excuses what it can have caused: histories with a fault nearby, and a violation all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qgjob import Outcome
from tests.chaos import bounds
from tests.chaos.checker import check
from tests.chaos.excuses import broke_the_device, hid_its_start, may_be_lost, silences
from tests.chaos.histories import (
    ACME,
    GLOBEX,
    SCALE,
    Case,
    attempt,
    done,
    each,
    ended,
    job,
    judge,
    plan,
    run,
    sound,
)
from tests.chaos.history import MACHINE, Beat, Cut, History, Outage, Recovery, Span, Write
from tests.chaos.rules_times import taken
from tests.chaos.schedule import Kind

LOST = f"P9: attempt 1 of {ACME} was lost on cmd-2, and no fault accounts for it"


def lost_between(h: History, begin: float, end: float) -> None:
    """When the first job's first attempt ran, which was lost."""
    _, second = h.jobs[ACME].attempts
    h.jobs[ACME] = job(ACME, attempt(1, Outcome.AGENT_LOST, begin, end, "cmd-2-1"), second)
    h.runs[0] = run(ACME, 1, begin, None, "cmd-2-1")


def gone(h: History, begin: float, end: float, until: float | None = None) -> None:
    """The host that lost it went then, and its recovery was waited for until then."""
    h.done = [done(Kind.AGENT_GONE, "cmd-2", begin, until or end)]
    h.outages = [Outage("cmd-2", Span(begin, end))]


def lost_by_a_host_that_was_gone_before(h: History) -> None:
    gone(h, 1.0, 2.2)
    lost_between(h, 3.0, 9.0)


def lost_while_the_recovery_was_waited_for(h: History) -> None:
    gone(h, 1.0, 2.2, until=30.0)
    lost_between(h, 3.0, 9.0)


def lost_long_after_its_host_was_gone(h: History) -> None:
    gone(h, 3.0, 4.0)
    lost_between(h, 2.0, 30.0)
    h.jobs[ACME] = replace(
        h.jobs[ACME], attempts=(h.jobs[ACME].attempts[0], attempt(2, Outcome.PASSED, 31.0, 32.0, "cmd-1-2"))
    )
    h.events = [replace(e, device_id="cmd-1-2") if e.attempt == 2 and e.device_id else e for e in h.events]
    h.runs[1] = run(ACME, 2, 31.0, 32.0, "cmd-1-2")


def lost_on_a_drain_that_was_over(h: History) -> None:
    """It ends within S, and is there again before the test begins."""
    h.done = [done(Kind.AGENT_TERM, "cmd-2", 1.0, 6.5)]
    h.outages = [Outage("cmd-2", Span(1.0, 2.9))]
    lost_between(h, 3.0, 9.0)


def lost_after_a_cut_it_did_not_meet(h: History) -> None:
    """It was granted after the store had come back."""
    h.done, h.outages, h.cuts = [], [], [Cut(1.5, 2.0)]
    lost_between(h, 3.0, 9.0)


def lost_to_a_cut_that_it_lived_through(h: History) -> None:
    """Its agent shows what runs, and has it adopted; that it has ended the store has never known."""
    h.done, h.outages, h.cuts = [], [], [Cut(3.0, 3.5)]
    lost_between(h, 2.0, 7.0)
    h.runs[0] = run(ACME, 1, 2.0, 6.9, "cmd-2-1")


def killed_while_the_store_went_back(h: History) -> None:
    """That its test has no end is what giving it up does: a store that is away for a second is no reason for it."""
    h.done, h.outages, h.cuts = [], [Outage("store", Span(4.5, 5.5))], [Cut(4.0, 5.5, until=5.5)]
    lost_between(h, 2.0, 7.0)


def lost_though_its_end_was_known_long_before_the_cut(h: History) -> None:
    h.done, h.outages, h.cuts = [], [], [Cut(5.0, 5.5)]
    lost_between(h, 2.0, 7.0)
    h.runs[0] = run(ACME, 1, 2.0, 3.2, "cmd-2-1")


def lost_without_a_begin_long_before_the_cut(h: History) -> None:
    h.done, h.outages, h.cuts = [], [], [Cut(5.0, 5.5)]
    lost_between(h, 2.0, 7.0)
    del h.runs[0]


def lost_to_a_silence_with_a_heartbeat_in_it(h: History) -> None:
    h.done = []
    h.outages = [Outage("store", Span(3.0, 5.0)), Outage("link cmd-2", Span(6.5, 8.5))]
    h.beats = {"cmd-2": [Beat(5.6, "coordinator-0")]}
    assert [span for span in silences(h, "cmd-2") if span.end - span.begin >= SCALE.patience] == []
    h.forget()


def lost_to_a_silence_that_was_over(h: History) -> None:
    h.done, h.outages = [], [Outage("store", Span(0.5, 5.5))]
    lost_between(h, 6.0, 12.0)


def lost_before_a_silence_was_long(h: History) -> None:
    h.done, h.outages = [], [Outage("store", Span(8.0, 14.0))]


def no_record_of_what_began_when_its_host_was_back(h: History) -> None:
    h.runs.append(run(GLOBEX, 2, 11.0, 12.0, "cmd-2-2"))


def ran_twice_with_a_cut_in_between(h: History) -> None:
    """The grants of both are younger than what the store went back to, or older."""
    h.cuts = [Cut(20.0, 20.5)]
    h.runs += [run(GLOBEX, 1, 30.0, 31.0)]


def ran_in_two_places_long_after_a_cut(h: History) -> None:
    gone(h, 40.0, 41.0)
    lost_between(h, 2.1, 2.2)
    failed = attempt(1, Outcome.TEST_FAILED, 2.0, 18.0, "cmd-2-1")
    h.jobs[ACME] = job(ACME, failed, attempt(2, Outcome.PASSED, 16.0, 17.0), outcome=Outcome.FLAKY)
    h.events[6] = replace(h.events[6], outcome="flaky")
    h.runs[0] = run(ACME, 1, 2.0, 18.0, "cmd-2-1", code=1)
    h.runs[1] = run(ACME, 2, 16.0, 17.0)
    h.cuts = [Cut(1.9, 2.5)]


def a_device_error_when_there_was_room_again(h: History) -> None:
    h.asked[1].plans = (plan(GLOBEX),)
    back = Recovery(bounds.ROOM.what, 6.0, 12.5, bounds.ROOM.seconds(SCALE), ("store",))
    h.outages.append(Outage("store", Span(6.0, 12.0)))
    h.done.append(done(Kind.SPOOL_FULL, "cmd-1", 5.0, 12.5, back))
    device_error(h)


def device_error(h: History) -> None:
    """Six of them, which is one more than the infrastructure's retries."""
    ended(h, GLOBEX, Outcome.DEVICE_ERROR)
    last = h.jobs[GLOBEX].attempts[0]
    early = [replace(last, attempt=n, device_id=f"cmd-9-{n}", agent_id="cmd-9") for n in range(1, 6)]
    h.done += [done(Kind.SPOOL_FULL, "cmd-9", 10.0, 13.0)]
    h.jobs[GLOBEX] = replace(h.jobs[GLOBEX], attempts=(*early, replace(last, attempt=6)))
    h.events = [replace(e, attempt=6) if e.job_id == GLOBEX and e.attempt else e for e in h.events]
    h.runs[2] = replace(h.runs[2], attempt=6)


DEVICE_ERROR = f"P2: attempt 6 of {GLOBEX} is device_error, and no fault accounts for it"
FORGIVEN = [
    Case(lost_by_a_host_that_was_gone_before, "losses_have_causes", LOST),
    Case(lost_while_the_recovery_was_waited_for, "losses_have_causes", LOST),
    Case(lost_long_after_its_host_was_gone, "losses_have_causes", LOST),
    Case(lost_on_a_drain_that_was_over, "losses_have_causes", LOST),
    Case(lost_after_a_cut_it_did_not_meet, "losses_have_causes", LOST),
    Case(lost_to_a_cut_that_it_lived_through, "losses_have_causes", LOST),
    Case(killed_while_the_store_went_back, "losses_have_causes", LOST, alone=True),
    Case(lost_though_its_end_was_known_long_before_the_cut, "losses_have_causes", LOST, alone=True),
    Case(lost_without_a_begin_long_before_the_cut, "losses_have_causes", LOST, alone=True),
    Case(lost_to_a_silence_with_a_heartbeat_in_it, "losses_have_causes", LOST),
    Case(lost_to_a_silence_that_was_over, "losses_have_causes", LOST),
    Case(lost_before_a_silence_was_long, "losses_have_causes", LOST),
    Case(
        no_record_of_what_began_when_its_host_was_back, "a_run_has_its_record", f"attempt 2 of {GLOBEX} ran on cmd-2-2"
    ),
    Case(ran_twice_with_a_cut_in_between, "an_attempt_runs_once", f"attempt 1 of {GLOBEX} ran on cmd-1-1 and again"),
    Case(ran_in_two_places_long_after_a_cut, "a_job_runs_in_one_place", f"{ACME} began on cmd-1-1 before it had ended"),
    Case(a_device_error_when_there_was_room_again, "a_verdict_has_a_cause", DEVICE_ERROR),
]


@each(FORGIVEN)
def test_a_fault_nearby_is_no_excuse(case: Case) -> None:
    judge(case)


def test_a_start_that_there_was_time_to_tell_of_has_a_record() -> None:
    """Its host went 6 s after it began, which is time for many a heartbeat; half a second is for none."""
    history = sound()
    history.runs.append(run(GLOBEX, 2, 2.7, None, "cmd-2-2"))
    assert check(history) == []
    history.runs[-1] = run(GLOBEX, 2, -3.0, None, "cmd-2-2")
    assert [v.rule for v in check(history)] == ["a_run_has_its_record"]
    for agent_id, rules in (("cmd-2", []), ("cmd-1", ["a_run_has_its_record"])):
        history.done[1:] = [done(Kind.SPOOL_FULL, agent_id, -3.2, 2.8)]  # what could not be written down was not told
        assert [v.rule for v in check(history)] == rules


def test_the_faults_that_can_have_done_it_excuse_it() -> None:
    """The other side of the same edges."""
    history = sound()
    lost_before_a_silence_was_long(history)
    lost_between(history, 2.0, 9.9)
    history.outages = [Outage("store", Span(4.0, 9.0))]
    assert check(history) == []
    history.outages, history.cuts = [], [Cut(3.0, 3.5)]
    lost_between(history, 2.0, 7.0)
    history.runs[0] = run(ACME, 1, 2.0, 3.2, "cmd-2-1")
    assert check(history) == []


def test_a_store_that_went_back_excuses_what_was_over_or_had_not_begun() -> None:
    """Its end was taken and forgotten, of a test that was killed too; or nobody had told its agent to begin."""
    history = sound()
    killed_while_the_store_went_back(history)
    history.writes = [Write(4.6, ACME, 9, "x")]
    assert check(history) == []
    history.cuts[0] = replace(history.cuts[0], by_another=True)  # what the master did, it has
    assert [v.rule for v in check(history)] == ["losses_have_causes"]
    history.cuts[0] = replace(history.cuts[0], by_another=False)
    history.writes = [Write(3.6, ACME, 9, "x")]  # that the store knows
    assert [v.rule for v in check(history)] == ["losses_have_causes"]
    history.writes = [Write(4.6, GLOBEX, 9, "x")]
    assert [v.rule for v in check(history)] == ["losses_have_causes"]
    lost_without_a_begin_long_before_the_cut(history)
    history.runs.insert(0, run(ACME, 1, 2.0, None, "cmd-2-1"))
    lost_between(history, 4.8, 7.0)
    del history.runs[0]
    assert check(history) == []


def test_a_grant_by_another_server_than_the_master_may_be_forgotten() -> None:
    """One that the master was seen to give may not: there is a record of that test."""
    history = sound()
    history.runs.append(run(GLOBEX, 2, 30.0, 31.0, "cmd-2-2"))
    history.cuts = [Cut(29.0, 35.0, until=35.0, by_another=True)]
    assert check(history) == []
    for agent_id, found in (("cmd-1", []), ("cmd-2", ["a_run_has_its_record"])):
        history.writes = [Write(29.9, GLOBEX, 9, "s", "t9", epoch=1, agent_id=agent_id)]
        assert [v.rule for v in check(history)] == found


def test_a_store_that_went_back_excuses_a_simulated_test_that_may_have_ended_in_that_time() -> None:
    """What it did is written down nowhere; it takes a second and a tenth at most."""
    history = sound()
    history.cuts = [Cut(5.0, 5.5)]
    for begin, excused in ((3.6, True), (3.2, False), (5.4, True), (5.6, False)):
        lost = attempt(1, Outcome.AGENT_LOST, begin, 7.0, "sim-1-1")
        assert may_be_lost(history, ACME, lost) is excused, begin


def test_a_silence_lasts_through_a_slow_machine_before_its_agent_is_back() -> None:
    """The attempt began when the link was there again, and ended with the lease, which nothing had renewed."""
    history = sound()
    history.outages = [Outage("link cmd-2", Span(3.0, 6.0))]
    lost_between(history, 6.5, 6.9)
    assert [v.rule for v in check(history)] == ["losses_have_causes"]
    history.outages.append(Outage(MACHINE, Span(6.1, 7.0)))
    assert check(history) == []


@pytest.mark.parametrize("place", ["store", "link cmd-2", "store link coordinator-0", "coordinator-0"])
def test_a_heartbeat_that_cannot_have_been_confirmed_ends_no_silence(place: str) -> None:
    """The store has it, and the agent has not heard so: what is held back on its way proves nothing."""
    history = sound()
    lost_to_a_silence_with_a_heartbeat_in_it(history)
    history.outages.append(Outage(place, Span(5.55, 5.7)))
    assert check(history) == []


def test_the_links_of_clients_stop_no_clock_of_agents() -> None:
    history = sound()
    history.outages = [Outage("clients", Span(10.0, 20.0))]
    agents = Recovery(bounds.SETTLED.what, 10.0, 20.0, SCALE.session, ("clients",))
    assert taken(history, agents) == pytest.approx(10.0)
    clients = Recovery(bounds.SERVED.what, 10.0, 20.0, SCALE.session, ("clients",))
    assert taken(history, clients) == pytest.approx(0.0)


def test_what_ended_in_the_millisecond_before_its_agent_did_was_lost_with_it() -> None:
    """Times in the store are whole milliseconds, those of faults are not."""
    history = sound()
    history.outages = [Outage("cmd-1", Span(12.0005, 15.0))]
    history.done = [done(Kind.AGENT_TERM, "cmd-1", 12.0, 15.0)]
    assert may_be_lost(history, ACME, attempt(1, Outcome.AGENT_LOST, 11.0, 12.0))
    assert not may_be_lost(history, ACME, attempt(1, Outcome.AGENT_LOST, 11.0, 11.8))


@pytest.mark.parametrize("kind", [Kind.AGENT_GONE, Kind.AGENT_REBOOT])
def test_what_a_host_took_with_it_is_lost_and_no_fault_of_the_device(kind: Kind) -> None:
    """Whether it was told when the host was back, or given up."""
    history = sound()
    history.done = [done(kind, "cmd-2", 5.0, 9.0)]
    history.outages = [Outage("cmd-2", Span(5.0, 9.0))]
    told = attempt(1, Outcome.AGENT_LOST, 4.0, 9.1, "cmd-2-1")
    assert may_be_lost(history, ACME, told)
    assert not may_be_lost(history, ACME, attempt(1, Outcome.AGENT_LOST, 9.05, 9.1, "cmd-2-1"))
    assert not broke_the_device(history, replace(told, outcome=Outcome.DEVICE_ERROR))


def test_a_test_whose_start_the_store_forgot_may_get_its_number_again() -> None:
    history = sound()
    first = history.runs[0]
    history.outages, history.cuts = [], [Cut(first.began + 1.0, first.began + 2.0)]
    assert not hid_its_start(history, first)
    history.writes = [Write(first.began + 1.5, first.job_id, 3, "r", said=("t1",), script="start")]
    assert hid_its_start(history, first)
    history.writes.insert(0, Write(first.began + 0.5, first.job_id, 3, "r", said=("t1",), script="start"))
    assert not hid_its_start(history, first)
