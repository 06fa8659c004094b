"""The store's clock between looks: bent no more than it must be, and what a step skips is held against it."""

from __future__ import annotations

import time

import pytest

from qgjob_coordinator.store.clock import STEP_MS, StoreClock

HOUR_MS = 3_600_000
TOLD = 1_800_000_000_000


class Ticks:
    now = 50_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def clock(ticks: Ticks) -> StoreClock:
    clock = StoreClock(ticks)
    clock.heard(ticks.now, TOLD, ticks.now)
    return clock


def test_a_wrong_wall_clock_changes_nothing_once_the_store_was_heard(
    clock: StoreClock, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    ticks.now += 1500
    assert clock.now_ms() == TOLD + 1500
    assert StoreClock(ticks).now_ms() == 0


def test_an_answer_that_took_long_moves_nothing_that_agrees_with_it(clock: StoreClock, ticks: Ticks) -> None:
    for told in (TOLD, TOLD + 3000):
        clock.heard(ticks.now, told, ticks.now + 4000)
        assert clock.now_ms() == TOLD
    clock.heard(ticks.now, TOLD + 5000, ticks.now + 4000)
    assert clock.now_ms() == TOLD + 1000  # at least so far it went


@pytest.mark.parametrize(
    ("steps", "held"),
    [
        ([HOUR_MS], HOUR_MS),
        ([-HOUR_MS], 0),
        ([HOUR_MS, -HOUR_MS], 0),
        ([-HOUR_MS, HOUR_MS], HOUR_MS),
        ([STEP_MS], 0),
        ([STEP_MS + 1, STEP_MS + 1], 2 * STEP_MS + 2),
    ],
)
def test_a_step_of_the_store_is_followed_and_what_it_skipped_is_held(
    clock: StoreClock, ticks: Ticks, steps: list[int], held: int
) -> None:
    said: list[int] = []
    clock.on_step = said.append
    for step in steps:
        ticks.now += 1000
        clock.heard(ticks.now, clock.now_ms() + step, ticks.now)
    assert clock.now_ms() == TOLD + 1000 * len(steps) + sum(steps)
    assert clock.held_ms == held
    assert said == [step for step in steps if abs(step) > STEP_MS]
