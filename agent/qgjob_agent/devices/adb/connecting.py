"""Keeps devices on the network connected to the adb server, which forgets them when it ends or they stay away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.devices.adb.client import AdbServerAwayError
from qgjob_agent.devices.adb.protocol import AdbProtocolError, AdbRefusedError
from qgjob_agent.devices.adb.says import unconnected_why

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from qgjob_agent.devices.adb.client import AdbClient

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
LIST_SECONDS = 5.0
"""How soon a device is in the list that the server says is connected."""


class Connector:
    """Has the server connect to each address that it does not list, for as long as the agent lives.

    One that is listed is left to the server, whatever its state: it tries again by itself for a minute when it loses
    one. The log has one line when an address can't be connected, and one when it is there.
    """

    def __init__(self, client: AdbClient, addresses: Sequence[str], log: Any) -> None:
        self._client = client
        self._log = log
        self._shown: Collection[str] | None = None
        self._servers = 0  # a number for each life of the server
        self._news = asyncio.Event()  # a new one for each list
        self._there: dict[str, bool | None] = dict.fromkeys(addresses)  # as it was told; None: not yet

    def listed(self, serials: Collection[str] | None) -> None:
        """What the server lists; None: it is away, and the list that follows is of another one."""
        if serials is not None and self._shown is None:
            self._servers += 1
        self._shown = serials
        for address, told in self._there.items():
            if serials is not None and address in serials and not told:
                self._there[address] = True
                self._log.info("adb_connected", address=address)
        self._news.set()
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Keeps all of them, each beside the others: one that does not answer takes its time."""
        await asyncio.gather(*(self._keep(address) for address in self._there))

    async def _keep(self, address: str) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            pause = await self._round(address, pause)

    async def _round(self, address: str, pause: float) -> float:
        """Has one connected that is missing, and waits until that may be needed again; gives the next round's pause."""
        await self._until(lambda: self._is_missing(address))
        server, begun = self._servers, monotonic_seconds()
        why = await self._connect(address)
        if why is None:
            await self._until(lambda: self._servers != server or self._is_missing(address))
            if monotonic_seconds() - begun >= LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
        elif self._is_missing(address):
            self._missing(address, why)
        new = await self._until(lambda: self._servers != server, pause)
        return FIRST_PAUSE_SECONDS if new else min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _is_missing(self, address: str) -> bool:
        return self._shown is not None and address not in self._shown

    async def _connect(self, address: str) -> str | None:
        """Gives why it is not listed then."""
        try:
            why = unconnected_why(await self._client.connect(address))
        except (AdbProtocolError, AdbRefusedError) as error:
            why = str(error)
        except AdbServerAwayError as error:  # its end may be told in a moment, and is no matter of this device
            await self._until(lambda: not self._is_missing(address), LIST_SECONDS)
            return str(error)
        if why is None and not await self._until(lambda: not self._is_missing(address), LIST_SECONDS):
            why = "the adb server says that it is connected, and does not list it"
        return why

    def _missing(self, address: str, why: str) -> None:
        if self._there[address] is not False:
            self._there[address] = False
            self._log.warning("adb_unconnected", address=address, error=why)

    async def _until(self, wanted: Callable[[], bool], seconds: float | None = None) -> bool:
        """Waits until a list makes it so. False where it does not for so long."""
        try:
            async with asyncio.timeout(seconds):
                while not wanted():
                    await self._news.wait()
        except TimeoutError:
            return False
        return True
