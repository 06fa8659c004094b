"""Rules about what ran: each finds the history that breaks it."""

from __future__ import annotations

from dataclasses import replace

from qgjob import Outcome
from tests.chaos.histories import (
    ACME,
    GLOBEX,
    Case,
    attempt,
    each,
    job,
    judge,
    run,
)
from tests.chaos.history import History


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


def ran_beside_a_dying_tree(h: History) -> None:
    """The first run was killed, and so has no end of its own; but something of it lived when the second one began."""
    h.runs[1] = replace(h.runs[1], only=False)


def ran_without_a_record(h: History) -> None:
    h.runs.append(run(GLOBEX, 2, 13.0, 14.0))


def ran_elsewhere(h: History) -> None:
    h.runs.append(run(GLOBEX, 3, 13.0, 14.0, "cmd-1-3"))


BROKEN = [
    Case(
        ran_twice, "an_attempt_runs_once", f"P3: attempt 1 of {GLOBEX} ran on cmd-1-1 and again on cmd-1-1", alone=True
    ),
    Case(
        ran_in_two_places,
        "a_job_runs_in_one_place",
        f"P4: {ACME} began on cmd-1-1 before it had ended on cmd-2-1",
        alone=True,
    ),
    Case(
        ran_beside_a_dying_tree,
        "a_job_runs_in_one_place",
        f"P4: {ACME} began on cmd-1-1 before it had ended on cmd-2-1",
        alone=True,
    ),
    Case(ran_without_a_record, "a_run_has_its_record", f"P2: attempt 2 of {GLOBEX} ran on cmd-1-1", alone=True),
    Case(ran_elsewhere, "a_run_has_its_record", f"P2: attempt 3 of {GLOBEX} ran on cmd-1-3", alone=True),
]


@each(BROKEN)
def test_each_broken_promise_is_found(case: Case) -> None:
    judge(case)
