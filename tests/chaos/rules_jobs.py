"""Rules about jobs and verdicts: P1, P2, P3, and whether a verdict is what the test did."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from qgjob import Attempt, Job, Outcome
from tests.chaos.cuts import CUT_MARGIN_SECONDS, master_took, taken_back, taken_from_master
from tests.chaos.excuses import soon
from tests.chaos.history import Asked, Event, History, Span
from tests.chaos.violations import Violation
from tests.fakes.history import faults

MOVES = {
    "q": "qsfx",
    "s": "sqrcfx",
    "r": "rqcfx",
    "c": "c",
    "f": "fq",
    "x": "xq",
}
"""From each state of a job to those that may follow it; a change that is no transition shows the same state again."""

_JOB_ID = re.compile(r"[\w-]+~[0-9A-Za-z]+")
_EXIT_CODE = {Outcome.PASSED: 0, Outcome.TEST_FAILED: 1}


def acknowledged_jobs_have_one_verdict_a_round(h: History) -> Iterator[Violation]:
    """P1 to P3, as any test of the stack has them checked; what a cut of the store took back is told elsewhere."""
    kept = [job_id for asked in h.asked for job_id in asked.job_ids if _kept(h, asked, job_id)]
    jobs = {job_id: _with_known_ends(h, job) for job_id, job in h.jobs.items()}
    for text in faults(jobs, h.events, list(dict.fromkeys(kept))):
        found = _JOB_ID.search(text)
        yield Violation("acknowledged_jobs_have_one_verdict_a_round", text, found[0] if found else None)


def _with_known_ends(h: History, job: Job) -> Job:
    """The job without the ends of attempts that a store which went back found as leases: they had ended long before."""

    def known(a: Attempt) -> Attempt:
        if a.outcome not in (Outcome.AGENT_LOST, Outcome.CANCELLED) or a.ended_at is None:
            return a
        end = a.ended_at.timestamp() - h.boot
        begin = (a.started_at or a.scheduled_at or a.ended_at).timestamp() - h.boot
        found = any(
            begin <= cut.latest + CUT_MARGIN_SECONDS and cut.back_to <= end and soon(h, a.agent_id, cut.at, end)
            for cut in h.cuts
        )
        return replace(a, ended_at=a.started_at or a.ended_at) if found else a

    return replace(job, attempts=tuple(known(a) for a in job.attempts)) if h.cuts else job


def lost_to_cuts(h: History) -> list[str]:
    """Jobs that were acknowledged right before the store went back, and are gone: no violation, and said."""
    risked = {j for asked in h.asked if asked.submits for j in asked.job_ids if not _kept(h, asked, j)}
    return sorted(risked - set(h.jobs))


def _kept(h: History, asked: Asked, job_id: str) -> bool:
    """Whether an answer binds: a submission's, and not given in a time that a cut of the store took back.

    Where that took only what another server had, it binds for the job that the master was seen to take by then.
    """
    at = asked.answered_at
    if at is None or asked.error is not None or not asked.submits:
        return False
    if taken_from_master(h, at):
        return False
    by_then = Span(h.span.begin, at + CUT_MARGIN_SECONDS)
    return not taken_back(h, at) or master_took(h, job_id, by_then, "".join(MOVES))


def by_job(h: History) -> dict[str, list[Event]]:
    """The events of each job by version."""
    found: dict[str, list[Event]] = defaultdict(list)
    for event in h.events:
        found[event.job_id].append(event)
    for events in found.values():
        events.sort(key=lambda e: e.version)
    return found


def moves_are_legal(h: History) -> Iterator[Violation]:
    """P3: after a verdict nothing changes but by a retry, and no state follows one that it can't follow."""
    for job_id, events in by_job(h).items():
        before = None
        for event in events:
            if before is not None and event.letter not in MOVES[before.letter]:
                text = f"P3: {job_id} went from {before.letter} to {event.letter} in version {event.version}"
                yield Violation("moves_are_legal", text, job_id, event.device_id, event.at)
            before = event


def a_verdict_is_what_the_test_did(h: History) -> Iterator[Violation]:
    """P2: where tests write down how they ended, an attempt that passed or failed has such an end on its device."""
    ended = {(run.job_id, run.attempt, run.device_id, run.code) for run in h.runs}
    for job in h.jobs.values():
        for a in job.attempts:
            if a.agent_id in h.simulated or a.outcome not in _EXIT_CODE:
                continue
            if (job.job_id, a.attempt, a.device_id, _EXIT_CODE[a.outcome]) not in ended:
                text = f"P2: attempt {a.attempt} of {job.job_id} is {a.outcome}, and no test on {a.device_id} ended so"
                yield Violation("a_verdict_is_what_the_test_did", text, job.job_id, a.device_id)
