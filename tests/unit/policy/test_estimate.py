"""Estimates follow what was measured, whatever else they are told."""

from __future__ import annotations

import math
import random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scheduling.durations import Durations
from bench.scheduling.learning import measured_ms, observe, observe_typical
from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.estimates.estimate import Estimate
from qgjob_coordinator.policy.estimates.measurement import LONGEST_MS
from qgjob_coordinator.policy.estimates.typical import ENOUGH, Typical, typical_seconds
from qgjob_coordinator.policy.snapshot import TYPICAL_SECONDS

ABSURD = (0.0, -0.0, -1.0, math.nan, math.inf, -math.inf, 1e9, 1e300, -1e300, 86_400.001, 0.0001)

durations = st.floats(0.001, 86_400)
absurd = st.sampled_from(ABSURD)
anything = st.floats()


def _estimate(history: list[float]) -> Estimate | None:
    known: Estimate | None = None
    for seconds in history:
        known = observe(known, seconds)
    return known


def _typical(history: list[float]) -> Typical | None:
    known: Typical | None = None
    for seconds in history:
        known = observe_typical(known, seconds)
    return known


@pytest.mark.parametrize("seconds", ABSURD)
def test_what_cannot_be_a_duration_is_no_measurement(seconds: float) -> None:
    known = Estimate(30_000, 2000, 4)
    assert observe(known, seconds) is known
    assert observe(None, seconds) is None
    assert observe_typical(None, seconds) is None
    assert observe_typical(Typical(1, 1), seconds) == Typical(1, 1)


def test_the_shortest_and_the_longest_duration_count() -> None:
    assert measured_ms(0.001) == 1
    assert measured_ms(86_400.0) == LONGEST_MS


@given(st.lists(durations | absurd | anything))
def test_an_estimate_stays_between_the_valid_measurements(history: list[float]) -> None:
    valid = [ms for ms in map(measured_ms, history) if ms is not None]
    known, typical = _estimate(history), _typical(history)
    if not valid:
        assert known is None
        assert typical is None
        return
    assert known is not None
    assert typical is not None
    assert min(valid) <= known.mean_ms <= max(valid)
    assert typical.count == len(valid)
    assert 1 <= known.count <= len(valid)
    assert 0 <= known.deviation_ms <= max(max(valid) // 2, max(valid) - min(valid))
    assert min(valid) / 1000 * 0.99999 <= typical.seconds <= max(valid) / 1000 * 1.00001


@given(st.lists(durations), absurd)
def test_absurd_history_changes_nothing(history: list[float], nonsense: float) -> None:
    mixed = [x for seconds in history for x in (nonsense, seconds, nonsense)]
    assert _estimate(mixed) == _estimate(history)
    assert _typical(mixed) == _typical(history)


@given(durations, st.lists(durations, max_size=30))
def test_it_converges_to_what_is_measured_again_and_again(value: float, before: list[float]) -> None:
    ms = measured_ms(value)
    assert ms is not None
    known = _estimate([*before, *[value] * 400])
    assert known is not None
    assert abs(known.mean_ms - ms) <= 4 + 0.01 * ms  # whole numbers stop within half a gain
    typical = _typical([*before, *[value] * 2000])
    assert typical is not None
    assert typical.seconds == pytest.approx(ms / 1000, rel=0.01)


@given(st.lists(st.floats(20, 40), min_size=8, max_size=40))
def test_one_outlier_moves_an_estimate_by_a_bounded_step(history: list[float]) -> None:
    known, typical = _estimate(history), _typical(history)
    assert known is not None
    assert typical is not None
    moved, moved_typical = observe(known, 86_400), observe_typical(typical, 86_400)
    assert moved is not None
    assert moved_typical is not None
    assert moved.mean_ms <= 1.55 * known.mean_ms  # an eighth of its reach; unclipped 360 times
    assert moved_typical.seconds <= 1.26 * typical.seconds  # e^(2/9)


USUAL = Typical(round(math.log(30_000) * 1e6), 1000)
"""Tests of the org take about 30 s."""


def _told(history: list[float], typical: Typical | None = None) -> list[float]:
    """What the test is expected to take after each measurement (s)."""
    known: Estimate | None = None
    means = []
    for seconds in history:
        known = observe(known, seconds, typical)
        assert known is not None
        means.append(known.mean)
    return means


@pytest.mark.parametrize("typical", [None, USUAL], ids=["nothing known", "org known"])
@pytest.mark.parametrize("strange", [80_000.0, 0.001])
@pytest.mark.parametrize("often", [1, 2])
def test_first_values_that_later_ones_contradict_are_forgotten(
    strange: float, often: int, typical: Typical | None
) -> None:
    told = _told([strange] * often + [30.0] * 4, typical)
    assert told[-1] == pytest.approx(30)
    assert told[2 * often - 1] == pytest.approx(30), "as many good values as strange ones"


@pytest.mark.parametrize("typical", [None, USUAL], ids=["nothing known", "org known"])
@pytest.mark.parametrize("strange", [80_000.0, 0.001])
@pytest.mark.parametrize("place", range(1, 6))
def test_one_strange_value_among_the_first_does_little(strange: float, place: int, typical: Typical | None) -> None:
    history = [30.0] * 6
    history.insert(place, strange)
    assert 12 <= _told(history, typical)[-1] <= 48


@pytest.mark.parametrize("true", [3000.0, 0.3])
def test_a_first_value_far_from_what_is_typical_is_believed_when_it_comes_again(true: float) -> None:
    once, *more = _told([true, 1.1 * true, 0.9 * true, true], USUAL)
    assert abs(math.log(once / 30)) == pytest.approx(2, abs=0.01), "as far as a typical duration is moved by one"
    assert all(told == pytest.approx(true, rel=0.15) for told in more)


def test_a_strange_value_does_not_hide_that_a_test_takes_a_hundred_times_the_typical() -> None:
    assert _told([80_000.0, 3000.0, 3000.0], USUAL)[-1] == pytest.approx(3000)
    assert _told([3000.0, 30.0, 3000.0, 3000.0], USUAL)[-1] == pytest.approx(3000)


def test_a_first_value_is_judged_by_what_was_measured_often_enough() -> None:
    known = Durations()
    for n in range(ENOUGH - 1):
        known.observe("acme", "g", f"{n}.py", Target.EMULATOR, 30)
    known.observe("acme", "g", "long.py", Target.EMULATOR, 3000)
    assert known.of_test("acme", "long.py", Target.EMULATOR) == 3000
    for n in range(100):
        known.observe("acme", "g", f"{n}.py", Target.EMULATOR, 30)
    known.observe("acme", "another group", "longer.py", Target.EMULATOR, 3000)  # judged by the org
    told = known.of_test("acme", "longer.py", Target.EMULATOR)
    assert told is not None
    assert told < 30 * 8 * 1.1


@pytest.mark.parametrize("strange", [80_000.0, 0.001])
def test_a_typical_duration_that_began_with_a_strange_one_is_right_after_a_few(strange: float) -> None:
    assert abs(math.log(_typical_of([strange] + [30.0] * 20).seconds / 30)) < 0.6
    assert abs(math.log(_typical_of([strange] + [30.0] * 100).seconds / 30)) < 0.15


def _typical_of(history: list[float]) -> Typical:
    typical = _typical(history)
    assert typical is not None
    return typical


def test_a_test_that_became_slower_is_followed() -> None:
    known = _estimate([10.0] * 50)
    runs = 0
    while known is not None and known.mean < 90:
        known = observe(known, 100.0)
        runs += 1
    assert runs < 30


def test_an_estimate_of_noisy_durations_is_near_their_mean() -> None:
    rng = random.Random(7)  # noqa: S311 - a reproducible sample
    known = _estimate([30 * math.exp(rng.gauss(0, 0.25)) for _ in range(200)])
    assert known is not None
    assert known.mean == pytest.approx(30 * math.exp(0.25**2 / 2), rel=0.15)
    assert known.deviation == pytest.approx(30 * 0.25 * 0.8, rel=0.5)


def test_a_typical_duration_is_near_the_median() -> None:
    rng = random.Random(7)  # noqa: S311 - a reproducible sample
    history = [30 * math.exp(rng.gauss(0, 0.8)) for _ in range(1000)]
    typical = _typical(history)
    assert typical is not None
    assert typical.seconds == pytest.approx(median(history), rel=0.2)


def test_the_chain_goes_from_the_group_to_the_org_to_the_fleet() -> None:
    group, org, fleet = (Typical(round(math.log(s * 1000) * 1e6), ENOUGH) for s in (10, 20, 40))
    few = Typical(group.log, ENOUGH - 1)
    assert typical_seconds((group, org), fleet) == pytest.approx(10)
    assert typical_seconds((few, org), fleet) == pytest.approx(20)
    assert typical_seconds((None, few), fleet) == pytest.approx(40)
    assert typical_seconds((None, None)) == TYPICAL_SECONDS


def test_durations_are_kept_apart_by_org_path_and_target() -> None:
    known = Durations()
    known.observe("acme", "g1", "a.py", Target.EMULATOR, 10)
    assert known.of_test("acme", "a.py", Target.EMULATOR) == 10
    assert known.of_test("acme", "a.py", Target.DEVICE) is None
    assert known.of_test("globex", "a.py", Target.EMULATOR) is None
    assert known.of_test("acme", "b.py", Target.EMULATOR) is None


def test_a_group_learns_from_its_own_and_tells_its_org() -> None:
    known = Durations()
    assert known.typical("acme", "g1") == TYPICAL_SECONDS
    for i in range(ENOUGH):
        known.observe("acme", "g1", f"{i}.py", Target.EMULATOR, 12)
    assert known.typical("acme", "g1") == pytest.approx(12)
    assert known.typical("acme", "g2") == pytest.approx(12)  # the org's
    assert known.typical("globex", "g1") == pytest.approx(12)  # the fleet's
