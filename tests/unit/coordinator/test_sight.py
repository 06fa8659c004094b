"""A loop that is blind says so once, and once that it sees again."""

from __future__ import annotations

import structlog
from structlog.testing import capture_logs

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops.each_org import OrgsAwayError
from qgjob_coordinator.sight import Sight

LOG = structlog.get_logger(__name__)
AWAY = StoreUnavailableError("the store is away (connection refused); repeat the call later")
CLOSED = StoreUnavailableError("the store is away (connection closed); repeat the call later")


class Clock:
    """Seconds, as they are set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def orgs(*names: str) -> OrgsAwayError:
    return OrgsAwayError(f"{', '.join(names)}: no answer", frozenset(names))


def test_what_lasts_is_told_as_it_begins_and_as_it_ends_with_how_long_it_was() -> None:
    clock = Clock()
    sight = Sight("timers_blind", LOG, clock, place="here")
    with capture_logs() as lines:
        sight.seen()
        for second in range(1, 100):
            clock.now = float(second)
            sight.lost(AWAY if second % 2 else CLOSED)
        clock.now = 100.04
        sight.seen()
        sight.seen()
    assert lines == [
        {"event": "timers_blind", "log_level": "warning", "error": AWAY.message, "place": "here"},
        {"event": "sees_again", "log_level": "info", "was": "timers_blind", "blind_seconds": 99.0, "place": "here"},
    ]


def test_the_next_time_is_news() -> None:
    sight = Sight("timers_blind", LOG)
    with capture_logs() as lines:
        for _ in range(2):
            sight.lost(AWAY)
            sight.seen()
    assert [line["event"] for line in lines] == ["timers_blind", "sees_again"] * 2


def test_of_single_orgs_those_are_news_that_were_not_told_and_so_is_the_whole_store() -> None:
    sight = Sight("timers_blind", LOG)
    with capture_logs() as lines:
        for error in (orgs("a", "b"), orgs("b"), orgs("b", "c"), orgs("a"), AWAY, AWAY, orgs("c")):
            sight.lost(error)
        sight.seen()
    told = [line["error"].partition(":")[0].partition(" (")[0] for line in lines[:-1]]
    assert told == ["a, b", "b, c", "the store is away"]
