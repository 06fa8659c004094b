"""Rules about time: what recovers from a fault does so within its bound, and a cancelled tree is dead in time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from qgjob import Job, JobStatus, Outcome
from tests.chaos import bounds
from tests.chaos.history import MACHINE, MOVABLE, Done, Event, History, Recovery, Span, joined, overlap
from tests.chaos.rules_jobs import by_job
from tests.chaos.schedule import Kind
from tests.chaos.truth import Run
from tests.chaos.violations import Violation

CLIENTS = "clients"
"""The place of the clients' links, which nothing needs but clients."""
LONG_RUN = 25.0
"""So many leases: five minutes of a run by a fifth of the product's times."""
ROUNDED = 0.001
FEW = 100
"""Cancels, below which one is more than one of a hundred."""


def recoveries_keep_their_bounds(h: History) -> Iterator[Violation]:
    """P9: each recovery within its bound; its clock stands still while something else that it needs is away.

    And what watchers that read nothing cost a coordinator, at any time, within its own.
    """
    for done in h.done:
        if done.grown_mib is not None and done.grown_mib > bounds.MOST_MIB:
            text = f"P9: {done.fault}: {done.fault.target} grew by {done.grown_mib:.1f} MiB"
            text += f", the bound is {bounds.MOST_MIB:g} MiB"
            yield Violation("recoveries_keep_their_bounds", text, at=done.span.begin)
        for r in done.recoveries:
            bound = bounds.bound_of(done.fault.kind, r.what)
            if bound is None or bound.seconds(h.scale) != r.bound:
                text = f"P9: after {done.fault}: {r.what} within {r.bound:.2f} s is in no row of the bounds"
                yield Violation("recoveries_keep_their_bounds", text, at=r.since)
            if (seconds := taken(h, r)) > r.bound + h.scale.load_seconds:
                how = "was not seen at all" if r.at is None else f"took {seconds:.2f} s"
                text = f"P9: after {done.fault}: {r.what} {how}, the bound is {r.bound:.2f} s"
                yield Violation("recoveries_keep_their_bounds", text, at=r.since)


def taken(h: History, r: Recovery) -> float:
    """Seconds of a recovery, less the outages of what it needs and S after each of them.

    Of one that was not seen: what there was of such time until nobody waited any more.
    """
    if (at := over(r)) is None:
        return float("inf")
    needs = [place for place in r.needs if place != CLIENTS or r.what == bounds.SERVED.what]
    spans = h.outages_of(needs)
    if r.anew:
        spans = joined(Span(span.begin, span.end + r.anew) for span in spans)
    seconds = at - r.since - overlap(Span(r.since, at), spans)
    return min(seconds, watched(h, r)) if r.what == bounds.GIVEN.what else seconds


def over(r: Recovery) -> float | None:
    """When it was so, or nobody waited for it any more; None where nobody did."""
    return r.until if r.at is None else r.at


def watched(h: History, r: Recovery) -> float:
    """The longest time of a recovery in which one coordinator could look at the sessions all along, in seconds.

    Each counts for itself how long a session is silent, and begins anew when it was stopped, started or did not reach
    the store: no deadline is stored.
    """
    at = over(r)
    assert at is not None
    machine, longest = h.outages_of([MACHINE]), 0.0
    for name in (place for place in r.needs if place.startswith("coordinator")):
        blind = ("store", name, f"store link {name}", f"rolled {name}")
        spans = joined(o.span for o in h.outages if o.place in blind)
        ends = [r.since, *(x for span in spans for x in (span.begin, span.end) if r.since < x < at), at]
        windows = (Span(begin, end) for begin, end in pairwise(ends) if not _within(begin, end, spans))
        longest = max([longest, *(w.end - w.begin - overlap(w, machine) for w in windows)])
    return longest


def judged(h: History, r: Recovery) -> bool:
    """Whether all of its time counted, or as much as its bound: else nobody knows that a longer one had been blamed.

    A slow machine makes nobody begin anew, and is no reason.
    """
    if r.at is None:
        return taken(h, r) > r.bound + h.scale.load_seconds
    seconds = r.at - r.since - overlap(Span(r.since, r.at), h.outages_of([MACHINE]))
    return taken(h, r) >= min(r.bound, seconds) - ROUNDED


def a_long_run_judges_what_silent_agents_held(h: History) -> Iterator[Violation]:
    """P9: where agents were silent for so long, a run of some minutes has one of which it was judged."""
    found = [r for done in h.done for r in done.recoveries if r.what == bounds.GIVEN.what]
    if h.span.end - h.span.begin >= LONG_RUN * h.scale.lease and found and not any(judged(h, r) for r in found):
        text = f"P9: {len(found)} silent agents held something, and when that was free for others was judged of none"
        yield Violation("a_long_run_judges_what_silent_agents_held", text)


def _within(begin: float, end: float, spans: Iterable[Span]) -> bool:
    return any(span.begin <= begin and end <= span.end for span in spans)


def what_a_partition_held_back_is_told(h: History) -> Iterator[Violation]:
    """P1, P9: a test that ended in a partition, and whose lease outlived that, is recorded soon after."""
    for done, run, r in told_late(h):
        if taken(h, r) > r.bound + h.scale.load_seconds:
            text = f"P9: after {done.fault}: {run.job_id}#{run.attempt} was told {taken(h, r):.2f} s after its end"
            text += f", the bound is {r.bound:.2f} s"
            yield Violation("what_a_partition_held_back_is_told", text, run.job_id, run.device_id, r.since)


def told_late(h: History) -> Iterator[tuple[Done, Run, Recovery]]:
    """Each test that ended in a partition, and when that was told."""
    events = by_job(h)
    for done in h.done_of(*(Kind(word) for word in bounds.TOLD.after)):
        back = next((r for r in done.recoveries if r.what == bounds.BACK.what), None)
        if back is None:
            continue
        for run in h.runs:
            if (r := _told(h, done, back, run, events.get(run.job_id, []))) is not None:
                yield done, run, r


def _told(h: History, done: Done, back: Recovery, run: Run, events: list[Event]) -> Recovery | None:
    """When the store had the end of a test that ended in the partition; None where that is not due to the report."""
    of_agent = run.device_id.rpartition("-")[0] == done.fault.target
    if run.ended is None or not of_agent or not done.span.begin < run.ended < back.since:
        return None
    before = [event for event in events if event.at <= run.ended]
    after = [event for event in events if event.at > run.ended and event.letter not in "sr"]
    if not before or not after:
        return None
    holds = before[-1].letter in "sr" and (before[-1].attempt, before[-1].device_id) == (run.attempt, run.device_id)
    if not holds or after[0].letter == "x" or after[0].at <= back.since:
        return None
    return Recovery(bounds.TOLD.what, back.since, after[0].at, bounds.TOLD.seconds(h.scale), back.needs)


def cancelled_trees_die_in_time(h: History) -> Iterator[Violation]:
    """P5: from the verdict to the end of the tree, each within its bound, and 99 of 100 within a shorter one."""
    found = [(job, r) for job in h.jobs.values() if (r := cancelling(h, job)) is not None]
    late = 0
    for job, r in found:
        late += taken(h, r) > bounds.CANCELLED_99.seconds(h.scale) + h.scale.load_seconds
        if taken(h, r) > r.bound + h.scale.load_seconds:
            text = f"P5: the tree of {job.job_id} lived {taken(h, r):.2f} s after its cancel"
            text += f"; the bound is {r.bound:.2f}"
            yield Violation("cancelled_trees_die_in_time", text, job.job_id, job.attempts[-1].device_id, r.since)
    if len(found) >= FEW and late > len(found) / 100:
        text = f"P5: {late} of {len(found)} cancelled trees lived longer than {bounds.CANCELLED_99.text}"
        yield Violation("cancelled_trees_die_in_time", text)


def cancelling(h: History, job: Job) -> Recovery | None:
    """The end of the tree of a cancelled job, as a recovery; None where there was none."""
    if job.status is not JobStatus.CANCELLED or job.completed_at is None or not job.attempts:
        return None
    last = job.attempts[-1]
    if last.outcome is not Outcome.CANCELLED or last.ended_at is None:
        return None
    since, at = job.completed_at.timestamp() - h.boot, last.ended_at.timestamp() - h.boot
    coordinators = {o.place for o in h.outages if o.place.startswith(MOVABLE)}
    needs = (MACHINE, "store", last.agent_id, f"link {last.agent_id}", *coordinators)
    bound = bounds.CANCELLED
    return Recovery(bound.what, since, max(since, at), bound.seconds(h.scale), needs)
