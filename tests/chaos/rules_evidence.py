"""Rules about the run itself: whether it shows what it is said to show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.chaos.bounds import Bound, bound_of
from tests.chaos.history import History, Recovery
from tests.chaos.recovered import rows, shows
from tests.chaos.rules_times import LONG_RUN, taken
from tests.chaos.violations import Violation

SOME = 8
"""Fewer recoveries of a kind may all have met another fault."""
BY_CHANCE = 2
"""So many recoveries of a bound may need some of what a busy machine may add, however few there are."""
SHARE = 10
"""And one of so many."""


def a_long_run_shows_each_bound(h: History) -> Iterator[Violation]:
    """P9: of what recovered often, half was seen to do so within the bound, with nothing excused that mattered.

    Of what counts anew after each outage a fifth: few of these have no outage near.
    """
    if h.span.end - h.span.begin < LONG_RUN * h.scale.lease:
        return
    for (after, what), found in rows(h).items():
        shown = sum(shows(h, r) for r in found)
        if len(found) >= SOME and (5 if found[0].anew else 2) * shown < len(found):
            text = f"P9: after {after}: {what}: {shown} of {len(found)} recoveries show that the bound holds"
            yield Violation("a_long_run_shows_each_bound", text)


def a_bound_is_kept_without_the_allowance(h: History) -> Iterator[Violation]:
    """P9: what a busy machine may add is needed by few recoveries of a bound: else the bound is another one."""
    by_bound: dict[Bound, list[Recovery]] = defaultdict(list)
    for (after, what), found in rows(h).items():
        if (bound := bound_of(after, what)) is not None:
            by_bound[bound] += found
    for bound, found in by_bound.items():
        over = [taken(h, r) - r.bound for r in found if r.at is not None and taken(h, r) > r.bound]
        if len(over) > max(BY_CHANCE, len(found) // SHARE):
            text = f"P9: {bound.what}: {len(over)} of {len(found)} recoveries took longer than {bound.text}"
            text += f", by {max(over):.2f} s at most"
            yield Violation("a_bound_is_kept_without_the_allowance", text)
