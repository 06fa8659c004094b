"""A store that is away is said once, and again when the reason is another one or after a growing pause."""

from __future__ import annotations

from structlog.testing import capture_logs

from qgjob_coordinator.loops.store_news import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, MOST_REASONS, StoreNews

AWAY = "the store is away (connection refused); repeat the call later"
LOADING = "the store is away (BusyLoadingError); repeat the call later"


class Clock:
    """Seconds, as they are set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_store_that_stays_away_is_told_rarely_and_with_what_to_do() -> None:
    clock = Clock()
    news = StoreNews("redis://h:1", clock)
    told = []
    for second in range(10 * 3600):
        clock.now = float(second)
        with capture_logs() as lines:
            news.away(AWAY)
        told += [(second, line) for line in lines]
    first = FIRST_PAUSE_SECONDS
    assert [second for second, _ in told[:4]] == [0, first, 3 * first, 7 * first]
    assert told[-1][0] - told[-2][0] == LONGEST_PAUSE_SECONDS
    assert told[0][1] == {
        "event": "store_away",
        "log_level": "warning",
        "url": "redis://h:1",
        "error": "the store is away (connection refused)",
        "what_to_do": "start the store, or mend REDIS_URL; the coordinator keeps trying by itself",
    }


def test_another_reason_is_news_and_so_is_the_next_time() -> None:
    news = StoreNews("redis://h:1", Clock())
    with capture_logs() as lines:
        for fault in (AWAY, AWAY, LOADING, AWAY, LOADING):
            news.away(fault)
        news.back()
        news.away(AWAY)
    assert [line["error"].rpartition(" ")[2] for line in lines] == [
        *("refused)", "(BusyLoadingError)", "refused)"),
    ]


def test_reasons_that_are_never_the_same_are_not_all_remembered() -> None:
    """Those that are to be told again the soonest go first, so one that lasts stays known."""
    clock = Clock()
    news = StoreNews("redis://h:1", clock)
    for clock.now in (0.0, FIRST_PAUSE_SECONDS, 3 * FIRST_PAUSE_SECONDS):
        news.away(AWAY)
    for port in range(3 * MOST_REASONS):
        news.away(f"the store is away (refused to port {port})")
    assert len(news._said) == MOST_REASONS
    with capture_logs() as lines:
        news.away(AWAY)
    assert lines == []
