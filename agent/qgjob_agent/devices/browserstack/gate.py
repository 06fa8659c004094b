"""Lets sessions of a plan begin one after another, when the plan has room for them; see plan.py for the rule."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from qgjob_agent.devices.browserstack.plan import Plan, Starts, Turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class PlanFullError(Exception):
    """The plan had no room for too long. The message says what it has, and what to do."""


class Gate:
    """`ask` gives what the plan is now; what it raises goes to whoever waits. First come, first served."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[Plan]],
        starts: Starts,
        clock: Callable[[], float],
        pause_seconds: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._pause = pause_seconds
        self._sleep = sleep
        self._turn = asyncio.Lock()
        self.starts = starts

    async def look(self) -> Plan:
        """Looks at the plan now. Errors: those of `ask`."""
        asked_at = self._clock()
        plan = await self._ask()
        self.starts.looked(plan, asked_at, self._clock())
        return plan

    async def enter(self, key: str, patience_seconds: float) -> None:
        """Returns when the session `key` may begin, at once and by whoever was let in. Raises PlanFullError."""
        try:
            async with asyncio.timeout(patience_seconds), self._turn:
                while True:
                    turn = self.starts.turn(self._clock())
                    if turn is Turn.BEGIN:
                        self.starts.allowed(key, self._clock())
                        return
                    if turn is Turn.WAIT:
                        await self._sleep(self._pause)
                    await self.look()
        except TimeoutError:
            raise PlanFullError(words(self.starts, patience_seconds)) from None

    def answered(self, key: str) -> None:
        """The session runs, or could not begin."""
        self.starts.answered(key, self._clock())

    def full(self, key: str) -> None:
        """The provider had no room for the session after all."""
        self.starts.answered(key, self._clock())
        self.starts.full(self._clock())


def words(starts: Starts, seconds: float) -> str:
    """Why nothing could begin for so long."""
    plan = starts.plan
    if plan is None:
        return f"BrowserStack did not say within {seconds:.3g} s what the plan has free"
    queued = f", {plan.queued} are queued" if plan.queued else ""
    begun = f", {starts.pending} more were begun here" if starts.pending else ""
    return (
        f"the BrowserStack plan had no free session for {seconds:.3g} s ({plan.running} of {plan.most} run{queued}"
        f"{begun}): end what others run there, or set browserstack.sessions to what is meant for this agent"
    )
