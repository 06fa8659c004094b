"""Lets sessions of a plan begin one after another, when the plan has room for them; see plan.py for the rule."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from qgjob_agent.devices.browserstack.plan import Plan, Starts, Turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


SEND_SECONDS = 5.0
"""A start whose request is not sent by then keeps looks and other starts from their turn no longer."""


class PlanFullError(Exception):
    """The plan had no room for too long. The message says what it has, and what to do."""


class Gate:
    """`ask` gives what the plan is now; what it raises goes to whoever waits. First come, first served.

    A look and the beginning of a session never overtake each other: one that is to begin waits for a look under way,
    which may show that there is no room any more, and none is asked until the request for the session is sent.
    """

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
        self._asking = asyncio.Lock()
        self._sending: tuple[str, asyncio.TimerHandle] | None = None
        self.starts = starts

    async def look(self) -> Plan:
        """Looks at the plan now. Errors: those of `ask`."""
        async with self._asking:
            asked_at = self._clock()
            plan = await self._ask()
            self.starts.looked(plan, asked_at, self._clock())
        return plan

    async def enter(self, key: str, patience_seconds: float) -> None:
        """Returns when the session `key` may begin, at once and by whoever was let in, who tells `sent` after that.

        Raises PlanFullError.
        """
        try:
            async with asyncio.timeout(patience_seconds), self._turn:
                while True:
                    await self._asking.acquire()
                    turn = self.starts.turn(self._clock())
                    if turn is Turn.BEGIN:
                        self.starts.allowed(key, self._clock())
                        late = asyncio.get_running_loop().call_later(SEND_SECONDS, self.sent, key)
                        self._sending = (key, late)
                        return
                    self._asking.release()
                    if turn is Turn.WAIT:
                        await self._sleep(self._pause)
                    await self.look()
        except TimeoutError:
            raise PlanFullError(words(self.starts, patience_seconds)) from None

    def sent(self, key: str) -> None:
        """The request for the session is on its way. A key that is not known means nothing."""
        if self._sending is not None and self._sending[0] == key:
            self._sending[1].cancel()
            self._sending = None
            self._asking.release()

    def answered(self, key: str) -> None:
        """The session runs, or could not begin."""
        self.sent(key)
        self.starts.answered(key, self._clock())

    def full(self, key: str) -> None:
        """The provider had no room for the session after all."""
        self.sent(key)
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
