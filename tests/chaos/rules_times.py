"""Rules about time: what recovers from a fault does so within its bound, and a cancelled tree is dead in time."""

from __future__ import annotations

from collections.abc import Iterator

from qgjob import Job, JobStatus, Outcome
from tests.chaos.history import MACHINE, MOVABLE, History, Recovery, Span, overlap
from tests.chaos.violations import Violation
from tests.fakes.stack import GRACE_SECONDS

CANCEL_SECONDS = GRACE_SECONDS + 2.0


def recoveries_keep_their_bounds(h: History) -> Iterator[Violation]:
    """P9: each recovery within its bound; its clock stands still while something else that it needs is away."""
    for done in h.done:
        for r in done.recoveries:
            if r.at is None or taken(h, r) > r.bound + h.scale.load_seconds:
                how = "was not seen at all" if r.at is None else f"took {taken(h, r):.2f} s"
                text = f"P9: after {done.fault}: {r.what} {how}, the bound is {r.bound:.2f} s"
                yield Violation("recoveries_keep_their_bounds", text, at=r.since)


def taken(h: History, r: Recovery) -> float:
    """Seconds of a recovery, less the outages of what it needs and S after each of them."""
    if r.at is None:
        return float("inf")
    return r.at - r.since - overlap(Span(r.since, r.at), h.outages_of(r.needs))


def cancelled_trees_die_in_time(h: History) -> Iterator[Violation]:
    """P5: from the verdict to the end of the tree: the grace and 2 s, and a heartbeat where that has to tell."""
    bound = CANCEL_SECONDS + h.scale.times.heartbeat
    for job in h.jobs.values():
        r = cancelling(h, job)
        if r is not None and taken(h, r) > bound + h.scale.load_seconds:
            text = f"P5: the tree of {job.job_id} lived {taken(h, r):.2f} s after its cancel; the bound is {bound:.2f}"
            yield Violation("cancelled_trees_die_in_time", text, job.job_id, job.attempts[-1].device_id, r.since)


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
    return Recovery("the tree of a cancelled job is dead", since, max(since, at), CANCEL_SECONDS, needs)
