"""How long a test or an installation is expected to take, from what was measured before.

Two kinds of estimate, both a few whole numbers, so that a store keeps them as a short text and its scripts compute
exactly the same:

- `Estimate`, of one thing that is measured again and again: a mean that follows its changes, and a spread. Formulas and
  gains are those of RFC 6298 for round-trip times, but for the first measurements, which count alike.
- `Typical`, of many different things: about half of them take longer. Durations of tests are close to lognormal, and
  the median of a lognormal distribution is exp(mean of the logarithms), so a running mean of logarithms is all that it
  takes. A step-wise quantile estimator needs a step to be chosen, and forgets no faster than that allows.

A single measurement never moves an estimate by more than a bounded step, and what can't be a duration is no
measurement. The first ones of a test have no estimate to be measured by, so they are judged in two ways. One that is
far from what is typical is believed only in part, until the next one is like it. And while there are few, each that is
far from their mean takes one of them away, until none is left and it is the first: among the first the majority is
right. "Far" is a factor of e^2, 7.4, in all this.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from qgjob_coordinator.model.enums import Outcome, Target
from qgjob_coordinator.model.jobs import TestResult
from qgjob_coordinator.policy.snapshot import INSTALL_SECONDS, TYPICAL_SECONDS

LONGEST_MS = 24 * 3600 * 1000
"""What is said to have taken longer was not measured."""
MEAN_GAIN = 1 / 8
SPREAD_GAIN = 1 / 4
REACH_SPREADS = 4
"""A measurement further from the mean than so many spreads counts as if it were there: the K of RFC 6298."""
REACH_SHARE = 1 / 2
REACH_MS = 1000
"""... but at least this share of the mean, and at least a second, since a spread may be 0."""
TYPICAL_GAIN = 1 / 64
LOG_UNIT = 1_000_000
"""Logarithms are whole numbers of millionths."""
LOG_REACH = 2 * LOG_UNIT
"""A measurement counts as at most e^2, 7.4 times, as long or as short as the typical one."""
FAR = math.exp(LOG_REACH / LOG_UNIT)
"""The same as a factor: measurements of one test that are so far apart contradict each other."""
FEW = 3
"""So many measurements are given up, one by one, for others that contradict them. More than that are moved."""
ENOUGH = 5
"""Measurements that a group or an org needs before it tells more than the larger whole that it is part of; or before
one more is brought within reach of what it tells."""

_MEASURING = frozenset({Outcome.PASSED, Outcome.TEST_FAILED})
_MS = 1000
_K = TypeVar("_K")
_V = TypeVar("_V")


def measured_ms(seconds: float) -> int | None:
    """A measurement as whole ms; None for what can't be one: not finite, below 1 ms, above a day."""
    if not math.isfinite(seconds):
        return None
    ms = _rounded(seconds * _MS) if abs(seconds) <= LONGEST_MS else -1
    return ms if 1 <= ms <= LONGEST_MS else None


def skipped(result: TestResult | None) -> bool:
    """Whether an attempt carried out nothing but skipped all that was in its file."""
    return result is not None and result.skipped > 0 and not result.passed and not result.failed


def measures(outcome: Outcome, result: TestResult | None) -> bool:
    """Whether an attempt took as long as its test takes; what crashed, hung, was killed or skipped did not."""
    return outcome in _MEASURING and not skipped(result)


def reported_ms(ms: int) -> int | None:
    """As `measured_ms`, of what an agent reports in whole ms: a test that ran took some time, also when that says 0."""
    return max(ms, 1) if 0 <= ms <= LONGEST_MS else None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean and mean absolute deviation (ms) of `count` measurements, the newest weighing most.

    Of one measurement the deviation is half of it. Where it is not, that measurement is in doubt: it stands in place of
    the deviation, and the mean is as much of it as is believed.
    """

    mean_ms: int
    deviation_ms: int
    count: int

    @property
    def mean(self) -> float:
        """In seconds."""
        return self.mean_ms / _MS

    @property
    def deviation(self) -> float:
        """In seconds."""
        return self.deviation_ms / _MS


def observe(estimate: Estimate | None, seconds: float, typical: Typical | None = None) -> Estimate | None:
    """The estimate after one more measurement; the same one when that can't be a duration.

    mean += g * (x - mean), with g = max(1/8, 1/(count + 1)); deviation += 1/4 * (|x - mean| - deviation), with the mean
    before; x is the measurement, brought within reach of the mean. The first one gives mean x and deviation x / 2, and
    is in doubt where it is far from what is `typical` of the tests around it. While there are few, one that contradicts
    them takes one of them away.
    """
    ms = measured_ms(seconds)
    if ms is None:
        return estimate
    if estimate is None:
        return _first(ms, typical)
    mean, deviation, count = estimate.mean_ms, estimate.deviation_ms, estimate.count
    if count == 1 and deviation != mean // 2:
        mean, deviation = deviation, deviation // 2
    if count <= FEW and (ms > FAR * mean or mean > FAR * ms):
        if count == 1:
            return _first(ms, typical)
        return Estimate(mean, mean // 2 if count == 2 else deviation, count - 1)
    reach = max(REACH_SPREADS * deviation, REACH_SHARE * mean, REACH_MS)
    off = max(-reach, min(reach, ms - mean))
    gain = max(MEAN_GAIN, 1 / (count + 1))
    return Estimate(
        _rounded(mean + gain * off),
        _rounded(deviation + SPREAD_GAIN * (abs(off) - deviation)),
        count + 1,
    )


def _first(ms: int, typical: Typical | None) -> Estimate:
    """The estimate from one measurement."""
    off = 0 if typical is None else _log(ms) - typical.log
    if typical is None or abs(off) <= LOG_REACH:
        return Estimate(ms, ms // 2, 1)
    believed = typical.log + (LOG_REACH if off > 0 else -LOG_REACH)
    return Estimate(_rounded(math.exp(believed / LOG_UNIT)), ms, 1)


@dataclass(frozen=True, slots=True)
class Typical:
    """Mean of the logarithms of `count` measurements in ms, in millionths."""

    log: int
    count: int

    @property
    def seconds(self) -> float:
        """The median."""
        return math.exp(self.log / LOG_UNIT) / _MS


def observe_typical(typical: Typical | None, seconds: float) -> Typical | None:
    """The typical duration after one more measurement; the same one when that can't be a duration.

    log += g * (ln x - log), with g = max(1/64, 1/(count + 1)), and ln x brought within reach of log once that was
    measured often enough: who reaches for a strange first one takes long to leave it.
    """
    ms = measured_ms(seconds)
    if ms is None:
        return typical
    log = _log(ms)
    if typical is None:
        return Typical(log, 1)
    off = log - typical.log
    if typical.count >= ENOUGH:
        off = max(-LOG_REACH, min(LOG_REACH, off))
    gain = max(TYPICAL_GAIN, 1 / (typical.count + 1))
    return Typical(_rounded(typical.log + gain * off), typical.count + 1)


def expected(test: Estimate | None, wholes: Iterable[Typical | None], fleet: Typical | None = None) -> float:
    """What a test is expected to take (s): by itself, else by the first of the wholes that was measured often enough.

    `wholes` are its group and its org. Else the fleet's typical duration, else that of a fleet that has run nothing.
    """
    return test.mean if test is not None else typical_seconds(wholes, fleet)


def typical_seconds(wholes: Iterable[Typical | None], fleet: Typical | None = None) -> float:
    """What a test of which nothing is known is expected to take (s); arguments as in `expected`."""
    whole = known_whole(wholes) or fleet
    return TYPICAL_SECONDS if whole is None else whole.seconds


def known_whole(wholes: Iterable[Typical | None]) -> Typical | None:
    """The first of the wholes that was measured often enough."""
    return next((whole for whole in wholes if whole is not None and whole.count >= ENOUGH), None)


@dataclass
class Durations:
    """All that is known of durations, in memory: what the store keeps, for simulations and as its model."""

    _tests: dict[tuple[str, str, Target], Estimate] = field(default_factory=dict)
    _groups: dict[tuple[str, str], Typical] = field(default_factory=dict)
    _orgs: dict[str, Typical] = field(default_factory=dict)
    _fleet: Typical | None = None
    _installs: dict[Target, Estimate] = field(default_factory=dict)

    def observe(self, org_id: str, gid: str, test_path: str, target: Target, seconds: float) -> None:
        """A test ran for so long. What can't be a duration is passed over."""
        test = (org_id, test_path, target)
        _keep(self._tests, test, observe(self._tests.get(test), seconds, known_whole(self.wholes(org_id, gid))))
        _keep(self._groups, (org_id, gid), observe_typical(self._groups.get((org_id, gid)), seconds))
        _keep(self._orgs, org_id, observe_typical(self._orgs.get(org_id), seconds))
        self._fleet = observe_typical(self._fleet, seconds)

    def observe_install(self, target: Target, seconds: float) -> None:
        """An installation on a device of the target took so long."""
        _keep(self._installs, target, observe(self._installs.get(target), seconds))

    def estimate(self, org_id: str, test_path: str, target: Target) -> Estimate | None:
        """What is known of a test itself."""
        return self._tests.get((org_id, test_path, target))

    def of_test(self, org_id: str, test_path: str, target: Target) -> float | None:
        """What a test is expected to take by its own history (s)."""
        known = self._tests.get((org_id, test_path, target))
        return None if known is None else known.mean

    def typical(self, org_id: str, gid: str) -> float:
        """What a test of a group is expected to take of which nothing is known (s)."""
        return typical_seconds(self.wholes(org_id, gid), self._fleet)

    def wholes(self, org_id: str, gid: str) -> tuple[Typical | None, Typical | None]:
        """What is known of a group and of its org."""
        return self._groups.get((org_id, gid)), self._orgs.get(org_id)

    def forget_group(self, org_id: str, gid: str) -> None:
        """The group has no jobs any more."""
        self._groups.pop((org_id, gid), None)

    def install_seconds(self, target: Target) -> float:
        """What an installation on a device of the target is expected to take (s)."""
        known = self._installs.get(target)
        return INSTALL_SECONDS if known is None else known.mean


def _keep(kept: dict[_K, _V], key: _K, value: _V | None) -> None:
    if value is not None:
        kept[key] = value


def _log(ms: int) -> int:
    return _rounded(math.log(ms) * LOG_UNIT)


def _rounded(x: float) -> int:
    return math.floor(x + 0.5)
