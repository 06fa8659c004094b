"""Rules about what was acknowledged of jobs that there were: cancels, cancels of a run, retries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise

from tests.chaos.cuts import master_took, taken_back, taken_from_master
from tests.chaos.history import Asked, Event, History, Span
from tests.chaos.rules_jobs import MOVES, by_job
from tests.chaos.violations import Violation
from tests.chaos.workload import Verb

WRITTEN_SECONDS = 0.1
"""How far the store's clock of milliseconds and a client's may be apart."""
BECOMES = {Verb.CANCEL: "x", Verb.CANCEL_RUN: "x", Verb.RETRY: "q", Verb.RETRY_RUN: "q"}
"""What a job is then of which that is asked."""


def an_acknowledged_cancel_is_a_verdict(h: History) -> Iterator[Violation]:
    """P1: a job whose cancel was acknowledged, by its id or with its run, was cancelled by then, in that round."""
    events, equals = by_job(h), equal_jobs(h)
    for asked in h.asked:
        if asked.verb not in (Verb.CANCEL, Verb.CANCEL_RUN):
            continue
        for job_id in named(asked, Verb.CANCEL, equals):
            if binds(h, asked, job_id) and not _cancelled(asked, events.get(job_id, [])):
                text = f"P1: the {asked.verb} of {job_id} was acknowledged and had no effect"
                yield Violation("an_acknowledged_cancel_is_a_verdict", text, job_id, at=asked.answered_at)


def an_acknowledged_retry_is_a_round(h: History) -> Iterator[Violation]:
    """P1: a job whose retry was acknowledged went back to the queue for it, and has a round for each time it did."""
    events, equals = by_job(h), equal_jobs(h)
    for asked in h.asked:
        if asked.verb not in (Verb.RETRY, Verb.RETRY_RUN):
            continue
        for job_id in named(asked, Verb.RETRY, equals):
            rounds = _rounds(events.get(job_id, []), asked)
            if binds(h, asked, job_id) and not any(_during(asked, at) for at in rounds):
                text = f"P1: the {asked.verb} of {job_id} was acknowledged and had no effect"
                yield Violation("an_acknowledged_retry_is_a_round", text, job_id, at=asked.answered_at)
    for job_id, job in h.jobs.items():
        begun = 1 + len(_rounds(events.get(job_id, [])))
        if job.round != begun:
            text = f"P1: {job_id} is in round {job.round}, and {begun} were begun"
            yield Violation("an_acknowledged_retry_is_a_round", text, job_id)


def named(asked: Asked, of_one: Verb, equals: Mapping[str, set[str]]) -> tuple[str, ...]:
    """The jobs that an answer binds: for `of_one`, the one that was meant, or that it names an equal one for.

    An answer that names any other job is none about that one: the job that was meant is still to be so.
    """
    if asked.verb is not of_one:
        return asked.job_ids
    if asked.meant is None:
        return ()
    may_be = {asked.meant, *equals.get(asked.meant, ())}
    return tuple(job_id for job_id in asked.job_ids if job_id in may_be) or (asked.meant,)


def equal_jobs(h: History) -> dict[str, set[str]]:
    """By an id that a client made: the jobs that it may stand for, which were found equal to the submitted one.

    A submission shows that by its answer; where there was none, any job of the same test may be it.
    """
    by_test: dict[tuple[str, str], set[str]] = defaultdict(set)
    for job_id, job in h.jobs.items():
        by_test[job.org_id, job.test_path].add(job_id)
    found: dict[str, set[str]] = defaultdict(set)
    for asked in h.asked:
        for i, proposed in enumerate(asked.proposed):
            same = by_test[asked.org_id, asked.plans[i].path] if asked.plans else set()
            if asked.answered_at is None or asked.error is not None:
                found[proposed] |= same
            else:
                found[proposed] |= {j for j in asked.job_ids[i : i + 1] if not asked.plans or j in same}
    return found


def _rounds(events: list[Event], asked: Asked | None = None) -> list[float]:
    """When a verdict was taken back for a new round; of failed jobs only where no other ones were asked for."""
    taken_back = "f" if asked is not None and asked.failed_only else "fx"
    return [after.at for before, after in pairwise(events) if before.letter in taken_back and after.letter == "q"]


def _cancelled(asked: Asked, events: list[Event]) -> bool:
    """Whether the job became cancelled while that was asked, or was so already."""
    before = [event for event in events if event.at <= asked.at]
    return (bool(before) and before[-1].letter == "x") or any(
        event.letter == "x" and _during(asked, event.at) for event in events
    )


def _during(asked: Asked, at: float) -> bool:
    assert asked.answered_at is not None
    return asked.at - WRITTEN_SECONDS <= at <= asked.answered_at + WRITTEN_SECONDS


def late_answer(h: History, asked: Asked) -> float:
    """By when it has come to its effect. What had no answer a coordinator may still do that was stopped."""
    if asked.answered_at is None or asked.error is not None:
        return (asked.at if asked.answered_at is None else asked.answered_at) + 2 * h.scale.lease + h.scale.session
    return asked.answered_at


def binds(h: History, asked: Asked, *job_ids: str) -> bool:
    """Whether it was acknowledged, and not in a time that a cut of the store took back.

    Where that took only what another server had: whether the master was seen to do so to all of these jobs.
    """
    at = asked.answered_at
    if at is None or asked.error is not None or taken_from_master(h, at):
        return False
    while_asked = Span(asked.at - WRITTEN_SECONDS, at + WRITTEN_SECONDS)
    letters = BECOMES.get(asked.verb, "".join(MOVES))
    return not taken_back(h, at) or (
        bool(job_ids) and all(master_took(h, job_id, while_asked, letters) for job_id in job_ids)
    )
