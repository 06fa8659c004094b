"""Lets sessions of a plan begin one after another, when the plan has room for them; see plan.py for the rule."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from qgjob_agent.devices.browserstack.errors import CloudAwayError, CloudError
from qgjob_agent.devices.browserstack.plan import Plan, Starts, Turn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


LOOK_SECONDS = 5.0
"""A look that is not answered by then has failed."""
SEND_SECONDS = 5.0
"""A start whose request has not gone out by then must not: others no longer wait for it."""
_UNTOLD = "BrowserStack has not said what the plan has free"


class NoTurnError(Exception):
    """A session could not begin for too long. The message says why: no room, or a plan that can't be looked at.

    `room`: there was some in the end, and nobody before it. Why its last try failed says more, if there was one.
    """

    def __init__(self, message: str, *, room: bool = False) -> None:
        super().__init__(message)
        self.room = room


class Start:
    """A session that may begin, once its request goes out soon."""

    def __init__(self, key: str, starts: Starts, clock: Callable[[], float]) -> None:
        self._key = key
        self._starts = starts
        self._clock = clock
        self._out = asyncio.Event()
        self._late = asyncio.get_running_loop().call_later(SEND_SECONDS, self._out.set)
        starts.allowed(key, clock())

    def may_go(self) -> bool:
        """Whether the request may still go out. To be asked when it does: connecting takes as long as it takes."""
        return not self._out.is_set()

    def sent(self) -> None:
        """The request is on its way: looks and other starts need not wait for it any more."""
        self._late.cancel()
        self._out.set()

    async def out(self) -> None:
        """Returns when the request is on its way, or may not go out any more."""
        await self._out.wait()

    def answered(self) -> None:
        """The session runs, or has ended, or is taken for one that could not begin."""
        self.sent()
        self._starts.answered(self._key, self._clock())

    def full(self) -> None:
        """The provider had no room for the session after all."""
        self.answered()
        self._starts.full(self._clock())


class Gate:
    """Looks at the plan, and lets sessions begin: one thing at a time, first come, first served.

    A look is over when it is answered or has taken LOOK_SECONDS, a start when its request is on its way or has taken
    SEND_SECONDS, after which it may not go out. So none begins while a look is under way that may show a full plan,
    and after a look that has failed none begins before another one. `ask` is one try to learn what the plan is now.
    `calm` returns when BrowserStack may be asked at all.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[Plan]],
        starts: Starts,
        clock: Callable[[], float],
        pause_seconds: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        calm: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._pause = pause_seconds
        self._sleep = sleep
        self._calm = calm
        self._turn = asyncio.Lock()
        self._lock = asyncio.Lock()
        self._start: Start | None = None  # the last one that was let in
        self._asked = self._answered = 0  # looks
        self._known = False  # the last look that was asked for has been answered with a plan
        self._error: CloudError | None = None  # of the last look that came to an end
        self.starts = starts

    async def look(self) -> Plan:
        """Looks at the plan now. What looks wait for their turn together are one. Errors: those of `ask`."""
        before = self._asked
        async with self._alone():
            if self._answered <= before:
                await self._look()
            plan = self.starts.plan
            if not self._known or plan is None:
                raise self._error or CloudAwayError(_UNTOLD)
            return plan

    async def enter(self, key: str, patience_seconds: float, waited_seconds: float = 0.0) -> Start:
        """Returns when the session `key` may begin, at once and by whoever was let in.

        Waits also while BrowserStack does not say what the plan has. `waited_seconds`: what it waited before, to be
        told with the rest. Raises NoTurnError, and the errors of `ask` that do not pass.
        """
        answered, failed = self._answered, False
        others = self._turn.locked()  # have it before this one
        try:
            async with asyncio.timeout(patience_seconds), self._turn:
                while True:
                    async with self._alone():
                        turn = self.starts.turn(self._clock()) if self._known else Turn.LOOK
                        if turn is Turn.BEGIN:
                            self._start = Start(key, self.starts, self._clock)
                            return self._start
                    if failed or turn is Turn.WAIT:
                        await self._sleep(self._pause)
                    try:
                        await self.look()
                        failed = False
                    except CloudAwayError:
                        failed = True
        except TimeoutError:
            others = others or (self._start is not None and self._start.may_go())
            raise self._no_turn(patience_seconds + waited_seconds, answered, others=others) from None

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Nothing else of this agent is on its way to the plan or back, and something may be."""
        async with self._lock:
            if self._start is not None:
                await self._start.out()
            if self._calm is not None:
                await self._calm()
            yield

    async def _look(self) -> None:
        self._asked += 1
        number, asked_at = self._asked, self._clock()
        self._known = False  # also if nobody waits for the answer any more
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                plan = await self._ask()
        except TimeoutError:
            self._error = CloudAwayError(f"BrowserStack does not say within {LOOK_SECONDS:g} s what the plan has free")
        except CloudError as error:
            self._error = error
        else:
            self.starts.looked(plan, asked_at, self._clock())
            self._known, self._error = True, None
        self._answered = number

    def _no_turn(self, seconds: float, answered: int, *, others: bool) -> NoTurnError:
        """Why nothing could begin for so long, before which so many looks had been answered."""
        starts, plan = self.starts, self.starts.plan
        blind = self._answered == answered and starts.turn(self._clock()) is Turn.LOOK
        if self._error is not None or blind:
            return NoTurnError(f"{self._error or _UNTOLD}; no session could begin for {seconds:.3g} s")
        if plan is None or (starts.room > 0 and others):
            return NoTurnError(f"other sessions of this agent were before this one for {seconds:.3g} s")
        if starts.room > 0:
            why = f"the BrowserStack plan had a free session only at the end of {seconds:.3g} s"
            return NoTurnError(why, room=True)
        if plan.free > 0:  # what was begun here alone keeps it
            return NoTurnError(
                f"no session could begin for {seconds:.3g} s: the BrowserStack plan shows {plan.running} of {plan.most}"
                f" that run, and {starts.pending} more that were begun here, whose beginning was not answered, are"
                " counted still"
            )
        queued = f", {plan.queued} are queued" if plan.queued else ""
        begun = f", {starts.pending} more were begun here" if starts.pending else ""
        return NoTurnError(
            f"the BrowserStack plan had no free session for {seconds:.3g} s ({plan.running} of {plan.most} run{queued}"
            f"{begun}): end what others run there, or set browserstack.sessions to what is meant for this agent"
        )
