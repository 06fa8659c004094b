"""Backoff with full jitter."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qgjob_coordinator.policy.retry import BASE_MS, CAP_MS, backoff_ms


def test_steps_double_from_two_seconds_up_to_five_minutes() -> None:
    assert [backoff_ms(n, 1.0) // 1000 for n in range(10)] == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@given(used=st.integers(0, 10_000), share=st.floats(0, 1))
def test_a_wait_is_a_share_of_its_step(used: int, share: float) -> None:
    wait = backoff_ms(used, share)
    assert 0 <= wait <= min(CAP_MS, BASE_MS * 2 ** min(used, 8))
    assert backoff_ms(used, 0.0) == 0


@given(used=st.integers(0, 30), low=st.floats(0, 1), high=st.floats(0, 1))
def test_a_larger_share_never_waits_less(used: int, low: float, high: float) -> None:
    low, high = sorted((low, high))
    assert backoff_ms(used, low) <= backoff_ms(used, high)
