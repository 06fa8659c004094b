"""Rules about devices that fail what they are given: soon out of service, then given nothing, and others spared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from qgjob import Attempt, Job, Outcome
from tests.chaos import bounds
from tests.chaos.excuses import broken, places_of
from tests.chaos.history import Done, History, Quarantine, Recovery, Span, overlap
from tests.chaos.rules_causes import TEST_CLASS
from tests.chaos.rules_times import taken
from tests.chaos.schedule import Kind
from tests.chaos.violations import Violation

ENOUGH = 3
"""So many jobs that a device failed, and that others could do, take it out of service."""
ENOUGH_AGAIN = 1
"""The same of a device that came back from a quarantine, and has not made up for it."""
GOOD_FOR_A_STEP = 10
"""So many tests that pass after a quarantine make up for one."""
WEIGHT = {Outcome.DEVICE_ERROR: 1.0, **dict.fromkeys(TEST_CLASS, 0.6)}
"""Of an attempt that failed on a device, against it."""
FORGIVES = 0.75
"""What a test that passes leaves of each failure before it."""
ROUNDED = 0.01
AUTOMATIC = "automatic quarantine"
"""How the written reason begins."""
BY_A_PROBE = "since a probe found: "
"""What it says of a quarantine that was made longer. Else the device came back, and failed again."""
LOOKS_SECONDS = 0.5
"""Between two looks of the recorder, at most."""
UNWRITTEN_SECONDS = 1.0
"""A failure counts for sure when nothing was away for so long after it: it is written down then."""
PASS_UNWRITTEN_SECONDS = 2.0
"""The same of a test that passed, which waits a second to be written down."""


def a_broken_device_is_taken_out(h: History) -> Iterator[Violation]:
    """P9: when three jobs have failed on a broken device, and ended properly on others, it is quarantined soon."""
    for done in h.done_of(Kind.DEVICE_BREAKS):
        r = taken_out(h, done)
        if r is not None and taken(h, r) > r.bound + h.scale.load_seconds:
            how = "was not quarantined" if r.at is None else f"was quarantined after {taken(h, r):.2f} s"
            text = f"P9: after {done.fault}: {ENOUGH} jobs had failed there, and it {how}; the bound is {r.bound:.2f} s"
            yield Violation("a_broken_device_is_taken_out", text, None, done.fault.target, r.since)
    for q in h.quarantines:
        if not q.reason.startswith(AUTOMATIC):
            text = f"P9: {q.device_id} is quarantined, and the reason is {q.reason!r}"
            yield Violation("a_broken_device_is_taken_out", text, None, q.device_id, q.since)


def taken_out(h: History, done: Done) -> Recovery | None:
    """From the last failure that it took to the quarantine; None where not enough failed in time, or people had it."""
    device_id, span, bound = done.fault.target, broken(done), bounds.TAKEN_OUT
    needs = tuple(places_of(h, device_id.rpartition("-")[0]))
    since_passed = Span(_last_pass(h, device_id, span), span.end)
    failed = [_failed_there(h, job, device_id, since_passed, needs) for job in h.jobs.values()]
    known = sorted(at for at in failed if at is not None)
    if len(known) < ENOUGH or _somebody_had_it(h, device_id, span):
        return None
    since, seconds = known[ENOUGH - 1], bound.seconds(h.scale)
    out = [q.since for q in h.quarantines if q.device_id == device_id and span.begin <= q.since <= done.span.end]
    if out:
        return Recovery(bound.what, since, max(since, min(out)), seconds, needs)
    until = Recovery(bound.what, since, span.end, seconds, needs)
    missed = since < span.end and taken(h, until) > seconds + h.scale.load_seconds
    return Recovery(bound.what, since, None, seconds, needs) if missed else None


def _failed_there(h: History, job: Job, device_id: str, span: Span, needs: tuple[str, ...]) -> float | None:
    """When it was known that the broken device was to blame for a failure of the job; None where it never was."""
    failed = [a for a in job.attempts if a.device_id == device_id and a.outcome is Outcome.DEVICE_ERROR]
    ends = [(a.round, end) for a in failed if (end := _end(h, a)) is not None and span.begin <= end <= span.end]
    for round_, end in ends:
        written = Span(end, end + UNWRITTEN_SECONDS)
        properly = [
            at
            for a in job.attempts
            if a.device_id != device_id and a.round == round_ and a.outcome in (Outcome.PASSED, *TEST_CLASS)
            if (at := _end(h, a)) is not None
        ]
        if properly and not overlap(written, h.outages_of(needs)):
            return max(end, min(properly))
    return None


def _begin(h: History, a: Attempt) -> float:
    at = a.started_at or a.scheduled_at
    return 0.0 if at is None else at.timestamp() - h.boot


def _end(h: History, a: Attempt) -> float | None:
    return None if a.ended_at is None else a.ended_at.timestamp() - h.boot


def _last_pass(h: History, device_id: str, span: Span) -> float:
    """When the last test that had begun before passed there: it takes from what failed before it."""
    here = [a for job in h.jobs.values() for a in job.attempts if a.device_id == device_id]
    ends = [_end(h, a) or 0.0 for a in here if a.outcome is Outcome.PASSED]
    return max([span.begin, *(end for end in ends if end <= span.end)])


def _somebody_had_it(h: History, device_id: str, span: Span) -> bool:
    """Whether a word of people, which may end with all failures forgotten, met the time; or the store went back."""
    held = any(a.device_id == device_id and a.at <= span.end and (a.until or span.end) >= span.begin for a in h.asked)
    return held or any(cut.at >= span.begin and cut.back_to <= span.end for cut in h.cuts)


def a_quarantined_device_comes_back(h: History) -> Iterator[Violation]:
    """P9: its quarantine over, a device is looked at and is in service: no probe finds anything here."""
    for q in h.quarantines:
        r = came_back(h, q)
        if r is not None and taken(h, r) > r.bound + h.scale.load_seconds:
            text = f"P9: the quarantine of {q.device_id} ended {taken(h, r):.2f} s late, the bound is {r.bound:.2f} s"
            yield Violation("a_quarantined_device_comes_back", text, None, q.device_id, r.since)


def came_back(h: History, q: Quarantine) -> Recovery | None:
    """From the end of a quarantine's time, and of what still ran there, to its end; None where nobody can say.

    One that follows at once is the same, made longer by a probe that had no answer: that is late too, where nothing was
    away.
    """
    agent_id, bound = q.device_id.rpartition("-")[0], bounds.READMITTED
    needs = tuple(places_of(h, agent_id))
    if any(cut.at >= q.since and cut.back_to <= q.seen.end for cut in h.cuts):
        return None
    longer = [
        other.seen.end
        for other in h.quarantines
        if other.device_id == q.device_id and 0.0 <= other.seen.begin - q.seen.end <= LOOKS_SECONDS and other is not q
        if BY_A_PROBE in other.reason
    ]
    if longer and overlap(Span(q.until, q.until + h.scale.session), h.outages_of(needs)):
        return None
    runs = [
        end
        for job in h.jobs.values()
        for a in job.attempts
        if a.device_id == q.device_id and (end := _end(h, a)) is not None and _begin(h, a) < q.seen.end
    ]
    since = max([q.until, *runs])
    return Recovery(bound.what, since, max([since, q.seen.end, *longer]), bound.seconds(h.scale), needs)


def a_quarantined_device_starts_nothing(h: History) -> Iterator[Violation]:
    """P9: while a device is quarantined it is given no job: at the end of that it is looked at, and not tried out."""
    for q, given in given_in_quarantine(h):
        for job_id, r in given:
            if taken(h, r) > r.bound:
                text = f"P9: {job_id} was given to {q.device_id} {taken(h, r):.2f} s after that was quarantined"
                yield Violation("a_quarantined_device_starts_nothing", text, job_id, q.device_id, r.at)


def given_in_quarantine(h: History) -> Iterator[tuple[Quarantine, list[tuple[str, Recovery]]]]:
    """Each quarantine with the jobs that its device was given in it, as what was to be over soon after its begin.

    A job that came right after the recorder's last look at it is as one after its end.
    """
    given: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for event in h.events:
        if event.letter == "s" and event.device_id is not None:
            given[event.device_id].append((event.at, event.job_id))
    bound = bounds.GETS_NOTHING
    for q in h.quarantines:
        needs = tuple(sorted(places_of(h, q.device_id.rpartition("-")[0])))
        until = min(q.seen.end - LOOKS_SECONDS, _let_in(h, q))
        mine = [(at, job) for at, job in given[q.device_id] if q.seen.begin < at < until]
        yield q, [(job, Recovery(bound.what, q.seen.begin, at, bound.seconds(h.scale), needs)) for at, job in mine]


def _let_in(h: History, q: Quarantine) -> float:
    """From when on the device may have been let in, unknown to a store that went back to before that."""
    lost = any(cut.at >= q.until and cut.back_to <= q.seen.end for cut in h.cuts)
    return q.until if lost else q.seen.end


def a_device_in_order_stays_in_service(h: History) -> Iterator[Violation]:
    """P9: only a device that broke, or that failed enough of what others could do, is quarantined.

    After a quarantine less is enough, until tests that passed have made up for it.
    """
    for q in h.quarantines:
        deserved = against(h, q) >= (ENOUGH_AGAIN if on_probation(h, q) else ENOUGH)
        if not deserved and not any(_broke_it(h, done, q) for done in h.done_of(Kind.DEVICE_BREAKS)):
            text = f"P9: {q.device_id} was in order, and is quarantined: {q.reason}"
            yield Violation("a_device_in_order_stays_in_service", text, None, q.device_id, q.since)


def against(h: History, q: Quarantine) -> float:
    """What had failed on the device and went well elsewhere, by its weight; what passed there since took from it."""
    since = max([other.seen.end for other in _before(h, q)], default=0.0)
    here = [(job, a, _end(h, a) or 0.0) for job in h.jobs.values() for a in job.attempts if a.device_id == q.device_id]
    passes = [end for _, a, end in here if a.outcome is Outcome.PASSED and end < q.since - UNWRITTEN_SECONDS]
    marks: dict[tuple[str, bool], float] = {}
    for job, a, end in here:
        weight = WEIGHT.get(a.outcome) if a.outcome is not None else None
        if weight is not None and since <= end <= q.since and _others_could(job, a):
            left = weight * FORGIVES ** sum(end < at for at in passes)
            key = job.job_id, a.outcome is Outcome.DEVICE_ERROR
            marks[key] = max(left, marks.get(key, 0.0))
    return sum(marks.values()) + ROUNDED


def on_probation(h: History, q: Quarantine) -> bool:
    """Whether, as this one began, the device had not made up for all of those before."""
    good = _passes_for_sure(h, q.device_id)
    steps, earlier = 0, sorted(_before(h, q), key=lambda other: other.since)
    for last, following in pairwise([*earlier, q]):
        passed = sum(last.seen.end < begin and end < following.since - PASS_UNWRITTEN_SECONDS for begin, end in good)
        steps = max(0, steps + 1 - passed // GOOD_FOR_A_STEP)
    return steps > 0


def _passes_for_sure(h: History, device_id: str) -> list[tuple[float, float]]:
    """Begin and end of tests that passed there, but for those that the store may not know, or may have forgotten."""
    away = h.outages_of(places_of(h, device_id.rpartition("-")[0]))
    here = [a for job in h.jobs.values() for a in job.attempts if a.device_id == device_id]
    ends = [(_begin(h, a), _end(h, a) or 0.0) for a in here if a.outcome is Outcome.PASSED]
    return [
        (begin, end)
        for begin, end in ends
        if not overlap(written := Span(end, end + PASS_UNWRITTEN_SECONDS), away)
        and not any(written.meets(Span(cut.back_to, cut.at)) for cut in h.cuts)
    ]


def _before(h: History, q: Quarantine) -> list[Quarantine]:
    return [other for other in h.quarantines if other.device_id == q.device_id and other.since < q.since]


def _others_could(job: Job, failed: Attempt) -> bool:
    """Whether the job passed on another device in that round; after a device error its own failure says so too."""
    good = (Outcome.PASSED, *(TEST_CLASS if failed.outcome is Outcome.DEVICE_ERROR else ()))
    return any(a.device_id != failed.device_id and a.round == failed.round and a.outcome in good for a in job.attempts)


def _broke_it(h: History, done: Done, q: Quarantine) -> bool:
    """Whether the quarantine began while the device was broken, or by what was known soon after that."""
    span, agent_id = broken(done), q.device_id.rpartition("-")[0]
    if q.device_id != done.fault.target or q.since < span.begin:
        return False
    late = q.since - span.end - overlap(Span(span.end, max(span.end, q.since)), h.outages_of(places_of(h, agent_id)))
    return late <= h.scale.session + h.scale.load_seconds
