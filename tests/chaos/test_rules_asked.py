"""Rules about what was asked of jobs: each finds the history that breaks it."""

from __future__ import annotations

from dataclasses import replace

import pytest

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
    plan,
    run,
    sound,
)
from tests.chaos.history import Asked, Cut, History, Write
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


def another_job_was_meant(h: History) -> None:
    """The one that was meant has a record of its own, and passed: its id stands for no other."""
    h.jobs[OTHER] = job(OTHER, attempt(1, Outcome.PASSED, 13.0, 14.0, "cmd-1-2"))
    h.events += events(OTHER, "q", "s1 cmd-1-2", "r1 cmd-1-2", "c1:passed cmd-1-2")
    h.runs.append(run(OTHER, 1, 13.0, 14.0, "cmd-1-2"))
    h.asked.append(Asked(Verb.SUBMIT, "globex", 1.0, answered_at=1.1, proposed=(OTHER,), job_ids=(OTHER,)))
    nobody_cancelled(h)
    h.asked.append(Asked(Verb.CANCEL, "globex", 1.35, meant=OTHER, answered_at=1.45, job_ids=(GLOBEX,)))


def the_cancel_of_another_run_names_it(h: History) -> None:
    nobody_cancelled(h)
    h.jobs[GLOBEX] = replace(h.jobs[GLOBEX], run_ids=("mine",))
    h.asked.append(Asked(Verb.CANCEL_RUN, "globex", 1.35, answered_at=1.45, run_id="r-other", job_ids=(GLOBEX,)))


def the_retry_of_another_job_names_it(h: History) -> None:
    """It was retried by itself then: that makes no round of the one that was meant."""
    steps = ("q", "s1 cmd-1-1", "f1:test_failed cmd-1-1", "q1", "s2 cmd-1-1", "c2:passed cmd-1-1")
    h.events = [e for e in h.events if e.job_id != GLOBEX] + events(GLOBEX, *steps)
    first = attempt(1, Outcome.TEST_FAILED, 11.0, 12.0)
    h.jobs[GLOBEX] = job(GLOBEX, first, attempt(2, Outcome.PASSED, 12.0, 13.0, round=2), round=2)
    h.runs[2:] = [run(GLOBEX, 1, 11.0, 12.0, code=1), run(GLOBEX, 2, 12.0, 13.0)]
    h.asked.append(Asked(Verb.RETRY, "globex", 1.35, meant=OTHER, answered_at=1.45, job_ids=(GLOBEX,)))


OTHER = "globex~03"
ASKED = "a_cancel_was_asked_for"
NOBODY = f"P2: {GLOBEX} is cancelled, and nobody asked for that"
BROKEN = [
    Case(nobody_cancelled, ASKED, NOBODY, alone=True),
    Case(another_run_was_cancelled, ASKED, NOBODY, alone=True),
    Case(cancelled_before_it_was_asked_for, ASKED, NOBODY),
    Case(cancelled_long_after_that_was_answered, ASKED, NOBODY, alone=True),
    Case(another_job_was_meant, ASKED, NOBODY),
    Case(another_job_was_meant, "an_acknowledged_cancel_is_a_verdict", f"P1: the cancel of {OTHER} was acknowledged"),
    Case(the_cancel_of_another_run_names_it, ASKED, NOBODY, alone=True),
    Case(
        the_retry_of_another_job_names_it,
        "an_acknowledged_retry_is_a_round",
        f"P1: the retry of {OTHER} was acknowledged",
        alone=True,
    ),
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


def cancelled_as_an_equal(*, error: str | None = None) -> tuple[History, Asked, Asked]:
    """The client's own job was found equal to another one, or it never heard what became of it; and its cancel."""
    history = sound()
    nobody_cancelled(history)
    at = next(e.at for e in history.events if (e.job_id, e.letter) == (GLOBEX, "x"))
    submission = Asked(Verb.EQUAL, "globex", 1.1, answered_at=1.2, proposed=(OTHER,), job_ids=(GLOBEX,), error=error)
    submission.plans = (plan(GLOBEX),)
    asked = Asked(Verb.CANCEL, "globex", at, meant=OTHER, answered_at=at, job_ids=(GLOBEX,))
    history.asked += [submission, asked]
    return history, submission, asked


def test_a_cancel_may_mean_the_equal_job_that_came_first_and_that_its_answer_names() -> None:
    """By the answer to its submission, the id that the client had made stands for the other one."""
    history, submission, asked = cancelled_as_an_equal()
    assert check(history) == []
    asked.job_ids = (OTHER,)
    assert {v.rule for v in check(history)} >= {ASKED, "an_acknowledged_cancel_is_a_verdict"}
    asked.job_ids, submission.job_ids = (GLOBEX,), (OTHER,)
    assert {v.rule for v in check(history)} >= {ASKED, "an_acknowledged_cancel_is_a_verdict"}


def test_what_became_of_a_submission_without_an_answer_its_test_tells() -> None:
    history, submission, _ = cancelled_as_an_equal(error="deadline")
    submission.job_ids = ()
    assert check(history) == []
    submission.plans = (plan(ACME),)
    assert {v.rule for v in check(history)} >= {ASKED, "an_acknowledged_cancel_is_a_verdict"}


def test_a_cancel_without_an_answer_may_have_met_the_equal_job() -> None:
    history, submission, asked = cancelled_as_an_equal()
    asked.job_ids, asked.error = (), "deadline"
    assert check(history) == []
    submission.job_ids = (OTHER,)
    assert ASKED in {v.rule for v in check(history)}


def test_the_cancel_of_a_run_may_name_what_a_client_submitted_for_it() -> None:
    """Also where a store that went back has no record of that."""
    history = sound()
    the_cancel_of_another_run_names_it(history)
    history.asked.append(Asked(Verb.SUBMIT_MANY, "globex", 1.0, answered_at=1.1, run_id="r-other", job_ids=(GLOBEX,)))
    assert check(history) == []
    history.asked[-1].plans = (plan(GLOBEX, run_id="mine"),)
    assert ASKED in {v.rule for v in check(history)}


@pytest.mark.parametrize(
    ("verb", "letter", "rule"),
    [
        (Verb.CANCEL, "x", "an_acknowledged_cancel_is_a_verdict"),
        (Verb.RETRY, "q", "an_acknowledged_retry_is_a_round"),
    ],
)
def test_what_only_another_server_than_the_master_was_told_has_no_effect(verb: Verb, letter: str, rule: str) -> None:
    """What the master was seen to do while that was asked has one."""
    history = sound()
    history.asked.append(Asked(verb, "globex", 29.0, meant=GLOBEX, answered_at=29.2, job_ids=(GLOBEX,)))
    history.cuts = [Cut(25.0, 35.0, until=35.0, by_another=True)]
    for at, became, found in ((29.1, letter, [rule]), (29.1, "s", []), (26.0, letter, [])):
        history.writes = [Write(at, GLOBEX, 9, became)]
        assert [v.rule for v in check(history)] == found
