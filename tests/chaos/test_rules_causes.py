"""Rules about causes: each finds the history that breaks it."""

from __future__ import annotations

from dataclasses import replace

from qgjob import Outcome
from tests.chaos.histories import (
    ACME,
    GLOBEX,
    Case,
    each,
    ended,
    events,
    judge,
    plan,
)
from tests.chaos.history import History
from tests.chaos.workload import Does


def nothing_works(h: History) -> None:
    h.asked[1].plans = (plan(GLOBEX),)
    ended(h, GLOBEX, Outcome.TEST_FAILED)


def every_device_is_broken(h: History) -> None:
    h.asked[1].plans = (plan(GLOBEX),)
    ended(h, GLOBEX, Outcome.DEVICE_ERROR)


def a_failing_test_passes(h: History) -> None:
    h.asked[1].plans = (plan(GLOBEX, Does.FAIL),)


def flaky_without_a_failure(h: History) -> None:
    h.jobs[GLOBEX] = replace(h.jobs[GLOBEX], outcome=Outcome.FLAKY)
    h.events[-1] = replace(h.events[-1], outcome="flaky")


def too_many_retries(h: History) -> None:
    ended(h, ACME, Outcome.TEST_FAILED)
    first, last = h.jobs[ACME].attempts
    first = replace(first, outcome=Outcome.TEST_FAILED)
    h.jobs[ACME] = replace(h.jobs[ACME], attempts=(first, last), max_retries=0)
    h.runs[0] = replace(h.runs[0], ended=9.0, code=1)


def failed_too_early(h: History) -> None:
    """It has three retries, and was failed by its first failure."""
    h.asked[1].plans = (plan(GLOBEX, Does.FAIL),)
    ended(h, GLOBEX, Outcome.TEST_FAILED)


def lost_with_one_agent(h: History) -> None:
    """A job is poison when it cost two agents their life."""
    ended(h, ACME, Outcome.AGENT_LOST)
    h.jobs[ACME] = replace(h.jobs[ACME], attempts=h.jobs[ACME].attempts[:1])
    h.events = [e for e in h.events if e.job_id != ACME]
    h.events += events(ACME, "q", "s1 cmd-2-1", "r1 cmd-2-1", "f1:agent_lost cmd-2-1")
    h.runs = [r for r in h.runs if (r.job_id, r.attempt) != (ACME, 2)]


CAUSE = "a_verdict_has_a_cause"
BROKEN = [
    Case(failed_too_early, CAUSE, f"P2: {GLOBEX} is test_failed after 1 failures, with 3 retries", alone=True),
    Case(lost_with_one_agent, CAUSE, f"{ACME} is agent_lost after 1 failures of that class", alone=True),
    Case(nothing_works, "a_verdict_has_a_cause", f"P2: {GLOBEX}, whose test is pass, is test_failed", alone=True),
    Case(
        every_device_is_broken,
        "a_verdict_has_a_cause",
        f"P2: {GLOBEX}, whose test is pass, is device_error",
        alone=True,
    ),
    Case(a_failing_test_passes, "a_verdict_has_a_cause", f"P2: {GLOBEX}, whose test is fail, is passed", alone=True),
    Case(flaky_without_a_failure, "a_verdict_has_a_cause", f"P2: {GLOBEX} is flaky, and failed 0 times", alone=True),
    Case(
        too_many_retries, "a_verdict_has_a_cause", f"P2: {ACME} failed 2 times in round 1, with 0 retries", alone=True
    ),
]


@each(BROKEN)
def test_each_broken_promise_is_found(case: Case) -> None:
    judge(case)
