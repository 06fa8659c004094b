"""The checker itself: each rule finds the history that breaks it, and a sound history is not blamed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgjob import Attempt, Job, JobStatus, Outcome, Priority, Target
from tests.chaos.checker import RULES, check
from tests.chaos.history import MACHINE, Asked, Cut, Done, Event, History, Outage, Recovery, Span, Trouble
from tests.chaos.report import Report
from tests.chaos.rules_jobs import lost_to_cuts
from tests.chaos.rules_times import taken
from tests.chaos.scale import Scale
from tests.chaos.schedule import Fault, Kind
from tests.chaos.story import story
from tests.chaos.truth import Run
from tests.chaos.workload import Does, JobPlan, Verb

BOOT = 1_800_000_000.0
SCALE = Scale(0.1)  # S = 1.5 s, A = 6 s, patience 3.8 s
ACME, GLOBEX = "acme~01", "globex~02"


def wall(at: float) -> datetime:
    return datetime.fromtimestamp(BOOT + at, UTC)


def attempt(number: int, outcome: Outcome, begin: float, end: float, device: str = "cmd-1-1", **fields: Any) -> Attempt:
    values: dict[str, Any] = {"round": 1, "agent_id": device.rpartition("-")[0], "device_id": device} | fields
    return Attempt(attempt=number, outcome=outcome, started_at=wall(begin), ended_at=wall(end), **values)


def job(job_id: str, *attempts: Attempt, **fields: Any) -> Job:
    org_id, _, number = job_id.partition("~")
    values: dict[str, Any] = {
        "app_version_id": "v1",
        "test_path": f"tests/{number}.spec.js",
        "priority": Priority.MEDIUM,
        "target": Target.DEVICE,
        "status": JobStatus.COMPLETED,
        "outcome": Outcome.PASSED,
        "round": 1,
        "created_at": wall(0),
        "updated_at": wall(0),
        "max_retries": 3,
    }
    return Job(job_id=job_id, org_id=org_id, attempts=attempts, **values | fields)


def events(job_id: str, *steps: str, begin: float = 1.0) -> list[Event]:
    """`q`, `s1 cmd-1-1`, `c1:passed cmd-1-1`, …: letter, attempt, outcome and device, 0.1 s apart."""
    found = []
    for version, step in enumerate(steps, 1):
        word, _, device = step.partition(" ")
        state, _, outcome = word.partition(":")
        found.append(
            Event(
                job_id=job_id,
                version=version,
                letter=state[0],
                outcome=outcome or None,
                at=begin + version / 10,
                org_id=job_id.partition("~")[0],
                attempt=int(state[1:] or 0),
                device_id=device or None,
                agent_id=device.rpartition("-")[0] or None,
            )
        )
    return found


def run(job_id: str, number: int, begin: float, end: float | None, device: str = "cmd-1-1", **fields: Any) -> Run:
    org_id, _, name = job_id.partition("~")
    values: dict[str, Any] = {"alone": True, "code": None if end is None else 0} | fields
    key = f"{org_id}-{name}.spec.js"
    return Run(f"{job_id}{number}{begin}", device, job_id, number, begin, org_id=org_id, key=key, ended=end, **values)


def done(kind: Kind, target: str, begin: float, end: float, *recoveries: Recovery) -> Done:
    return Done(Fault(1, kind, begin, end - begin, target), Span(begin, end), recoveries)


def sound() -> History:
    """Two jobs of two orgs, one after the other on one device; the first lost an attempt when its agent's host went."""
    h = History(1, SCALE, Span(0.0, 60.0), boot=BOOT, simulated=frozenset({"sim-1"}))
    h.asked = [
        Asked(Verb.SUBMIT, "acme", 1.0, answered_at=1.1, job_ids=(ACME,)),
        Asked(Verb.SUBMIT, "globex", 1.0, answered_at=1.1, job_ids=(GLOBEX,)),
        Asked(Verb.SUBMIT, "globex", 30.0, answered_at=40.0, error="unavailable"),
    ]
    lost = attempt(1, Outcome.AGENT_LOST, 2.0, 9.0, "cmd-2-1")
    h.jobs = {
        ACME: job(ACME, lost, attempt(2, Outcome.PASSED, 10.0, 11.0)),
        GLOBEX: job(GLOBEX, attempt(1, Outcome.PASSED, 11.0, 12.0)),
    }
    h.listed = {"acme": [ACME], "globex": [GLOBEX]}
    passed = ("s2 cmd-1-1", "r2 cmd-1-1", "c2:passed cmd-1-1")
    h.events = events(ACME, "q", "s1 cmd-2-1", "r1 cmd-2-1", "q1", *passed)
    h.events += events(GLOBEX, "q", "s1 cmd-1-1", "r1 cmd-1-1", "c1:passed cmd-1-1")
    h.runs = [run(ACME, 1, 2.0, None, "cmd-2-1"), run(ACME, 2, 10.0, 11.0), run(GLOBEX, 1, 11.0, 12.0)]
    back = Recovery("its jobs are adopted or released", 10.0, 10.5, SCALE.session, ("store",))
    h.done = [done(Kind.AGENT_GONE, "cmd-2", 3.0, 10.0, back)]
    h.outages = [Outage("cmd-2", Span(3.0, 10.0))]
    return h


FINE_RULES = (
    *("a_verdict_has_a_cause", "an_acknowledged_retry_is_a_round"),
    *("an_attempt_runs_once", "a_job_runs_in_one_place", "a_run_has_its_record"),
)
"""Rules whose damage no other one sees."""


def test_a_sound_history_is_not_blamed() -> None:
    assert check(sound()) == []


def lost_job(h: History) -> None:
    del h.jobs[ACME]


def no_verdict(h: History) -> None:
    h.jobs[ACME] = replace(h.jobs[ACME], status=JobStatus.RUNNING, outcome=None)


def two_verdicts(h: History) -> None:
    h.events += [replace(h.events[-1], version=9, letter="f", outcome="test_failed")]


def stale_overwrite(h: History) -> None:
    h.events += [replace(h.events[-1], version=9, letter="r", outcome=None)]


def older_token(h: History) -> None:
    verdict = h.events[6]
    assert verdict.letter == "c"
    h.events[6] = replace(verdict, attempt=1, device_id="cmd-2-1", agent_id="cmd-2")


def same_attempt_elsewhere(h: History) -> None:
    h.events[6] = replace(h.events[6], device_id="cmd-1-2")


def phantom_verdict(h: History) -> None:
    h.runs[1] = replace(h.runs[1], code=1)


def killed_and_passed(h: History) -> None:
    h.runs[1] = replace(h.runs[1], ended=None, code=None)


def cancel_without_effect(h: History) -> None:
    h.asked.append(Asked(Verb.CANCEL, "acme", 5.0, meant=ACME, answered_at=5.1, job_ids=(ACME,)))


def two_trees(h: History) -> None:
    h.runs[2] = replace(h.runs[2], alone=False)


def two_at_once(h: History) -> None:
    h.runs[2] = replace(h.runs[2], began=10.99)


def foreign_job_in_a_list(h: History) -> None:
    h.listed["acme"].append(GLOBEX)


def foreign_job_in_an_answer(h: History) -> None:
    h.asked[0].job_ids = (ACME, GLOBEX)


def foreign_environment(h: History) -> None:
    h.runs[1] = replace(h.runs[1], key="globex-02.spec.js")


def lost_without_a_fault(h: History) -> None:
    h.done, h.outages = [], []


def lost_to_a_short_outage(h: History) -> None:
    h.done, h.outages = [], [Outage("store", Span(3.0, 3.0 + SCALE.patience - 0.1))]


def lost_to_a_coordinator(h: History) -> None:
    h.done, h.outages = [], [Outage("coordinator-1", Span(3.0, 9.0))]


def ended_unasked(h: History) -> None:
    h.troubles.append(Trouble("coordinator-0", 5.0, "ended unasked"))


def answered_internal(h: History) -> None:
    h.asked.append(Asked(Verb.RETRY, "acme", 5.0, meant=ACME, answered_at=5.1, error="internal"))


def unsound_store(h: History) -> None:
    h.audit.append("org acme: la: is {}")


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


def plan(job_id: str, test: Does | None = Does.PASS, retries: int = 3, run_id: str | None = None) -> JobPlan:
    org_id, _, number = job_id.partition("~")
    return JobPlan(int(number), org_id, f"tests/{number}.spec.js", "v1", test, 1.0, retries, run_id, True)


def ended(h: History, job_id: str, outcome: Outcome, letter: str = "f") -> None:
    """The last attempt of the job, and with it the job, as all that was written down has it."""
    status = JobStatus.CANCELLED if outcome is Outcome.CANCELLED else JobStatus.FAILED
    before = h.jobs[job_id]
    *others, last = before.attempts
    attempts = (*others, replace(last, outcome=outcome))
    h.jobs[job_id] = replace(before, attempts=attempts, status=status, outcome=outcome)
    i = max(i for i, e in enumerate(h.events) if e.job_id == job_id)
    h.events[i] = replace(h.events[i], letter=letter, outcome=outcome.value)
    k = max(k for k, r in enumerate(h.runs) if r.job_id == job_id)
    h.runs[k] = replace(h.runs[k], code=1)


def nothing_works(h: History) -> None:
    h.asked[1].plans = (plan(GLOBEX),)
    ended(h, GLOBEX, Outcome.TEST_FAILED)


def every_device_is_broken(h: History) -> None:
    h.asked[1].plans = (plan(GLOBEX),)
    ended(h, GLOBEX, Outcome.DEVICE_ERROR)


def a_failing_test_passes(h: History) -> None:
    h.asked[1].plans = (plan(GLOBEX, Does.FAIL),)


def nobody_cancelled(h: History) -> None:
    ended(h, GLOBEX, Outcome.CANCELLED, "x")


def another_run_was_cancelled(h: History) -> None:
    nobody_cancelled(h)
    h.jobs[GLOBEX] = replace(h.jobs[GLOBEX], run_ids=("run1",))
    h.asked.append(Asked(Verb.CANCEL_RUN, "globex", 1.0, answered_at=1.1, run_id="run2"))


def flaky_without_a_failure(h: History) -> None:
    h.jobs[GLOBEX] = replace(h.jobs[GLOBEX], outcome=Outcome.FLAKY)
    h.events[-1] = replace(h.events[-1], outcome="flaky")


def too_many_retries(h: History) -> None:
    ended(h, ACME, Outcome.TEST_FAILED)
    first, last = h.jobs[ACME].attempts
    first = replace(first, outcome=Outcome.TEST_FAILED)
    h.jobs[ACME] = replace(h.jobs[ACME], attempts=(first, last), max_retries=0)
    h.runs[0] = replace(h.runs[0], ended=9.0, code=1)


def ran_twice(h: History) -> None:
    h.runs.append(run(GLOBEX, 1, 13.0, 14.0))


def ran_in_two_places(h: History) -> None:
    h.done, h.outages = [], []
    h.jobs[ACME] = job(
        ACME, attempt(1, Outcome.TEST_FAILED, 2.0, 10.5, "cmd-2-1"), attempt(2, Outcome.PASSED, 10.0, 11.0)
    )
    h.jobs[ACME] = replace(h.jobs[ACME], outcome=Outcome.FLAKY)
    h.events[6] = replace(h.events[6], outcome="flaky")
    h.runs[0] = replace(h.runs[0], ended=10.5, code=1)


def ran_without_a_record(h: History) -> None:
    h.runs.append(run(GLOBEX, 2, 13.0, 14.0))


def ran_elsewhere(h: History) -> None:
    h.runs.append(run(GLOBEX, 3, 13.0, 14.0, "cmd-1-3"))


def cancelled_in_a_round_before(h: History) -> None:
    """Cancelled, retried; the second cancel was acknowledged and the job passed."""
    steps = ("q", "s1 cmd-1-1", "r1 cmd-1-1", "x1:cancelled cmd-1-1", "q1", "s2 cmd-1-1", "c2:passed cmd-1-1")
    h.events = [e for e in h.events if e.job_id != GLOBEX] + events(GLOBEX, *steps)
    first = attempt(1, Outcome.CANCELLED, 11.0, 12.0)
    h.jobs[GLOBEX] = job(GLOBEX, first, attempt(2, Outcome.PASSED, 12.0, 13.0, round=2), round=2)
    h.runs.append(run(GLOBEX, 2, 12.0, 13.0))
    h.asked.append(Asked(Verb.CANCEL, "globex", 1.35, meant=GLOBEX, answered_at=1.45, job_ids=(GLOBEX,)))
    h.asked.append(Asked(Verb.CANCEL, "globex", 1.85, meant=GLOBEX, answered_at=1.95, job_ids=(GLOBEX,)))


def run_cancelled_without_effect(h: History) -> None:
    h.asked.append(Asked(Verb.CANCEL_RUN, "globex", 5.0, answered_at=5.1, job_ids=(GLOBEX,), run_id="run1"))


def retry_without_effect(h: History) -> None:
    h.asked.append(Asked(Verb.RETRY, "globex", 5.0, meant=GLOBEX, answered_at=5.1, job_ids=(GLOBEX,)))


BROKEN: list[tuple[Callable[[History], None], str, str]] = [
    (lost_job, "acknowledged_jobs_have_one_verdict_a_round", f"P1: {ACME} was acknowledged and is lost"),
    (no_verdict, "acknowledged_jobs_have_one_verdict_a_round", f"P1: {ACME} has no verdict"),
    (two_verdicts, "acknowledged_jobs_have_one_verdict_a_round", f"P2: {GLOBEX} has 2 verdicts in 1 rounds"),
    (stale_overwrite, "moves_are_legal", f"P3: {GLOBEX} went from c to r in version 9"),
    (older_token, "the_last_grant_decides", f"P3: the verdict of {ACME} is by (1, 'cmd-2-1', 'cmd-2')"),
    (same_attempt_elsewhere, "the_last_grant_decides", "and (2, 'cmd-1-1', 'cmd-1') was granted last"),
    (phantom_verdict, "a_verdict_is_what_the_test_did", f"P2: attempt 2 of {ACME} is passed, and no test on cmd-1-1"),
    (killed_and_passed, "a_verdict_is_what_the_test_did", f"P2: attempt 2 of {ACME} is passed"),
    (cancel_without_effect, "an_acknowledged_cancel_is_a_verdict", f"P1: the cancel of {ACME} was acknowledged"),
    (cancelled_in_a_round_before, "an_acknowledged_cancel_is_a_verdict", f"P1: the cancel of {GLOBEX}"),
    (run_cancelled_without_effect, "an_acknowledged_cancel_is_a_verdict", f"P1: the cancel_run of {GLOBEX}"),
    (retry_without_effect, "an_acknowledged_retry_is_a_round", f"P1: the retry of {GLOBEX} was acknowledged"),
    (nothing_works, "a_verdict_has_a_cause", f"P2: {GLOBEX}, whose test is pass, is test_failed"),
    (every_device_is_broken, "a_verdict_has_a_cause", f"P2: {GLOBEX}, whose test is pass, is device_error"),
    (a_failing_test_passes, "a_verdict_has_a_cause", f"P2: {GLOBEX}, whose test is fail, is passed"),
    (nobody_cancelled, "a_verdict_has_a_cause", f"P2: {GLOBEX} is cancelled, and nobody asked for that"),
    (another_run_was_cancelled, "a_verdict_has_a_cause", f"P2: {GLOBEX} is cancelled, and nobody asked for that"),
    (flaky_without_a_failure, "a_verdict_has_a_cause", f"P2: {GLOBEX} is flaky, and failed 0 times"),
    (too_many_retries, "a_verdict_has_a_cause", f"P2: {ACME} failed 2 times in round 1, with 0 retries"),
    (ran_twice, "an_attempt_runs_once", f"P3: attempt 1 of {GLOBEX} ran on cmd-1-1 and again on cmd-1-1"),
    (ran_in_two_places, "a_job_runs_in_one_place", f"P4: {ACME} began on cmd-1-1 before it had ended on cmd-2-1"),
    (ran_without_a_record, "a_run_has_its_record", f"P2: attempt 2 of {GLOBEX} ran on cmd-1-1"),
    (ran_elsewhere, "a_run_has_its_record", f"P2: attempt 3 of {GLOBEX} ran on cmd-1-3"),
    (two_trees, "devices_run_one_at_a_time", "began on cmd-1-1 while another test lived there"),
    (two_at_once, "devices_run_one_at_a_time", f"P4: on cmd-1-1 {GLOBEX}#1"),
    (foreign_job_in_a_list, "nothing_crosses_an_org", f"P6: the list of acme names {GLOBEX}"),
    (foreign_job_in_an_answer, "nothing_crosses_an_org", f"P6: an answer to acme names {GLOBEX}"),
    (foreign_environment, "nothing_crosses_an_org", "ran with the environment of acme, globex-02.spec.js"),
    (lost_without_a_fault, "losses_have_causes", f"P9: attempt 1 of {ACME} was lost on cmd-2, and no fault"),
    (lost_to_a_short_outage, "losses_have_causes", f"P9: attempt 1 of {ACME} was lost on cmd-2"),
    (lost_to_a_coordinator, "losses_have_causes", f"P9: attempt 1 of {ACME} was lost on cmd-2"),
    (ended_unasked, "programs_do_not_fail_by_themselves", "P9: coordinator-0: ended unasked"),
    (answered_internal, "programs_do_not_fail_by_themselves", "P9: retry was answered internal"),
    (unsound_store, "the_store_is_sound", "org acme: la: is {}"),
    (late_recovery, "recoveries_keep_their_bounds", "its jobs are adopted or released took 3.60 s"),
    (no_recovery, "recoveries_keep_their_bounds", "its jobs are adopted or released was not seen at all"),
    (slow_cancel, "cancelled_trees_die_in_time", f"P5: the tree of {GLOBEX} lived 8.00 s after its cancel"),
]


@pytest.mark.parametrize(("break_it", "rule", "text"), BROKEN, ids=[case[0].__name__ for case in BROKEN])
def test_each_broken_promise_is_found(break_it: Callable[[History], None], rule: str, text: str) -> None:
    history = sound()
    break_it(history)
    found = [v for v in check(history) if v.rule == rule]
    assert any(text in v.text for v in found), check(history)


ALONE = [case for case in BROKEN if case[1] in FINE_RULES or case[0] is cancelled_in_a_round_before]


@pytest.mark.parametrize(("break_it", "rule", "text"), ALONE, ids=[case[0].__name__ for case in ALONE])
def test_no_other_rule_sees_it(break_it: Callable[[History], None], rule: str, text: str) -> None:
    history = sound()
    break_it(history)
    assert {v.rule for v in check(history)} == {rule}, text


def test_every_rule_has_a_history_that_breaks_it() -> None:
    assert {rule for _, rule, _ in BROKEN} == {rule.__name__ for rule in RULES}


def test_what_a_cut_of_the_store_took_back_is_no_violation_and_is_told() -> None:
    history = sound()
    history.cuts = [Cut(1.05, 1.5)]
    lost_job(history)
    history.events = [e for e in history.events if e.job_id != ACME]
    assert check(history) == []
    assert lost_to_cuts(history) == [ACME]
    history.cuts = [Cut(1.3, 1.5)]  # acknowledged before
    assert [v.text for v in check(history)] == [f"P1: {ACME} was acknowledged and is lost"]


def test_an_attempt_may_be_lost_to_a_silence_that_two_outages_make() -> None:
    history = sound()
    lost_to_a_short_outage(history)
    history.outages.append(Outage("link cmd-2", Span(7.5, 8.0)))
    assert check(history) == []
    history.outages[1] = Outage("link cmd-1", Span(7.5, 8.0))  # another agent's
    assert [v.rule for v in check(history)] == ["losses_have_causes"]


def test_the_death_of_a_daemon_costs_simulated_tests_only() -> None:
    history = sound()
    history.done = [done(Kind.AGENT_KILL, "cmd-2", 3.0, 4.0)]
    history.outages = [Outage("cmd-2", Span(3.0, 4.0))]
    assert [v.rule for v in check(history)] == ["losses_have_causes"]
    history.simulated = frozenset({"cmd-2"})
    assert check(history) == []


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


def test_a_story_has_job_device_and_faults_in_the_order_of_time() -> None:
    history = sound()
    two_trees(history)
    (violation,) = check(history)
    lines = story(history, violation).splitlines()
    assert "while another test lived there" in lines[0]
    times = [float(line.split()[0]) for line in lines[1:]]
    assert times == sorted(times)
    said = "\n".join(lines)
    assert "globex~02#1 began on cmd-1-1, and something lived there" in said
    assert "acme~01#2 ended with 0" in said
    assert "agent_gone of cmd-2" in said


def test_a_report_counts_faults_jobs_and_recoveries_and_says_how_to_repeat_it() -> None:
    history = sound()
    late_recovery(history)
    history.outages.append(Outage(MACHINE, Span(20.0, 20.5)))
    history.done += [
        replace(done(Kind.SLOW_WATCHER, "coordinator-0", 20.0, 30.0), note=note)
        for note in ("+3.1 MiB", "+12.5 MiB", "the coordinator ended meanwhile")
    ]
    report = Report(history, check(history), {"spool_full": "needs root"}, 2.0, {"commit": "abc"})
    figures = report.figures()
    assert (figures["seed"], figures["commit"], figures["faults"], figures["jobs"]) == (1, "abc", 4, 2)
    assert figures["slow_watcher_mib_max"] == 12.5
    assert figures["command"] == "python -m tests.chaos --seed 1 --minutes 2 --scale 0.1"
    assert (figures["attempts"], figures["attempts_lost"], figures["seconds_without_machine"]) == (3, 1, 0.5)
    assert figures["refused"] == {"unavailable": 1}
    (row,) = figures["recoveries"]
    assert (row["after"], row["count"], row["max_seconds"], row["bound_seconds"]) == ("agent_gone", 1, 3.6, 1.5)
    (violation,) = figures["violations"]
    assert violation["rule"] == "recoveries_keep_their_bounds"
    assert json.loads(json.dumps(figures)) == figures
    text = report.text()
    assert "4 faults, 2 jobs, 3 attempts (1 lost)" in text
    assert "left out   spool_full: needs root" in text
    assert text.endswith("1 violations")
    assert Report(sound(), [], {}, 2.0).text().endswith("every promise was kept")


# A property: whatever order and devices sound jobs have, nobody is blamed, and each kind of damage to any of them is.

NUMBERS = st.integers(0, 7)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Jobs one after the other on up to three devices, with failures that are retried."""
    h = History(1, SCALE, Span(0.0, 1000.0), boot=BOOT)
    free = dict.fromkeys(("cmd-1-1", "cmd-1-2", "cmd-2-1"), 1.0)
    for n in range(draw(st.integers(2, 8))):
        job_id = f"{draw(st.sampled_from(['acme', 'globex']))}~{n:02}"
        steps, attempts = ["q"], []
        count, end = draw(st.integers(1, 3)), 0.0
        for number in range(1, count + 1):
            device = draw(st.sampled_from(sorted(free)))
            begin = max(free[device], end) + draw(st.floats(0, 2))
            end = free[device] = begin + draw(st.floats(0.01, 3))
            last = number == count
            outcome = Outcome.PASSED if last else Outcome.TEST_FAILED
            attempts.append(attempt(number, outcome, begin, end, device))
            h.runs.append(run(job_id, number, begin, end, device, code=0 if last else 1))
            steps += [f"s{number} {device}", f"r{number} {device}"]
            flaky = ":flaky" if count > 1 else ":passed"
            steps.append(f"c{number}{flaky} {device}" if last else f"q{number}")
        outcome = Outcome.FLAKY if count > 1 else Outcome.PASSED
        h.jobs[job_id] = job(job_id, *attempts, outcome=outcome)
        h.events += events(job_id, *steps)
        h.asked.append(Asked(Verb.SUBMIT, job_id.partition("~")[0], 0.5, answered_at=1.0, job_ids=(job_id,)))
    return h


@given(histories(), NUMBERS, st.data())
def test_any_sound_history_is_not_blamed_and_any_damage_is_found(h: History, pick: int, data: st.DataObject) -> None:
    assert check(h) == []
    job_ids = list(h.jobs)
    job_id = job_ids[pick % len(job_ids)]
    damaged = copy.deepcopy(h)
    damage = data.draw(st.sampled_from(["lose", "verdict", "overlap", "token", "phantom", "after"]))
    mine = [i for i, e in enumerate(damaged.events) if e.job_id == job_id]
    verdict = damaged.events[mine[-1]]
    if damage == "lose":
        del damaged.jobs[job_id]
    elif damage == "verdict":
        damaged.events.append(replace(verdict, version=verdict.version + 1))
    elif damage == "overlap":
        damaged.runs[pick % len(damaged.runs)] = replace(damaged.runs[pick % len(damaged.runs)], alone=False)
    elif damage == "token":
        damaged.events[mine[-1]] = replace(verdict, device_id="cmd-9-9")
    elif damage == "phantom":
        damaged.runs = [r for r in damaged.runs if (r.job_id, r.attempt) != (job_id, verdict.attempt)]
    else:
        damaged.events.append(replace(verdict, version=verdict.version + 1, letter="q", outcome=None))
        damaged.events.append(replace(verdict, version=verdict.version + 2, letter="c", outcome=None))
    assert check(damaged) or damage == "after"
    if damage == "after":  # back to the queue by a retry is legal; then a verdict without a lease is none
        damaged.events[-1] = replace(damaged.events[-1], outcome="passed")
        assert check(damaged)
