"""Rules about what was asked of jobs: each finds the history that breaks it."""

from __future__ import annotations

from qgjob import Outcome
from tests.chaos.histories import (
    ACME,
    GLOBEX,
    Case,
    attempt,
    each,
    events,
    job,
    judge,
    run,
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


BROKEN = [
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


@each(BROKEN)
def test_each_broken_promise_is_found(case: Case) -> None:
    judge(case)
