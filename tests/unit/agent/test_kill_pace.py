"""How often what is to die is killed again."""

from __future__ import annotations

import pytest

from qgjob_agent.executions.kill_pace import KillPace


@pytest.mark.parametrize(
    ("seconds", "pause", "urgent"),
    [(0, 0.01, True), (1.9, 0.01, True), (2.1, 0.01, False), (7, 0.5, False), (12, 1.0, False), (86_400, 1.0, False)],
)
def test_what_stays_is_killed_ever_more_rarely_and_soon_at_leisure(seconds: float, pause: float, urgent: bool) -> None:
    pace = KillPace()
    pace.look(1_000, [7])
    step = pace.look(1_000 + seconds, [7])
    assert (step.pause_seconds, step.urgent) == (pytest.approx(pause), urgent)


def test_what_appears_later_is_hunted_as_the_first_was() -> None:
    pace = KillPace()
    pace.look(0, [7])
    assert not pace.look(6, [7]).urgent
    assert pace.look(6.5, [7, 8])[:2] == (0.01, True)
    assert pace.look(8.4, [7, 8])[:2] == (0.01, True)
    assert not pace.look(8.6, [7, 8]).urgent


def test_what_forks_without_end_and_may_not_be_killed_is_not_hunted_hot_for_ever() -> None:
    pace = KillPace()
    steps = [pace.look(second, [second]) for second in range(40)]
    assert [step.urgent for step in steps] == [True] * 10 + [False] * 30
    assert steps[-1].pause_seconds == 1.0


def test_what_lives_for_long_after_sigkill_is_told_and_what_died_is_not() -> None:
    pace = KillPace()
    assert pace.look(0, [9, 7]).stuck == ()
    assert pace.look(4.9, [9, 7]).stuck == ()
    assert pace.look(5, [9, 7, 8]).stuck == (7, 9)
    assert pace.look(9.9, [9, 8]).stuck == (9,)
    assert pace.look(10, [9, 8]).stuck == (8, 9)
    assert pace.look(10.1, []).stuck == ()
