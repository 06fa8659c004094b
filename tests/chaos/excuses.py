"""What a fault can do to a test or to its record: to which agent's, and when. Nothing else excuses anything. Pure.

Each is narrow on purpose. In a run with a thousand faults one of them is always near: an excuse that asks only for a
fault around a loss forgives every loss.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise

from qgjob import Attempt
from tests.chaos.history import MACHINE, MOVABLE, Beat, Cut, Done, History, Span, joined, overlap
from tests.chaos.schedule import Kind
from tests.chaos.truth import Run

END_WHAT_RUNS = (Kind.AGENT_GONE, Kind.AGENT_REBOOT, Kind.AGENT_TERM)
"""Faults of an agent that end its tests, whatever runs them."""
END_SIMULATED = (*END_WHAT_RUNS, Kind.AGENT_KILL)
START_SECONDS = 1.0
"""From the record of a begin, or of a grant, to the start of the test's shell."""
SIMULATED_SECONDS = 1.1
"""The longest simulated test, with its install."""
ENDS = "cfxq"
"""What becomes of a job when its lease ends."""
CLOCKS_SECONDS = 0.1
"""How far times of several programs may be apart that are in fact the same."""


def may_be_lost(h: History, job_id: str, a: Attempt) -> bool:
    """Whether the end of its agent, a cut of the store or a silence that is long enough met the attempt as it ran.

    And not much earlier than it was lost: by A and S after its cause an attempt has been given up.
    """
    begin = a.started_at or a.scheduled_at
    if begin is None or a.ended_at is None:
        return False
    life = Span(begin.timestamp() - h.boot, a.ended_at.timestamp() - h.boot + CLOCKS_SECONDS)
    kinds = END_SIMULATED if a.agent_id in h.simulated else END_WHAT_RUNS
    if any(death.meets(life) and soon(h, a.agent_id, death.end, life.end) for death in deaths(h, a.agent_id, kinds)):
        return True
    if any(_took_back(h, cut, job_id, a, life) for cut in h.cuts):
        return True
    return any(
        life.begin <= silence.end
        and silence.begin + h.scale.patience <= life.end
        and soon(h, a.agent_id, silence.end, life.end)
        for silence in long_silences(h, a.agent_id)
    )


def soon(h: History, agent_id: str, since: float, at: float) -> bool:
    """Whether what happened at `at` came within A and S of `since`, less what kept everybody from acting."""
    late = at - since - overlap(Span(since, at), h.outages_of(places_of(h, agent_id))) if at > since else 0.0
    return late <= h.scale.times.give_up + h.scale.session + h.scale.load_seconds


def _took_back(h: History, cut: Cut, job_id: str, a: Attempt, life: Span) -> bool:
    """Whether a store that went back had the lease, and no longer its end. What lives on is shown and adopted."""
    known = life.begin <= cut.latest + h.scale.times.heartbeat and life.end >= cut.back_to
    return known and soon(h, a.agent_id, cut.at, life.end) and _was_over(h, cut, job_id, a, life)


def _was_over(h: History, cut: Cut, job_id: str, a: Attempt, life: Span) -> bool:
    """Whether the agent had nothing to show when the store was back: what had ended, or not yet begun.

    That a test has no end says nothing: it may have been killed because it was given up. One that was killed for its
    cancel or its hard limit had an end that the store was seen to take.
    """
    if a.agent_id in h.simulated:
        return _untold(h, a.agent_id, life.begin + SIMULATED_SECONDS, cut.back_to)
    runs = [r for r in h.runs if (r.job_id, r.attempt, r.device_id) == (job_id, a.attempt, a.device_id)]
    if not runs:
        return _untold(h, a.agent_id, life.begin, cut.back_to)
    by_itself = [run.ended for run in runs if run.ended is not None]
    if any(at <= cut.at + h.scale.times.heartbeat and _untold(h, a.agent_id, at, cut.back_to) for at in by_itself):
        return True
    gone = Span(max(life.begin, cut.back_to) - CLOCKS_SECONDS, cut.at + CLOCKS_SECONDS)
    seen = any(w.job_id == job_id and w.letter in ENDS and gone.begin <= w.at <= gone.end for w in h.writes)
    return seen and not cut.by_another


def deaths(h: History, agent_id: str, kinds: Sequence[Kind]) -> list[Span]:
    """When faults of these kinds ended an agent's tests. A drain takes its time; a host is gone at once."""
    if (agent_id, *kinds) not in h.died:
        spans, found = [o.span for o in h.outages if o.place == agent_id], []
        for done in (done for done in h.done_of(*kinds) if done.fault.target == agent_id):
            longest = h.scale.session if done.fault.kind is Kind.AGENT_TERM else h.scale.times.heartbeat
            away = [span for span in spans if span.meets(done.span)]
            found += [Span(span.begin, min(span.end, span.begin + longest)) for span in away]
        h.died[agent_id, *kinds] = found
    return h.died[agent_id, *kinds]


def long_silences(h: History, agent_id: str) -> list[Span]:
    """Silences that cost an agent its tests: 0.8 A less two heartbeats and more."""
    return [span for span in silences(h, agent_id) if span.end - span.begin >= h.scale.patience]


def silences(h: History, agent_id: str) -> list[Span]:
    """When the agent may have had no heartbeat confirmed, as one where no time was left for one in between.

    A heartbeat that the store had when all was there that it takes ends a silence. One lasts through a slow machine
    that comes before the agent has found together again.
    """
    if agent_id not in h.silent:
        slow = [Span(span.begin, span.end + h.scale.session) for span in h.outages_of([MACHINE])]
        spans = joined([*h.outages_of(places_of(h, agent_id)), *slow], gap=h.scale.times.heartbeat)
        possible = [Span(span.begin, span.end - h.scale.session) for span in spans]
        confirmed = sorted(beat.at for beat in _confirmed(h, agent_id))
        h.silent[agent_id] = [part for span in possible for part in _parts(span, confirmed)]
    return h.silent[agent_id]


def places_of(h: History, agent_id: str) -> set[str]:
    """All that a heartbeat of the agent may need."""
    return {
        MACHINE, "store", agent_id, f"link {agent_id}", *(o.place for o in h.outages if o.place.startswith(MOVABLE))
    }  # fmt: skip


def _confirmed(h: History, agent_id: str) -> Iterable[Beat]:
    """Heartbeats whose confirmation the agent had: nothing on their way was away."""
    away: dict[str, list[Span]] = {}
    for beat in h.beats.get(agent_id, ()):
        if beat.place not in away:
            way = {MACHINE, "store", agent_id, f"link {agent_id}", beat.place, f"store link {beat.place}"}
            away[beat.place] = joined(o.span for o in h.outages if o.place in way)
        spans = away[beat.place]
        span = Span(beat.at - CLOCKS_SECONDS, beat.at + h.scale.times.heartbeat / 2)
        i = bisect_left(spans, span.begin, key=lambda s: s.end)
        if i == len(spans) or not spans[i].meets(span):
            yield beat


def _parts(span: Span, times: Sequence[float]) -> list[Span]:
    """The span without the times."""
    inner = times[bisect_left(times, span.begin) : bisect_left(times, span.end)]
    ends = [span.begin, *inner, span.end]
    return [Span(begin, end) for begin, end in pairwise(ends)]


def hid_its_start(h: History, run: Run) -> bool:
    """Whether nobody may have been told that this test began: such a lease ends unstarted, and its number comes again.

    Its agent's host ended, or a silence began, before a start could have been told; or the store forgot the grant. A
    start that could not be written down, since the agent's disk was full, is told when there is room.
    """
    agent_id = run.device_id.rpartition("-")[0]
    ends = [*deaths(h, agent_id, END_WHAT_RUNS), *long_silences(h, agent_id)]
    if any(run.began <= end.end and _untold(h, agent_id, run.began, end.begin) for end in ends):
        return True
    return any(_forgot_its_grant(h, cut, run) or _forgot_its_start(h, cut, run) for cut in h.cuts)


def _forgot_its_start(h: History, cut: Cut, run: Run) -> bool:
    """Whether a store that went back has the grant, and not the first that it was told of the test."""
    told = min(
        (
            w.at
            for w in h.writes
            if w.job_id == run.job_id and w.at >= run.began - CLOCKS_SECONDS and w.script != "adopt"
        ),
        default=None,
    )
    return told is not None and not cut.by_another and cut.back_to - CLOCKS_SECONDS <= told <= cut.at


def _forgot_its_grant(h: History, cut: Cut, run: Run) -> bool:
    """Whether a store that went back may not know it: given just before, and not seen where nothing of it is gone."""
    seen = cut.by_another and any(
        (w.job_id, w.agent_id) == (run.job_id, run.device_id.rpartition("-")[0]) and cut.back_to <= w.at <= run.began
        for w in h.writes
    )
    latest = cut.at + h.scale.session + h.scale.load_seconds
    return cut.back_to - CLOCKS_SECONDS <= run.began <= latest and not seen


def _untold(h: History, agent_id: str, since: float, until: float) -> bool:
    """Whether what was so since then could not be told until: a heartbeat's time is enough where nothing is away."""
    if until <= since:
        return True
    full = [done.span for done in h.done_of(Kind.SPOOL_FULL) if done.fault.target == agent_id]
    untold = joined([*h.outages_of(places_of(h, agent_id)), *full])
    there = until - since - overlap(Span(since, until), untold)
    return there <= h.scale.times.heartbeat


def forgot_the_first(h: History, first: Run, second: Run) -> bool:
    """Whether a store that went back forgot the first test, and gave its job away before the agent was told of it."""
    agent_id = first.device_id.rpartition("-")[0]
    for cut in h.cuts:
        since, at = cut.at, second.began
        net = at - since - overlap(Span(since, at), h.outages_of(places_of(h, agent_id))) if at > since else 0.0
        if _forgot_its_grant(h, cut, first) and at >= cut.back_to and net <= 2 * h.scale.session + h.scale.load_seconds:
            return True
    return False


def broke_the_device(h: History, a: Attempt) -> bool:
    """Whether a device error is a fault's: the device was broken as the test was to begin, or its agent had no room.

    What its host took with it is lost with the agent, also when the host is soon back.
    """
    begin = a.started_at or a.scheduled_at
    if begin is None or a.ended_at is None:
        return False
    life = Span(begin.timestamp() - h.boot, a.ended_at.timestamp() - h.boot)
    if any(
        done.fault.target == a.agent_id and full(done).meets(Span(life.begin - h.scale.times.heartbeat, life.end))
        for done in h.done_of(Kind.SPOOL_FULL)
    ):
        return True
    return any(
        done.fault.target == a.device_id and broken(done).meets(Span(life.begin, life.begin))
        for done in h.done_of(Kind.DEVICE_BREAKS)
    )


def broken(done: Done) -> Span:
    """When a device could not begin a test: of what was begun just before, the shell may not have been started yet."""
    begin = done.span.begin - START_SECONDS
    return Span(begin, done.span.begin + done.fault.seconds + CLOCKS_SECONDS)


def full(done: Done) -> Span:
    """When a disk was full: until its recovery counts, and not until that was there."""
    return Span(done.span.begin, min([r.since for r in done.recoveries], default=done.span.begin + done.fault.seconds))
