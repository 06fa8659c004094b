"""Cancelled trees and restarted agents, in small numbers; `python -m tests.trees` has the large ones."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.waiting import BUSY_SECONDS
from tests.trees import cancelled, restarted
from tests.trees.kinds import KINDS, kind_of

TREES = 40
DEVICES = 8


def test_all_kinds_are_among_them() -> None:
    assert {kind_of(number) for number in range(TREES)} == set(KINDS)


async def test_p5_of_cancelled_trees_nothing_lives_when_their_end_is_reported(tmp_path: Path) -> None:
    found = await cancelled.measure(tmp_path, TREES, DEVICES, 0.5)
    assert found.survivors == []
    assert len(found.seconds) == TREES
    assert found.p99 < found.bound_seconds + BUSY_SECONDS


async def test_p9_a_restarted_agent_adopts_and_releases_within_a_session_timeout(tmp_path: Path) -> None:
    found = await restarted.measure(tmp_path, 2, DEVICES)
    assert found.survivors == []
    assert max(found.adopted + found.released) < restarted.SESSION_SECONDS
