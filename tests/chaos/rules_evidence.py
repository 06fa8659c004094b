"""A rule about the run itself: whether it shows what it is said to show."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.history import History
from tests.chaos.recovered import rows, shows
from tests.chaos.rules_times import LONG_RUN
from tests.chaos.violations import Violation

SOME = 8
"""Fewer recoveries of a kind may all have met another fault."""


def a_long_run_shows_each_bound(h: History) -> Iterator[Violation]:
    """P9: of what recovered often, half was seen to do so within the bound, with nothing excused that mattered."""
    if h.span.end - h.span.begin < LONG_RUN * h.scale.lease:
        return
    for (after, what), found in rows(h).items():
        shown = sum(shows(h, r) for r in found)
        if len(found) >= SOME and 2 * shown < len(found):
            text = f"P9: after {after}: {what}: {shown} of {len(found)} recoveries show that the bound holds"
            yield Violation("a_long_run_shows_each_bound", text)
