"""Waiting for what has no event to wait on: files, processes, another process's answers. Always with a deadline."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

DEADLINE_SECONDS = 20.0
POLL_SECONDS = 0.02


async def until(look: Callable[[], Any], what: str | Callable[[], str], *, seconds: float = DEADLINE_SECONDS) -> Any:
    """The first truthy answer of `look`, sync or async. Raises AssertionError saying `what` did not happen."""
    deadline = time.monotonic() + seconds
    while True:
        answer = look()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() > deadline:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"after {seconds:g} s: {text}")
        await asyncio.sleep(POLL_SECONDS)
