"""Rules about causes: an outcome is what the test does, what was asked for, or what a fault explains."""

from __future__ import annotations

from collections.abc import Iterator

from qgjob import Attempt, Job, Outcome, Target
from tests.chaos.history import History, Span
from tests.chaos.schedule import Kind
from tests.chaos.violations import Violation
from tests.chaos.workload import Does, JobPlan, Verb

TEST_CLASS = (Outcome.TEST_FAILED, Outcome.TIMED_OUT, Outcome.APP_CRASHED)
"""Failures that use up the retries a job was given."""
PASSES = (Outcome.PASSED, Outcome.FLAKY)
ENDS = {
    None: PASSES,
    Does.PASS: PASSES,
    Does.TREE: PASSES,
    Does.FLAKY: PASSES,
    Does.FAIL: (Outcome.TEST_FAILED,),
    Does.STUBBORN: (Outcome.TIMED_OUT,),
}
"""What becomes of a job when nobody cancels it and no fault meets it."""
FAILS = {
    None: (),
    Does.PASS: (),
    Does.TREE: (),
    Does.FLAKY: (Outcome.TEST_FAILED,),
    Does.FAIL: (Outcome.TEST_FAILED,),
    Does.STUBBORN: (Outcome.TIMED_OUT,),
}
"""Test-class failures that an attempt of it may have by itself."""
END_SUPERVISORS = (Kind.AGENT_GONE, Kind.SPOOL_FULL)
"""Faults of an agent that leave a test without a supervisor, or without room to begin."""


def a_verdict_has_a_cause(h: History) -> Iterator[Violation]:
    """P2, P9: each job ends as its test does, but where somebody cancelled it or a fault explains the end."""
    plans = {(plan.org_id, plan.path): plan for asked in h.asked for plan in asked.plans}
    cancels = _cancels(h)
    for job in h.jobs.values():
        for text in _wrong(h, job, plans.get((job.org_id, job.test_path)), cancels):
            at = None if job.completed_at is None else job.completed_at.timestamp() - h.boot
            device = job.attempts[-1].device_id if job.attempts else None
            yield Violation("a_verdict_has_a_cause", text, job.job_id, device, at)


def _cancels(h: History) -> frozenset[str]:
    """Jobs and runs that somebody wanted to be cancelled, whatever the answer was."""
    return frozenset(
        name for asked in h.asked if asked.verb in (Verb.CANCEL, Verb.CANCEL_RUN)
        for name in (asked.meant, f"{asked.org_id} {asked.run_id}") if name is not None
    )  # fmt: skip


def _wrong(h: History, job: Job, plan: JobPlan | None, cancels: frozenset[str]) -> Iterator[str]:
    known = plan is not None or job.target is Target.EMULATOR
    test = None if plan is None else plan.test
    if job.outcome is Outcome.CANCELLED:
        if not cancels & {job.job_id, *(f"{job.org_id} {run_id}" for run_id in job.run_ids)}:
            yield f"P2: {job.job_id} is cancelled, and nobody asked for that"
    elif known and job.outcome not in ENDS[test] and not (job.attempts and _by_a_fault(h, job, job.attempts[-1])):
        yield f"P2: {job.job_id}, whose test is {test or 'simulated'}, is {job.outcome}, and no fault accounts for it"
    for round_ in range(1, job.round + 1):
        mine = [a for a in job.attempts if a.round == round_]
        failed = [a for a in mine if a.outcome in TEST_CLASS]
        if len(failed) > job.max_retries + 1:
            yield f"P2: {job.job_id} failed {len(failed)} times in round {round_}, with {job.max_retries} retries"
        if round_ == job.round and job.outcome in PASSES and (job.outcome is Outcome.FLAKY) != bool(failed):
            yield f"P2: {job.job_id} is {job.outcome}, and failed {len(failed)} times in its last round"
        for a in mine:
            natural = a.outcome in (Outcome.PASSED, Outcome.CANCELLED, Outcome.AGENT_LOST) or a.outcome in FAILS[test]
            if known and not natural and not _by_a_fault(h, job, a):
                yield f"P2: attempt {a.attempt} of {job.job_id} is {a.outcome}, and no fault accounts for it"


def _by_a_fault(h: History, job: Job, a: Attempt) -> bool:
    """Whether a fault may have given the attempt an outcome that is not the test's. Losses have a rule of their own."""
    del job
    if a.outcome is Outcome.AGENT_LOST:
        return True
    begin = a.started_at or a.scheduled_at
    if a.outcome is not Outcome.DEVICE_ERROR or begin is None or a.ended_at is None:
        return False
    life = Span(begin.timestamp() - h.boot - h.scale.session, a.ended_at.timestamp() - h.boot + h.scale.session)
    return any(done.fault.target == a.agent_id and done.span.meets(life) for done in h.done_of(*END_SUPERVISORS))
