"""Waiting for what has no event to wait on: files, processes, another process's answers. Always with a deadline."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

DEADLINE_SECONDS = 60.0
"""For what comes in a moment, if not much else runs. Where a mutant is to be seen it is shorter, so it is looked up."""
BUSY_SECONDS = 2.0
"""What a busy machine may add to a bound that the product promises."""
POLL_SECONDS = 0.02
POLL_MOST_SECONDS = 0.2
POLL_SHARE = 0.05
"""Of the time that it has taken: what takes long is asked more rarely, and leaves the machine to what it waits for."""


async def until(look: Callable[[], Any], what: str | Callable[[], str], *, seconds: float | None = None) -> Any:
    """The first truthy answer of `look`, sync or async. Raises AssertionError saying `what` did not happen."""
    patience = DEADLINE_SECONDS if seconds is None else seconds
    begun = time.monotonic()
    while True:
        answer = look()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        waited = time.monotonic() - begun
        if waited > patience:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"after {patience:g} s: {text}")
        await asyncio.sleep(pause_after(waited))


def pause_after(waited: float) -> float:
    """How long to pause between two looks after so many seconds."""
    return min(POLL_MOST_SECONDS, max(POLL_SECONDS, POLL_SHARE * waited))
