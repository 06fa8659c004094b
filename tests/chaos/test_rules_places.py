"""Rules about devices, orgs, programs and losses: each finds the history that breaks it."""

from __future__ import annotations

from dataclasses import replace

from tests.chaos.checker import check
from tests.chaos.histories import (
    ACME,
    GLOBEX,
    SCALE,
    Case,
    done,
    each,
    judge,
    sound,
)
from tests.chaos.history import Asked, History, Outage, Span, Trouble
from tests.chaos.schedule import Kind
from tests.chaos.workload import Verb


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


BROKEN = [
    Case(two_trees, "devices_run_one_at_a_time", "began on cmd-1-1 while another test lived there"),
    Case(two_at_once, "devices_run_one_at_a_time", f"P4: on cmd-1-1 {GLOBEX}#1"),
    Case(foreign_job_in_a_list, "nothing_crosses_an_org", f"P6: the list of acme names {GLOBEX}"),
    Case(foreign_job_in_an_answer, "nothing_crosses_an_org", f"P6: an answer to acme names {GLOBEX}"),
    Case(foreign_environment, "nothing_crosses_an_org", "ran with the environment of acme, globex-02.spec.js"),
    Case(lost_without_a_fault, "losses_have_causes", f"P9: attempt 1 of {ACME} was lost on cmd-2, and no fault"),
    Case(lost_to_a_short_outage, "losses_have_causes", f"P9: attempt 1 of {ACME} was lost on cmd-2"),
    Case(lost_to_a_coordinator, "losses_have_causes", f"P9: attempt 1 of {ACME} was lost on cmd-2"),
    Case(ended_unasked, "programs_do_not_fail_by_themselves", "P9: coordinator-0: ended unasked"),
    Case(answered_internal, "programs_do_not_fail_by_themselves", "P9: retry was answered internal"),
    Case(unsound_store, "the_store_is_sound", "org acme: la: is {}"),
]


@each(BROKEN)
def test_each_broken_promise_is_found(case: Case) -> None:
    judge(case)


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
