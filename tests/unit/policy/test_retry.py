"""Budgets of retries, and backoff with full jitter: the specification that the scripts are held against."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgjob_coordinator.model.enums import Charge
from qgjob_coordinator.policy.retry import RetryRules
from tests.fakes.retrying import backoff_ms, may_retry

RULES = RetryRules()


def test_steps_double_from_two_seconds_up_to_five_minutes() -> None:
    assert [backoff_ms(n, 1.0, RULES) // 1000 for n in range(10)] == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@given(used=st.integers(0, 10_000), share=st.floats(0, 1))
def test_a_wait_is_a_share_of_its_step(used: int, share: float) -> None:
    wait = backoff_ms(used, share, RULES)
    assert 0 <= wait <= min(RULES.cap_ms, RULES.base_ms * 2 ** min(used, 8))
    assert backoff_ms(used, 0.0, RULES) == 0


@given(used=st.integers(0, 30), low=st.floats(0, 1), high=st.floats(0, 1))
def test_a_larger_share_never_waits_less(used: int, low: float, high: float) -> None:
    low, high = sorted((low, high))
    assert backoff_ms(used, low, RULES) <= backoff_ms(used, high, RULES)


@pytest.mark.parametrize(
    ("charge", "retries_used", "infra_used", "expected"),
    [
        (Charge.TEST, 2, 5, True),
        (Charge.TEST, 3, 0, False),
        (Charge.INFRASTRUCTURE, 3, 4, True),
        (Charge.INFRASTRUCTURE, 0, 5, False),
        (Charge.NOBODY, 3, 5, True),
        (Charge.FINAL, 0, 0, False),
    ],
)
def test_a_budget_of_n_allows_n_retries_and_touches_no_other(
    charge: Charge, retries_used: int, infra_used: int, expected: bool
) -> None:
    left = may_retry(charge, retries_used=retries_used, max_retries=3, infra_used=infra_used, infra_max=5)
    assert left is expected
