"""One run at a time of what many ask for at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Answers of `run`, which never runs beside itself. Whoever waits gets its error; one that goes away ends nothing.

    All callers belong to one event loop.
    """

    def __init__(self, run: Callable[[], Awaitable[T]], name: str) -> None:
        self._run = run
        self._name = name
        self._flight: asyncio.Task[T] | None = None
        self._begun = self._ended = float("-inf")
        self._answer: T | None = None

    async def get(self, max_age_seconds: float) -> T:
        """The answer of the run under way, or of one that ended less than so long ago; 0: of one that begins now."""
        called = time.monotonic()
        while True:
            if self._answer is not None and time.monotonic() - self._ended < max_age_seconds:
                return self._answer
            flight = self._flight
            if flight is None:
                flight = self._start()
            elif max_age_seconds <= 0 and self._begun < called:
                await asyncio.wait((flight,))
                continue
            return await asyncio.shield(flight)

    def _start(self) -> asyncio.Task[T]:
        self._begun = time.monotonic()
        self._flight = flight = asyncio.create_task(self._fly(), name=self._name)
        flight.add_done_callback(_seen)
        return flight

    async def _fly(self) -> T:
        try:
            self._answer = answer = await self._run()
            self._ended = time.monotonic()
            return answer
        finally:
            self._flight = None


def _seen(flight: asyncio.Task[T]) -> None:
    """Those who waited have the error, if any did."""
    if not flight.cancelled():
        flight.exception()
