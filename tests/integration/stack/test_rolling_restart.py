"""Coordinators end in turn while jobs flow. `python -m tests.rolling_restart` does it more often and prints figures."""

from __future__ import annotations

from tests.chaos.bounds import AGENTS_SERVED, SERVED
from tests.fakes.stack import Stack
from tests.rolling_restart import in_turn


async def test_coordinators_that_end_in_order_cost_no_attempt(stack: Stack, org: str) -> None:
    figures = await in_turn(stack, org, 2)
    assert figures.acknowledged == len(figures.jobs)
    assert set(figures.outcomes) == {"passed"}
    assert figures.attempts == len(figures.jobs)
    assert min(figures.running) > 0
    assert max(figures.served) < SERVED.within(stack.times)


async def test_clients_and_agents_of_a_killed_coordinator_are_served_within_a_session_timeout(
    stack: Stack, org: str
) -> None:
    figures = await in_turn(stack, org, 2, kill=True)
    assert figures.acknowledged == len(figures.jobs)
    assert set(figures.outcomes) == {"passed"}
    assert figures.begun == len(figures.jobs)
    assert max(figures.served) < AGENTS_SERVED.within(stack.times)
    assert max(figures.calls) < SERVED.within(stack.times)
