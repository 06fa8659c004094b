"""Rules about causes: an outcome is what the test does, what was asked for, or what a fault explains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qgjob import Attempt, Job, Outcome, Target
from tests.chaos.excuses import broke_the_device
from tests.chaos.history import History
from tests.chaos.violations import Violation
from tests.chaos.workload import Does, JobPlan

TEST_CLASS = (Outcome.TEST_FAILED, Outcome.TIMED_OUT, Outcome.APP_CRASHED)
"""Failures that use up the retries a job was given."""
INFRASTRUCTURE = (Outcome.DEVICE_ERROR, Outcome.AGENT_LOST, Outcome.PROVIDER_ERROR)
"""Failures that use up the retries of the infrastructure."""
INFRA_MAX_RETRIES = 5
POISON_AGENTS = 2
"""A job with which so many different agents were lost is not tried on a next one."""
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


def a_verdict_has_a_cause(h: History) -> Iterator[Violation]:
    """P2, P9: each job ends as its test does, but where somebody cancelled it or a fault explains the end."""
    plans = {(plan.org_id, plan.path): plan for asked in h.asked for plan in asked.plans}
    for job in h.jobs.values():
        for text in _wrong(h, job, plans.get((job.org_id, job.test_path))):
            at = None if job.completed_at is None else job.completed_at.timestamp() - h.boot
            device = job.attempts[-1].device_id if job.attempts else None
            yield Violation("a_verdict_has_a_cause", text, job.job_id, device, at)


def _wrong(h: History, job: Job, plan: JobPlan | None) -> Iterator[str]:
    known = plan is not None or job.target is Target.EMULATOR
    test = None if plan is None else plan.test
    may_expire = plan is not None and plan.deadline is not None
    natural = job.outcome in (*ENDS[test], Outcome.CANCELLED) or (may_expire and job.outcome is Outcome.EXPIRED)
    if known and not natural and not (job.attempts and _by_a_fault(h, job.attempts[-1])):
        yield f"P2: {job.job_id}, whose test is {test or 'simulated'}, is {job.outcome}, and no fault accounts for it"
    for round_ in range(1, job.round + 1):
        mine = [a for a in job.attempts if a.round == round_]
        failed = [a for a in mine if a.outcome in TEST_CLASS]
        if len(failed) > job.max_retries + 1:
            yield f"P2: {job.job_id} failed {len(failed)} times in round {round_}, with {job.max_retries} retries"
        if round_ == job.round:
            yield from _early(job, mine, failed)
        for a in mine:
            natural = a.outcome in (Outcome.PASSED, Outcome.CANCELLED, Outcome.AGENT_LOST) or a.outcome in FAILS[test]
            if known and not natural and not _by_a_fault(h, a):
                yield f"P2: attempt {a.attempt} of {job.job_id} is {a.outcome}, and no fault accounts for it"


def _early(job: Job, mine: Sequence[Attempt], failed: Sequence[Attempt]) -> Iterator[str]:
    """A verdict of the last round that its attempts do not make."""
    if job.outcome in PASSES and (job.outcome is Outcome.FLAKY) != bool(failed):
        yield f"P2: {job.job_id} is {job.outcome}, and failed {len(failed)} times in its last round"
    if job.outcome in TEST_CLASS and len(failed) <= job.max_retries:
        yield f"P2: {job.job_id} is {job.outcome} after {len(failed)} failures, with {job.max_retries} retries"
    if job.outcome in INFRASTRUCTURE:
        infra = sum(a.outcome in INFRASTRUCTURE for a in mine)
        hosts = len({a.agent_id for a in mine if a.outcome is Outcome.AGENT_LOST})
        poison = job.outcome is Outcome.AGENT_LOST and hosts >= POISON_AGENTS
        if infra <= INFRA_MAX_RETRIES and not poison:
            yield f"P2: {job.job_id} is {job.outcome} after {infra} failures of that class, {hosts} agents were lost"


def _by_a_fault(h: History, a: Attempt) -> bool:
    """Whether a fault may have given the attempt an outcome that is not the test's. Losses have a rule of their own."""
    return a.outcome is Outcome.AGENT_LOST or (a.outcome is Outcome.DEVICE_ERROR and broke_the_device(h, a))
