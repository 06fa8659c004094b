"""One clock for coordinators and agents, which goes on only when a machine says so; so do pauses and deadlines."""

from __future__ import annotations

import asyncio
from itertools import count
from types import SimpleNamespace
from typing import Any

from qgjob_coordinator.service.agents.health.watch import HealthWatch


class Clocks:
    """The clocks of all coordinators: `wall` in ms, `monotonic` in s."""

    def __init__(self, wall: int) -> None:
        self.wall = wall
        self.monotonic = 1000.0

    def install(self, patch: Any) -> None:
        """Has the coordinators' code look at these clocks, throw no dice, and judge no device."""
        home = "qgjob_coordinator"
        prefixes = count(1)
        patch.setattr(f"{home}.service.clock.STORE_CLOCK", _StoreClock(self))
        patch.setattr(f"{home}.loops.reaper.time", SimpleNamespace(monotonic=lambda: self.monotonic))
        patch.setattr(f"{home}.service.tokens.secrets", SimpleNamespace(token_urlsafe=lambda _: f"t{next(prefixes)}."))
        patch.setattr(f"{home}.service.agents.live.HealthWatch", _JudgesNobody)
        patch.setattr("random.random", lambda: 0.25)

    def loop(self) -> asyncio.AbstractEventLoop:
        """A loop in which pauses and deadlines go by this clock."""
        return _Loop(self)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clocks: Clocks) -> None:
        super().__init__()
        self._clocks = clocks

    def time(self) -> float:
        return self._clocks.monotonic


class _StoreClock:
    held_ms = 0

    def __init__(self, clocks: Clocks) -> None:
        self.now_ms = lambda: clocks.wall


class _JudgesNobody(HealthWatch):
    """Keeps its books and never looks at them."""

    def _begin(self) -> None:
        pass

    async def close(self) -> None:
        pass
