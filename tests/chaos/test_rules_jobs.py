"""Rules about jobs and verdicts: each finds the history that breaks it."""

from __future__ import annotations

from dataclasses import replace

from qgjob import JobStatus
from tests.chaos.checker import check
from tests.chaos.histories import (
    ACME,
    GLOBEX,
    Case,
    each,
    judge,
    sound,
)
from tests.chaos.history import Asked, Cut, History, Write
from tests.chaos.rules_jobs import lost_to_cuts
from tests.chaos.workload import Verb


def lost_job(h: History) -> None:
    del h.jobs[ACME]


def lost_though_the_master_took_it(h: History) -> None:
    """Another server took itself for the master then: what that one had is gone, and not this."""
    h.asked.append(Asked(Verb.SUBMIT, "globex", 29.0, answered_at=29.2, job_ids=(OTHER,)))
    h.writes = [Write(29.1, OTHER, 1, "q")]
    h.cuts = [Cut(25.0, 35.0, until=35.0, by_another=True)]


def no_verdict(h: History) -> None:
    h.jobs[ACME] = replace(h.jobs[ACME], status=JobStatus.RUNNING, outcome=None)


def two_verdicts(h: History) -> None:
    h.events += [replace(h.events[-1], version=9, letter="f", outcome="test_failed")]


def stale_overwrite(h: History) -> None:
    h.events += [replace(h.events[-1], version=9, letter="r", outcome=None)]


def phantom_verdict(h: History) -> None:
    h.runs[1] = replace(h.runs[1], code=1)


def killed_and_passed(h: History) -> None:
    h.runs[1] = replace(h.runs[1], ended=None, code=None)


OTHER = "globex~03"
BROKEN = [
    Case(lost_job, "acknowledged_jobs_have_one_verdict_a_round", f"P1: {ACME} was acknowledged and is lost"),
    Case(
        lost_though_the_master_took_it,
        "acknowledged_jobs_have_one_verdict_a_round",
        f"P1: {OTHER} was acknowledged and is lost",
        alone=True,
    ),
    Case(no_verdict, "acknowledged_jobs_have_one_verdict_a_round", f"P1: {ACME} has no verdict"),
    Case(two_verdicts, "acknowledged_jobs_have_one_verdict_a_round", f"P2: {GLOBEX} has 2 verdicts in 1 rounds"),
    Case(stale_overwrite, "moves_are_legal", f"P3: {GLOBEX} went from c to r in version 9"),
    Case(
        phantom_verdict, "a_verdict_is_what_the_test_did", f"P2: attempt 2 of {ACME} is passed, and no test on cmd-1-1"
    ),
    Case(killed_and_passed, "a_verdict_is_what_the_test_did", f"P2: attempt 2 of {ACME} is passed"),
]


@each(BROKEN)
def test_each_broken_promise_is_found(case: Case) -> None:
    judge(case)


def test_what_a_cut_of_the_store_took_back_is_no_violation_and_is_told() -> None:
    history = sound()
    history.cuts = [Cut(1.05, 1.5)]
    lost_job(history)
    history.events = [e for e in history.events if e.job_id != ACME]
    assert check(history) == []
    assert lost_to_cuts(history) == [ACME]
    history.cuts = [Cut(1.3, 1.5)]  # acknowledged before
    assert [v.text for v in check(history)] == [f"P1: {ACME} was acknowledged and is lost"]


def test_what_only_another_server_took_is_no_violation_and_is_told() -> None:
    """Nor what a switch took back that came at the same time."""
    history = sound()
    lost_though_the_master_took_it(history)
    history.cuts.append(Cut(29.05, 29.15, until=29.15))
    assert check(history) == []
    history.cuts.pop()
    history.writes = []
    assert check(history) == []
    assert lost_to_cuts(history) == [OTHER]
    history.cuts[0] = replace(history.cuts[0], by_another=False)
    history.writes = [Write(29.1, OTHER, 1, "q")]
    assert check(history) == []
