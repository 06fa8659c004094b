"""Rules about what was asked of jobs: each finds the history that breaks it."""

from __future__ import annotations

from dataclasses import replace

from qgjob import Outcome
from tests.chaos.checker import check
from tests.chaos.histories import (
    ACME,
    GLOBEX,
    Case,
    attempt,
    each,
    ended,
    events,
    job,
    judge,
    run,
    sound,
)
from tests.chaos.history import Asked, History
from tests.chaos.workload import Verb


def cancel_without_effect(h: History) -> None:
    h.asked.append(Asked(Verb.CANCEL, "acme", 5.0, meant=ACME, answered_at=5.1, job_ids=(ACME,)))


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


def nobody_cancelled(h: History) -> None:
    ended(h, GLOBEX, Outcome.CANCELLED, "x")


def another_run_was_cancelled(h: History) -> None:
    nobody_cancelled(h)
    h.jobs[GLOBEX] = replace(h.jobs[GLOBEX], run_ids=("run1",))
    h.asked.append(Asked(Verb.CANCEL_RUN, "globex", 1.0, answered_at=1.1, run_id="run2"))


def cancelled_before_it_was_asked_for(h: History) -> None:
    nobody_cancelled(h)
    h.asked.append(Asked(Verb.CANCEL, "globex", 1.6, meant=GLOBEX, answered_at=1.7, job_ids=(GLOBEX,)))


def cancelled_long_after_that_was_answered(h: History) -> None:
    """A retry after an acknowledged cancel, and no new one: what the first one did was over with its answer."""
    steps = ("q", "x0:cancelled", "q0", "s1 cmd-1-1", "x1:cancelled cmd-1-1")
    nobody_cancelled(h)
    h.events = [e for e in h.events if e.job_id != GLOBEX] + events(GLOBEX, *steps)
    h.jobs[GLOBEX] = replace(h.jobs[GLOBEX], round=2)
    h.asked.append(Asked(Verb.CANCEL, "globex", 1.15, meant=GLOBEX, answered_at=1.25, job_ids=(GLOBEX,)))


ASKED = "a_cancel_was_asked_for"
NOBODY = f"P2: {GLOBEX} is cancelled, and nobody asked for that"
BROKEN = [
    Case(nobody_cancelled, ASKED, NOBODY, alone=True),
    Case(another_run_was_cancelled, ASKED, NOBODY, alone=True),
    Case(cancelled_before_it_was_asked_for, ASKED, NOBODY),
    Case(cancelled_long_after_that_was_answered, ASKED, NOBODY, alone=True),
    Case(cancel_without_effect, "an_acknowledged_cancel_is_a_verdict", f"P1: the cancel of {ACME} was acknowledged"),
    Case(cancelled_in_a_round_before, "an_acknowledged_cancel_is_a_verdict", f"P1: the cancel of {GLOBEX}", alone=True),
    Case(run_cancelled_without_effect, "an_acknowledged_cancel_is_a_verdict", f"P1: the cancel_run of {GLOBEX}"),
    Case(
        retry_without_effect,
        "an_acknowledged_retry_is_a_round",
        f"P1: the retry of {GLOBEX} was acknowledged",
        alone=True,
    ),
]


def test_a_cancel_without_an_answer_may_come_later() -> None:
    """A coordinator that was stopped carries it out when it goes on."""
    history = sound()
    nobody_cancelled(history)
    at = history.events[-1].at
    refused = Asked(Verb.CANCEL, "globex", at - 9.0, meant=GLOBEX, answered_at=at - 8.0, error="deadline")
    history.asked.append(refused)
    assert check(history) == []
    history.asked[-1].error = None
    assert ASKED in {v.rule for v in check(history)}


@each(BROKEN)
def test_each_broken_promise_is_found(case: Case) -> None:
    judge(case)


def test_a_cancel_may_mean_the_equal_job_that_came_first_and_that_its_answer_names() -> None:
    """The client's own job was found equal to it: its id stands for the other one."""
    history = sound()
    nobody_cancelled(history)
    cancelled = next(e for e in history.events if (e.job_id, e.letter) == (GLOBEX, "x"))
    asked = Asked(Verb.CANCEL, "globex", cancelled.at, meant="globex~03", answered_at=cancelled.at, job_ids=(GLOBEX,))
    history.asked.append(asked)
    assert check(history) == []
    asked.job_ids = ("globex~03",)
    assert {v.rule for v in check(history)} >= {ASKED, "an_acknowledged_cancel_is_a_verdict"}
