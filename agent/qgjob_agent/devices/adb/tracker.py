"""Follows the adb server's list of devices for as long as the agent lives, whatever becomes of that server."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from qgjob_agent.devices.adb.client import AdbServerAwayError
from qgjob_agent.devices.adb.protocol import AdbProtocolError, AdbRefusedError
from qgjob_agent.devices.adb.server import LOCAL
from qgjob_agent.devices.adb.settings import ADVICE
from qgjob_agent.host.program import ProgramError, run_program

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgjob_agent.devices.adb.client import AdbClient
    from qgjob_agent.devices.adb.protocol import Listed
    from qgjob_agent.devices.adb.settings import AdbSettings

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
ALIVE_SECONDS = 10.0
"""A server that hangs keeps the connection of the list open and says nothing, so it is asked for its version."""
_START_SECONDS = 20.0


class Tracker:
    """Tells each list of devices, and None when it can't see any more; the list that follows is of another server.

    A server that is not there is started, where it is to be on this host. The log has one line when the sight is lost,
    and one when it is there.
    """

    def __init__(
        self, client: AdbClient, settings: AdbSettings, tell: Callable[[list[Listed] | None], None], log: Any
    ) -> None:
        self._client = client
        self._settings = settings
        self._tell = tell
        self._log = log
        self._sees: bool | None = None  # None: nothing was said yet
        self._pause = FIRST_PAUSE_SECONDS

    async def run(self) -> None:
        """Follows for ever."""
        while True:
            why = await self._follow()
            if self._sees:
                self._blind(why)
                self._pause = FIRST_PAUSE_SECONDS
            unstarted = await self._start()
            if unstarted is not None:
                self._blind(unstarted)
            elif self._pause > FIRST_PAUSE_SECONDS:
                self._blind(why)
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    async def _follow(self) -> str:
        """Until the server is gone, or hangs. Gives the reason."""
        following = asyncio.create_task(self._lists(), name="adb_devices")
        asking = asyncio.create_task(self._until_silent(), name="adb_alive")
        try:
            done, _ = await asyncio.wait([following, asking], return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in (following, asking):
                task.cancel()
            await asyncio.gather(following, asking, return_exceptions=True)

    async def _lists(self) -> str:
        try:
            async with aclosing(self._client.follow()) as lists:
                async for listed in lists:
                    self._seen()
                    self._tell(listed)
        except (AdbServerAwayError, AdbProtocolError, AdbRefusedError) as error:
            return str(error)
        return f"the adb server at {self._client.host}:{self._client.port} ended"

    async def _until_silent(self) -> str:
        while True:
            await asyncio.sleep(ALIVE_SECONDS)
            try:
                await self._client.version()
            except (AdbServerAwayError, AdbProtocolError, AdbRefusedError) as error:
                return str(error)

    async def _start(self) -> str | None:
        """Has adb start its server, if none answers. Gives why it could not, or None."""
        if self._settings.host not in LOCAL:
            return None
        try:
            await self._client.version()
        except AdbServerAwayError:
            pass
        except (AdbProtocolError, AdbRefusedError) as error:
            return f"what listens at {self._client.host}:{self._client.port} is no adb server: {error}"
        else:
            return None
        argv = [self._settings.adb, "-P", str(self._settings.port), "start-server"]
        try:
            ended = await run_program(argv, self._settings.environ, _START_SECONDS, advice=ADVICE)
        except ProgramError as error:
            return str(error)
        if ended.code == 0:
            return None
        how = f"did not end in {_START_SECONDS:g} s" if ended.code is None else f"ended with {ended.code}"
        return f"`{' '.join(argv)}` {how}: {' '.join(ended.output.split())}"

    def _seen(self) -> None:
        self._pause = FIRST_PAUSE_SECONDS
        if not self._sees:
            self._sees = True
            self._log.info("adb_sees", server=f"{self._client.host}:{self._client.port}")

    def _blind(self, why: str) -> None:
        if self._sees is not False:
            self._log.warning("adb_blind", error=why)
            if self._sees:
                self._tell(None)
            self._sees = False
