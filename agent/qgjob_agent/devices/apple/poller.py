"""Asks for a list of devices again and again, for as long as the agent lives: Xcode's programs tell no changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from qgjob_agent.devices.refusals import DeviceSilentError
from qgjob_agent.host.program import HostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class Poller(Generic[T]):
    """Tells each list, and None when it can't be had any more. One program at a time, and a pause between two.

    The log has one line when the sight is lost, and one when it is there.
    """

    def __init__(
        self,
        what: str,
        ask: Callable[[], Awaitable[T]],
        tell: Callable[[T | None], None],
        pause_seconds: float,
        log: Any,
    ) -> None:
        self._what = what
        self._ask = ask
        self._tell = tell
        self._pause = pause_seconds
        self._log = log
        self._sees: bool | None = None  # None: nothing was said yet

    async def run(self) -> None:
        """Asks for ever."""
        while True:
            try:
                listed = await self._ask()
            except (DeviceSilentError, HostError) as error:
                self._blind(str(error))
            else:
                if not self._sees:
                    self._sees = True
                    self._log.info("apple_sees", what=self._what)
                self._tell(listed)
            await asyncio.sleep(self._pause)

    def _blind(self, why: str) -> None:
        if self._sees is not False:
            self._log.warning("apple_blind", what=self._what, error=why)
            if self._sees:
                self._tell(None)
            self._sees = False
