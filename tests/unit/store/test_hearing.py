"""What one connection to a server says of the others."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from qgjob_coordinator.store import sockets
from qgjob_coordinator.store.sockets import Hearing, ServerConnection


class Waiting:
    """A connection on which something was heard last at a time."""

    def __init__(self, heard_at: float) -> None:
        self.heard_at = heard_at
        self.aborted = asyncio.Event()

    def abort(self) -> None:
        self.aborted.set()


async def test_an_answer_ends_only_what_was_silent_since_before_the_failure_that_it_came_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another failure may come before they are told: of that nobody knows yet whether the store is there."""
    monkeypatch.setattr(sockets, "GRACE_SECONDS", 0.01)
    hearing, before, later = Hearing(), Waiting(1.0), Waiting(3.0)
    for one in (before, later):
        hearing.waits(cast(ServerConnection, one))
    hearing.failed(2.0)
    hearing.ended(cast(ServerConnection, Waiting(3.5)), heard=True)
    hearing.failed(4.0)
    await asyncio.wait_for(before.aborted.wait(), 10)
    assert not later.aborted.is_set()
