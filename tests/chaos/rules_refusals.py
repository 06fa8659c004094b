"""Rules about what callers were refused: that a job is not there, and that nobody can serve now."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.history import MACHINE, Asked, Done, History, Span, joined
from tests.chaos.rules_asked import binds
from tests.chaos.schedule import Kind
from tests.chaos.violations import Violation
from tests.chaos.workload import Verb

COME_AGAIN = ("unavailable", "deadline_exceeded")
"""What a caller is told that nobody serves now."""
ONCE = (Verb.RESERVE,)
"""What a client sends once, to a coordinator that it has a connection to; all else it repeats, to each in turn."""
TRY_SECONDS = 10.0
"""So long a client waits for a coordinator that does not answer, before it turns to the next one."""
SERVED_SECONDS = 3.0
"""A coordinator that is asked so long, and has all that it needs, has answered; a pause of the client's is in it."""


def a_refusal_has_a_cause(h: History) -> Iterator[Violation]:
    """P1, P9: a job that was acknowledged is there for whoever asks later; nobody is refused who could be served."""
    known = _acknowledged(h)
    for asked in h.asked:
        end = h.span.end if asked.answered_at is None else asked.answered_at
        if asked.error == "not_found" and asked.meant is not None and _is_there(h, known, asked, end):
            text = f"P1: {asked.verb} of {asked.meant} was answered not_found, and it was acknowledged before"
            yield Violation("a_refusal_has_a_cause", text, asked.meant, at=end)
        if asked.error in COME_AGAIN and (why := _could_be_served(h, asked, Span(asked.at, end))) is not None:
            text = f"P9: {asked.verb} was answered {asked.error}, and {why}: {asked.message}"
            yield Violation("a_refusal_has_a_cause", text, asked.meant, asked.device_id, end)


def _acknowledged(h: History) -> dict[str, float]:
    """When each job was first acknowledged."""
    known: dict[str, float] = {}
    for asked in h.asked:
        for job_id in asked.job_ids:
            if asked.submits and binds(h, asked, job_id) and asked.answered_at is not None:
                known[job_id] = min(known.get(job_id, asked.answered_at), asked.answered_at)
    return known


def _is_there(h: History, known: dict[str, float], asked: Asked, end: float) -> bool:
    """Whether it was acknowledged, and no store went back since then. Another server is asked, if at all, at once."""
    since = known.get(asked.meant or "", end)
    return since < asked.at and not any(
        Span(cut.back_to, cut.at).meets(Span(asked.at if cut.by_another else since, end)) for cut in h.cuts
    )


def _could_be_served(h: History, asked: Asked, span: Span) -> str | None:
    """Why the refusal is wrong; None where something was away that the caller, or whom it asked, could not do without.

    What is sent once is judged by the way that it took. All else was to be served by any coordinator that had what it
    needs for as long as it takes the client to come to it: each that hangs may keep it for a try, and so may this one.
    """
    names = asked.coordinators or tuple(sorted({o.place for o in h.outages if o.place.startswith("coordinator")}))
    if asked.verb in ONCE:
        turned_to = asked.turned_to or names or ("",)
        broken = any(part.meets(span) for name in turned_to for part in _breaks(h, asked, name))
        return None if broken else f"nothing was away that {' or '.join(turned_to) or 'it'} needs for it"
    ways = {name: [part for part in _breaks(h, asked, name) if part.meets(span)] for name in names or ("",)}
    hang = {o.place.removeprefix("rolled ").removeprefix("store link ") for o in h.outages if o.span.meets(span)}
    for name, parts in ways.items():
        tries = len(hang & ways.keys() - {name}) + bool(parts)
        if _longest_without(span, parts) >= SERVED_SECONDS + TRY_SECONDS * tries:
            return f"nothing was away that {name or 'it'} needs for it"
    return None


def _breaks(h: History, asked: Asked, name: str) -> list[Span]:
    """When the way of a request by this coordinator was broken, with S after each break for finding together again.

    Where the answer says what is away, only that can be it. A hold is confirmed by the agent of its device, over the
    coordinator of its session.
    """
    s, places = h.scale.session, {name, f"rolled {name}", "store", f"store link {name}"}
    cuts: list[Done] = []
    if asked.away != "store":
        places.add("clients")
        cuts += h.done_of(Kind.CLIENT_LINK_CUT)
    if asked.device_id is not None and asked.away != "store":
        agent_id = asked.device_id.rpartition("-")[0]
        places |= {agent_id, f"link {agent_id}"}
        cuts += [done for done in h.done_of(Kind.LINK_CUT, Kind.LINK_SLOW) if done.fault.target == agent_id]
        for beat in h.beats.get(agent_id, ()):
            if asked.at - s <= beat.at <= (asked.answered_at or asked.at):
                places |= {beat.place, f"rolled {beat.place}", f"store link {beat.place}"}
    away = [o.span for o in h.outages if o.place in places] + [done.span for done in cuts]
    slow = [o.span for o in h.outages if o.place == MACHINE]
    return joined([*slow, *(Span(span.begin, span.end + s) for span in away)])


def _longest_without(span: Span, parts: list[Span]) -> float:
    """Of the times of the span that lie in none of the parts, which are in order, the longest in seconds."""
    longest, since = 0.0, span.begin
    for part in parts:
        longest, since = max(longest, part.begin - since), max(since, part.end)
    return max(longest, span.end - since)
