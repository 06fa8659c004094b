"""Rules about what callers were refused: that a job is not there, and that nobody can serve now."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.history import MACHINE, MOVABLE, Asked, History, Span
from tests.chaos.rules_asked import binds
from tests.chaos.violations import Violation

SERVES = (MACHINE, "store", "clients", "rolled", *MOVABLE)
"""Places, or the beginnings of their names, without which a caller may be told to come again."""


def a_refusal_has_a_cause(h: History) -> Iterator[Violation]:
    """P1, P9: a job that was acknowledged is there for whoever asks later; `unavailable` is said while something is."""
    known = _acknowledged(h)
    for asked in h.asked:
        end = h.span.end if asked.answered_at is None else asked.answered_at
        if asked.error == "not_found" and asked.meant is not None and _is_there(h, known, asked, end):
            text = f"P1: {asked.verb} of {asked.meant} was answered not_found, and it was acknowledged before"
            yield Violation("a_refusal_has_a_cause", text, asked.meant, at=end)
        if asked.error == "unavailable" and not _something_is_away(h, asked, Span(asked.at, end)):
            text = f"P9: {asked.verb} was answered unavailable, and nothing was away: {asked.message}"
            yield Violation("a_refusal_has_a_cause", text, asked.meant, at=end)


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


def _something_is_away(h: History, asked: Asked, span: Span) -> bool:
    """Then, or so shortly before that it was still being found out. A hold is confirmed by the agent of its device."""
    span = Span(span.begin - h.scale.session - h.scale.load_seconds, span.end)
    agent_id = (asked.device_id or "").rpartition("-")[0]
    agents = (agent_id, f"link {agent_id}") if agent_id else ()
    return any((o.place.startswith(SERVES) or o.place in agents) and o.span.meets(span) for o in h.outages)
