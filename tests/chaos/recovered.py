"""All recoveries of a run, by the fault or the wish that they came after, and what each of them shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from tests.chaos import bounds
from tests.chaos.history import History, Recovery
from tests.chaos.rules_health import came_back, given_in_quarantine, taken_out
from tests.chaos.rules_times import cancelling, judged, taken, told_late
from tests.chaos.rules_wishes import bonds_over, deadlines, holds, superseded
from tests.chaos.schedule import Kind
from tests.chaos.workload import Verb

Row = tuple[str, str]
"""The kind of fault or wish, and what was to be so after it."""
(DEADLINE,) = bounds.DEADLINE.after


def rows(h: History) -> dict[Row, list[Recovery]]:
    """Each kind of recovery."""
    found: dict[Row, list[Recovery]] = defaultdict(list)
    for done in h.done:
        for r in done.recoveries:
            found[done.fault.kind.value, r.what].append(r)
    broken = [taken_out(h, done) for done in h.done_of(Kind.DEVICE_BREAKS)]
    for r in (*broken, *(came_back(h, q) for q in h.quarantines)):
        if r is not None:
            found[Kind.DEVICE_BREAKS.value, r.what].append(r)
    for q, given in given_in_quarantine(h):
        r = _last(given) or _never(h, bounds.GETS_NOTHING, q.seen.begin)
        found[Kind.DEVICE_BREAKS.value, r.what].append(r)
    for job in h.jobs.values():
        if (cancel := cancelling(h, job)) is not None:
            found[Verb.CANCEL.value, cancel.what].append(cancel)
    for done, _, r in told_late(h):
        found[done.fault.kind.value, r.what].append(r)
    for (after, what), r in _wished(h):
        found[after, what].append(r)
    return dict(sorted(found.items()))


def _wished(h: History) -> Iterator[tuple[Row, Recovery]]:
    """What clients, people and deadlines wait for."""
    for asked, ends in (*superseded(h), *bonds_over(h)):
        if (last := _last(ends)) is not None:
            yield (asked.verb.value, last.what), last
    for asked, begins in holds(h):
        r = _last(begins) or _never(h, bounds.HELD, asked.answered_at or 0.0)
        yield (asked.verb.value, r.what), r
    for _, _, r in deadlines(h):
        yield (DEADLINE, r.what), r


def _last(found: Sequence[tuple[str, Recovery]]) -> Recovery | None:
    """Of what began at one time, with the same needs: the last to be so."""
    return max((r for _, r in found), key=by_the_clock, default=None)


def _never(h: History, bound: bounds.Bound, since: float) -> Recovery:
    """Nothing of what was to be over soon came after that: it was so at once."""
    return Recovery(bound.what, since, since, bound.seconds(h.scale))


def by_the_clock(r: Recovery) -> float:
    """Seconds that passed, whatever was away meanwhile."""
    return float("inf") if r.at is None else r.at - r.since


def shows(h: History, r: Recovery) -> bool:
    """Whether the bound was seen to hold: by the clock, or in counted time, of which there was enough to break it."""
    return by_the_clock(r) <= r.bound or (r.at is not None and taken(h, r) <= r.bound and judged(h, r))
