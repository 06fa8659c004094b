"""Whether calls should be sent here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qgjob_coordinator.errors import ConfigError, StoreUnavailableError
from qgjob_coordinator.policy.diagnosis.store import to_do

PROBE_SECONDS = 2.0
"""A store that has not answered by then is away, as far as a probe can wait."""


@dataclass(frozen=True, slots=True)
class StoreView:
    """The store as a probe found it; `fault` is None when it answers and takes writes."""

    fault: str | None
    version: str | None = None
    latency_ms: float | None = None

    @property
    def told(self) -> str | None:
        """The fault, and what whoever runs the coordinator can do about it."""
        return None if self.fault is None else "; ".join(to_do(self.fault))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Ready when there is no reason against it."""

    store: StoreView
    reasons: tuple[str, ...]
    stopping: bool = False

    @property
    def ready(self) -> bool:
        """Whether calls should be sent here."""
        return not self.reasons


class Readiness:
    """Asks the store. Probes that come together share one question: they can't pile up on a store that hangs."""

    def __init__(self, check: Callable[[], Awaitable[Mapping[str, Any]]], draining: Callable[[], bool]) -> None:
        self._check = check
        self._draining = draining
        self._asked: asyncio.Task[StoreView] | None = None

    async def look(self) -> Verdict:
        """The verdict now, after PROBE_SECONDS at most."""
        store = await self._store()
        reasons = [f"store: {store.told}"] if store.fault else []
        stopping = self._draining()
        if stopping:
            reasons.append("the coordinator is stopping; use another one")
        return Verdict(store, tuple(reasons), stopping)

    async def close(self) -> None:
        """Ends a question that is still open."""
        if self._asked is not None:
            self._asked.cancel()
            await asyncio.gather(self._asked, return_exceptions=True)

    async def _store(self) -> StoreView:
        if self._asked is None or self._asked.done():
            self._asked = asyncio.create_task(self._ask(), name="readiness")
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await asyncio.shield(self._asked)
        except TimeoutError:
            return StoreView(f"did not answer within {PROBE_SECONDS:g} s")

    async def _ask(self) -> StoreView:
        begun = time.perf_counter()
        try:
            info = await self._check()
        except (StoreUnavailableError, ConfigError) as e:
            return StoreView(e.message)
        return StoreView(None, str(info["redis_version"]), round((time.perf_counter() - begun) * 1000, 3))
