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
    judge,
    plan,
)
from tests.chaos.history import Asked, History
from tests.chaos.workload import Does, Verb


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


BROKEN = [
    Case(nothing_works, "a_verdict_has_a_cause", f"P2: {GLOBEX}, whose test is pass, is test_failed", alone=True),
    Case(
        every_device_is_broken,
        "a_verdict_has_a_cause",
        f"P2: {GLOBEX}, whose test is pass, is device_error",
        alone=True,
    ),
    Case(a_failing_test_passes, "a_verdict_has_a_cause", f"P2: {GLOBEX}, whose test is fail, is passed", alone=True),
    Case(
        nobody_cancelled, "a_verdict_has_a_cause", f"P2: {GLOBEX} is cancelled, and nobody asked for that", alone=True
    ),
    Case(
        another_run_was_cancelled,
        "a_verdict_has_a_cause",
        f"P2: {GLOBEX} is cancelled, and nobody asked for that",
        alone=True,
    ),
    Case(flaky_without_a_failure, "a_verdict_has_a_cause", f"P2: {GLOBEX} is flaky, and failed 0 times", alone=True),
    Case(
        too_many_retries, "a_verdict_has_a_cause", f"P2: {ACME} failed 2 times in round 1, with 0 retries", alone=True
    ),
]


@each(BROKEN)
def test_each_broken_promise_is_found(case: Case) -> None:
    judge(case)
