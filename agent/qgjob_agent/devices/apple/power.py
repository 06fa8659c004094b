"""Boots and erases simulators; one thing at a time with each."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from qgjob_agent.core.values import Outcome
from qgjob_agent.devices.apple.xcrun import last_words
from qgjob_agent.devices.refusals import DeviceSilentError, InstallRefusedError
from qgjob_agent.host.program import HostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from qgjob_agent.devices.apple.settings import AppleSettings
    from qgjob_agent.devices.apple.xcrun import Xcrun

FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 300.0
BOOTS_AT_A_TIME = 2
"""Booting takes all that a host has for a while: more at a time would only all take longer than they may."""


class Power:
    """`busy` has the udids of simulators that are being erased, whose states are no news meanwhile."""

    def __init__(self, xcrun: Xcrun, settings: AppleSettings, log: Any) -> None:
        self._xcrun = xcrun
        self._settings = settings
        self._log = log
        self._locks: dict[str, asyncio.Lock] = {}
        self._booting: set[str] = set()
        self._room = asyncio.Semaphore(BOOTS_AT_A_TIME)
        self._pauses: dict[str, float] = {}
        self.busy: set[str] = set()
        self.owed: set[str] = set()
        """Those that were shut down here to be erased, until they are booted again, whatever became of that."""
        self.failed: dict[str, str] = {}
        """Why a simulator could not be booted when that was tried last."""

    def booting(self, udid: str) -> bool:
        """Whether it is being booted, or waits for the next try."""
        return udid in self._booting

    async def boot(self, udid: str) -> None:
        """Boots it, once, and waits until it is up. After a failure a pause follows, a longer one each time."""
        self._booting.add(udid)
        try:
            async with self._lock(udid):
                problem = await self._boot(udid)
            if problem is None:
                self.failed.pop(udid, None)
                self._pauses.pop(udid, None)
                self._log.info("simulator_booted", udid=udid)
                return
            if udid not in self.failed:
                self._log.warning("simulator_not_booted", udid=udid, error=problem)
            self.failed[udid] = problem
            pause = self._pauses.get(udid, FIRST_PAUSE_SECONDS)
            self._pauses[udid] = min(2 * pause, LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause)
        finally:
            self._booting.discard(udid)

    async def erase(self, udid: str) -> None:
        """Erases it and boots it again. Errors: InstallRefusedError."""
        async with self._lock(udid), self._unseen(udid):
            self.owed.add(udid)
            try:
                await self._must("shutdown", udid, unless="in current state: shutdown")
                await self._must("erase", udid)
            except DeviceSilentError as error:
                raise InstallRefusedError(Outcome.DEVICE_ERROR, f"the simulator can't be erased: {error}") from error
            except HostError as error:
                raise InstallRefusedError(Outcome.PROVIDER_ERROR, str(error)) from error
            problem = await self._boot(udid)
            if problem is not None:
                text = f"the simulator was erased and can't be booted: {problem}"
                raise InstallRefusedError(Outcome.DEVICE_ERROR, text)
            self._log.info("simulator_erased", udid=udid)

    async def _boot(self, udid: str) -> str | None:
        """Why it could not be booted."""
        try:
            async with self._room:
                ended = await self._xcrun.simctl("bootstatus", udid, "-b", seconds=self._settings.boot_seconds)
        except (DeviceSilentError, HostError) as error:
            return str(error)
        if ended.code != 0:
            return last_words(ended)
        self.owed.discard(udid)
        return None

    async def _must(self, verb: str, udid: str, unless: str | None = None) -> None:
        ended = await self._xcrun.simctl(verb, udid, seconds=self._settings.boot_seconds)
        if ended.code != 0 and (unless is None or unless not in last_words(ended).lower()):
            raise DeviceSilentError(f"`xcrun simctl {verb}` failed: {last_words(ended)}")

    def _lock(self, udid: str) -> asyncio.Lock:
        return self._locks.setdefault(udid, asyncio.Lock())

    @asynccontextmanager
    async def _unseen(self, udid: str) -> AsyncIterator[None]:
        self.busy.add(udid)
        try:
            yield
        finally:
            self.busy.discard(udid)
