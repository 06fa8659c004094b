"""Rules about what is wanted for later: runs that take the place of others, bonds, holds of devices, deadlines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from tests.chaos import bounds
from tests.chaos.cuts import taken_back
from tests.chaos.excuses import CLOCKS_SECONDS, places_of
from tests.chaos.history import MACHINE, MOVABLE, Asked, Event, History, Recovery, Span, joined, overlap
from tests.chaos.rules_asked import binds, late_answer
from tests.chaos.rules_jobs import by_job
from tests.chaos.rules_times import taken
from tests.chaos.violations import Violation
from tests.chaos.workload import BOND_SECONDS, Verb


def a_superseded_run_ends(h: History) -> Iterator[Violation]:
    """P1: when a run that takes a key is acknowledged, what the runs before it have unfinished is cancelled soon."""
    for older, ends in superseded(h):
        yield from _late(h, "a_superseded_run_ends", older, ends)


def a_bond_ends_with_its_client(h: History) -> Iterator[Violation]:
    """P1: when a client goes without a word, what its bound run has unfinished is cancelled soon."""
    for asked, ends in bonds_over(h):
        yield from _late(h, "a_bond_ends_with_its_client", asked, ends)


Ends = Sequence[tuple[str, Recovery]]
"""The jobs that were to be cancelled, and when each had its verdict."""


def superseded(h: History) -> Iterator[tuple[Asked, Ends]]:
    """Each run that lost its key, with what it had unfinished."""
    events = by_job(h)
    by_key: dict[tuple[str, str | None], list[Asked]] = defaultdict(list)
    for asked in h.asked:
        if asked.verb is Verb.SUPERSEDE and binds(h, asked, *asked.job_ids):
            by_key[asked.org_id, asked.key].append(asked)
    for runs in by_key.values():
        for older in runs:
            later = [(run.answered_at or 0.0, run.at) for run in runs if run.at > (older.answered_at or 0.0)]
            if later:
                since, asked_at = min(later)
                yield older, _unfinished(h, events, older, Span(asked_at, since), bounds.SUPERSEDED)


def bonds_over(h: History) -> Iterator[tuple[Asked, Ends]]:
    """Each run whose client went without a word, with what it had unfinished."""
    events = by_job(h)
    for asked in h.asked:
        if asked.verb is Verb.BOND and asked.gone_at is not None and binds(h, asked, *asked.job_ids):
            wanted = Span(asked.gone_at, asked.gone_at + BOND_SECONDS)
            yield asked, _unfinished(h, events, asked, wanted, bounds.BOND_ENDED, anew=BOND_SECONDS)


def _unfinished(
    h: History, events: dict[str, list[Event]], asked: Asked, wanted: Span, bound: bounds.Bound, *, anew: float = 0.0
) -> Ends:
    """Jobs of a run, and of no other one, that had no verdict yet when that was wanted; and when they had one.

    The bound counts from the end of `wanted`; a verdict in it is one. A job that was begun again is not judged: its run
    may have lost the key, or its client, before.
    """
    found = []
    for job_id in asked.job_ids:
        job, mine = h.jobs.get(job_id), events.get(job_id, [])
        before = [event for event in mine if event.at <= wanted.begin]
        if job is None or set(job.run_ids) - {asked.run_id} or not before or any(e.letter in "cfx" for e in before):
            continue
        verdict = next((event.at for event in mine if event.at > wanted.begin and event.letter in "cfx"), h.span.end)
        at = max(wanted.end, verdict)
        found.append((job_id, Recovery(bound.what, wanted.end, at, bound.seconds(h.scale), _lookers(h), anew)))
    return found


def _late(h: History, rule: str, asked: Asked, ends: Ends) -> Iterator[Violation]:
    for job_id, r in ends:
        if taken(h, r) > r.bound + h.scale.load_seconds:
            text = f"P1: {job_id} of {asked.run_id}, which was to be cancelled, ended {taken(h, r):.2f} s later"
            yield Violation(rule, f"{text}; the bound is {r.bound:.2f} s", job_id, at=r.since)


def _lookers(h: History) -> tuple[str, ...]:
    """All that who looks at what is to be cancelled may need."""
    return (MACHINE, "store", *sorted({o.place for o in h.outages if o.place.startswith(MOVABLE)}))


def away(h: History) -> list[Span]:
    """When a coordinator may not have looked at what is to be cancelled."""
    return h.outages_of(_lookers(h))


def silent(h: History) -> list[Span]:
    """The same for bonds: who could not look counts the whole time anew."""
    return joined(Span(span.begin, span.end + BOND_SECONDS) for span in away(h))


def may_have_taken_its_key(h: History, newer: Asked, older: Asked, at: float, spans: Sequence[Span]) -> bool:
    """Whether the older run may have been cancelled then for the newer one. What it brings late is cancelled late."""
    if older.at > late_answer(h, newer):
        return False  # it took the key from the other one
    last = max(late_answer(h, newer), late_answer(h, older))
    return newer.at <= at + CLOCKS_SECONDS and _net(last, at, spans) <= _slack(h)


def may_have_ended_its_bond(h: History, asked: Asked, at: float, spans: Sequence[Span]) -> bool:
    """Whether the run may have been cancelled then by its bond: no confirmed sign of life was sent in its time.

    One that a store took and forgot, when it went back, is none.
    """
    in_time = [sign for sign in asked.signs if at - BOND_SECONDS + CLOCKS_SECONDS < sign < at]
    lived = any(not taken_back(h, sign) for sign in in_time)
    if lived or at < asked.at + BOND_SECONDS - CLOCKS_SECONDS:
        return False
    if asked.released_at is not None and not taken_back(h, asked.released_at):
        return at <= asked.released_at + CLOCKS_SECONDS
    return _net((asked.silent_at or late_answer(h, asked)) + BOND_SECONDS, at, spans) <= _slack(h)


def _slack(h: History) -> float:
    return bounds.SUPERSEDED.seconds(h.scale) + h.scale.load_seconds


def _net(since: float, at: float, spans: Sequence[Span]) -> float:
    return at - since - overlap(Span(since, at), spans) if at > since else 0.0


def a_held_device_starts_nothing(h: History) -> Iterator[Violation]:
    """A device that a person has, or that is in maintenance, begins no test until that ends."""
    for asked, begins in holds(h):
        for job_id, r in begins:
            if r.at is not None and taken(h, r) > r.bound + h.scale.load_seconds:
                late = f"{r.at - r.since:.2f} s after {asked.verb} was acknowledged"
                text = f"{job_id} began on {asked.device_id} {late}"
                yield Violation("a_held_device_starts_nothing", text, job_id, asked.device_id, r.at)


def holds(h: History) -> Iterator[tuple[Asked, Ends]]:
    """Each word of people that was acknowledged, with the tests that began on its device until it ended, by time."""
    begins: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for run in h.runs:
        begins[run.device_id].append((run.began, run.job_id))
    for job in h.jobs.values():
        for a in job.attempts:
            if a.started_at is not None and a.agent_id in h.simulated:
                begins[a.device_id].append((a.started_at.timestamp() - h.boot, job.job_id))
    seconds = bounds.HELD.seconds(h.scale)
    for asked in h.asked:
        if asked.device_id is None or not binds(h, asked):
            continue
        since, end = asked.answered_at or 0.0, _end(h, asked) - CLOCKS_SECONDS
        needs = tuple(sorted(places_of(h, asked.device_id.rpartition("-")[0])))
        here = sorted((began, job_id) for began, job_id in begins[asked.device_id] if since < began < end)
        yield asked, [(job_id, Recovery(bounds.HELD.what, since, began, seconds, needs)) for began, job_id in here]


def _end(h: History, asked: Asked) -> float:
    """When a hold ends: at its time, or as somebody says more of the device, or may do so with a word from before."""
    others = [a for a in h.asked if a.device_id == asked.device_id and a is not asked]
    said = [at for a in others for at in (a.at, a.released_at) if at is not None and at > asked.at]
    said += [asked.at for a in others if a.at <= asked.at < late_answer(h, a)]
    took_back = [cut.back_to for cut in h.cuts if cut.at > asked.at]
    return min([asked.until or 0.0, *([asked.released_at] if asked.released_at else []), *said, *took_back])


def a_deadline_is_kept(h: History) -> Iterator[Violation]:
    """P2: a job expires when its deadline has come and not before, and is not given out when it waited on after it.

    One that comes back from an agent after its deadline may find a device at once.
    The time begins when a coordinator was asked, which may be long before a store that was away has the job.
    """
    for event, earliest, r in deadlines(h):
        early = event.outcome == "expired" and event.at < earliest - CLOCKS_SECONDS
        if early or taken(h, r) > r.bound + h.scale.load_seconds:
            what = f"expired {earliest - event.at:.2f} s before" if early else "was given out after"
            text = f"P2: {event.job_id} {what} its deadline"
            yield Violation("a_deadline_is_kept", text, event.job_id, event.device_id, event.at)


def deadlines(h: History) -> Iterator[tuple[Event, float, Recovery]]:
    """Each job that expired, or was given out after its deadline; when that came at the earliest, and how long after it
    at the latest the job was given out: not at all, where it expired.
    """
    asked_of: dict[tuple[str, str | None], list[Asked]] = defaultdict(list)
    for asked in h.asked:
        run_id = asked.run_id if asked.verb is Verb.RETRY_RUN else None
        for name in {asked.meant, run_id, *asked.job_ids, *(plan.path for plan in asked.plans)}:
            asked_of[asked.org_id, name].append(asked)
    times = {(plan.org_id, plan.path): plan.deadline for asked in h.asked for plan in asked.plans}
    needs, seconds = _lookers(h), bounds.DEADLINE.seconds(h.scale)
    for job_id, events in by_job(h).items():
        job = h.jobs.get(job_id)
        if job is None:
            continue
        deadline = times.get((job.org_id, job.test_path))
        asks = [a for name in (job_id, job.test_path, *job.run_ids) for a in asked_of[job.org_id, name]]
        earliest, latest, queued, before = float("inf"), float("inf"), 0.0, ""
        for event in events:
            if event.letter == "q" and before in ("", "f", "x") and deadline is not None:
                asks_for_it = [a.at for a in asks if a.at <= event.at <= late_answer(h, a) + CLOCKS_SECONDS]
                earliest, latest = min([*asks_for_it, event.at]) + deadline, event.at + deadline
            if event.letter == "q":
                queued = event.at
            before, since = event.letter, max(latest, queued)
            if event.outcome == "expired":
                yield event, earliest, Recovery(bounds.DEADLINE.what, event.at, event.at, seconds, needs)
            elif event.letter == "s" and event.at > since:
                yield event, earliest, Recovery(bounds.DEADLINE.what, since, event.at, seconds, needs)
