"""What counts as a measurement of a duration, in whole ms."""

from __future__ import annotations

from qgjob_coordinator.model.enums import Outcome
from qgjob_coordinator.model.jobs import TestResult

LONGEST_MS = 24 * 3600 * 1000
"""What is said to have taken longer was not measured."""

_MEASURING = frozenset({Outcome.PASSED, Outcome.TEST_FAILED})


def skipped(result: TestResult | None) -> bool:
    """Whether an attempt carried out nothing but skipped all that was in its file."""
    return result is not None and result.skipped > 0 and not result.passed and not result.failed


def measures(outcome: Outcome, result: TestResult | None) -> bool:
    """Whether an attempt took as long as its test takes; what crashed, hung, was killed or skipped did not."""
    return outcome in _MEASURING and not skipped(result)


def reported_ms(ms: int) -> int | None:
    """What an agent reports in whole ms, as a measurement; None for what can't be one: below 0, above a day.

    A test that ran took some time, also when that says 0.
    """
    return max(ms, 1) if 0 <= ms <= LONGEST_MS else None
