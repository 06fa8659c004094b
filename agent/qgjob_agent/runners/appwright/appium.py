"""The one Appium of this host: found where it is set, or started on demand and kept over restarts of the agent."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psutil

from qgjob_agent.host.listening import LOOPBACK, listens, who_listens
from qgjob_agent.host.plain_file import put_text, text_of
from qgjob_agent.hub_address import Address
from qgjob_agent.runners.appwright.appium_log import AppiumLog
from qgjob_agent.runners.appwright.appium_reason import reason_in
from qgjob_agent.runners.appwright.hub import answers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from qgjob_agent.runners.appwright.appium_settings import AppiumSettings

PLAIN_PORT = 4723
"""Where AppWright looks for Appium when nobody tells it another place."""
_START_SECONDS = 60.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.1
BUSY_SECONDS = 60.0
"""For one that tests have to answer again, as on a host that is short of breath."""
_LAST_BYTES = 4_096
LOG_MOST_BYTES = 50_000_000
"""Appium runs for weeks and tells of every command: when its log is longer it begins anew."""
_SAME_PROCESS_SECONDS = 0.01
_BESIDE = "plain"  # a folder of the state


class AppiumError(Exception):
    """There is no Appium to talk to. The message says why, and what to do.

    `host_unfit`: for no device of this host, since all have the same one.
    """

    host_unfit = True


class Appium:
    """Started when it is first needed. What an earlier daemon started is used again if it still answers."""

    def __init__(self, settings: AppiumSettings, log: Any) -> None:
        self._settings = settings
        self._log = log
        self._lock = asyncio.Lock()
        self._memory = settings.state / "appium.json"
        self.told = AppiumLog(settings.state / "appium.log", AppiumLog(settings.state / _BESIDE / "appium.log"))
        self._output = self.told.path
        self._process: subprocess.Popen[bytes] | None = None
        self._outdated_said = False
        self.starts = 0

    def log_of(self, address: Address) -> Path | None:
        """Where the one at an address tells what it does; None for one that somebody else keeps."""
        if self._settings.url is not None:
            return None
        return (self.beside if self.beside._remembered() == address else self).told.path  # noqa: SLF001 - of its own class

    @property
    def of_others(self) -> bool:
        """Whether somebody else keeps it: how it was started is not known here."""
        return self._settings.url is not None

    async def ready(self, port: int = 0, used: Callable[[], bool] = lambda: False) -> Address:
        """An Appium that answers; on that port, if one is named. Raises AppiumError.

        One that an earlier daemon started with other settings is replaced, unless it is `used`.
        """
        if self._settings.url is not None:
            address = Address.of_url(self._settings.url)
            if port and (address.host not in (LOOPBACK, "localhost") or address.port != port):
                raise AppiumError(f"plain AppWright looks for Appium on port {port}; set appwright.appium_url to it")
            if await answers(address):
                return address
            raise AppiumError(f"appwright.appium_url {self._settings.url} does not answer; start Appium there")
        async with self._lock:
            known = self._remembered()
            fits = known is not None and (not port or known.port == port)
            if known is not None and fits and await self._answers(known, used) and self._fits(used()):
                self._bound_log()
                return known
            if port and not fits:
                others = known is not None and used()
                if others or self.beside._remembered() is not None:  # noqa: SLF001 - of its own class
                    return await self.beside.ready(port, used)
                _check_free(port)  # before the one that is there ends for nothing
            await self._stop()
            return await self._start(port or _free_port())

    @functools.cached_property
    def beside(self) -> Appium:
        """A second one, on the port that plain AppWright knows, while tests have this one on another port."""
        return Appium(replace(self._settings, state=self._settings.state / _BESIDE), self._log)

    def _remembered(self) -> Address | None:
        """The one that this agent or an earlier one of it started, if its process is still that one."""
        told = self._told()
        return None if told is None or _process(told) is None else Address("http", LOOPBACK, told["port"])

    async def _answers(self, known: Address, used: Callable[[], bool]) -> bool:
        """Whether it answers; one that is used gets time to. To end it would end the sessions of all devices."""
        deadline = time.monotonic() + BUSY_SECONDS
        while not await answers(known):
            if self._remembered() is None:
                return False
            if time.monotonic() > deadline or not used():
                self._log.warning("appium_hung", pid=(self._told() or {}).get("pid"), port=known.port)
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True

    def _fits(self, used: bool) -> bool:
        """Whether the one that answers may go on."""
        told = self._told() or {}
        if told.get("settings") == self._settings.digest:
            return True
        if not used:
            self._log.info("appium_replaced", pid=told.get("pid"))
        elif not self._outdated_said:
            self._log.warning("appium_outdated", pid=told.get("pid"))
        self._outdated_said = used
        return used

    def _bound_log(self) -> None:
        try:
            if self._output.stat().st_size > LOG_MOST_BYTES:
                os.truncate(self._output, 0)
                self._log.info("appium_log_begins_anew", path=str(self._output))
        except OSError as error:
            self._log.warning("appium_log_not_cut", path=str(self._output), error=error.strerror or str(error))

    def _told(self) -> dict[str, Any] | None:
        try:
            told = json.loads(text_of(self._memory))
            numbers = {"pid": int(told["pid"]), "created": float(told["created"]), "port": int(told["port"])}
            return numbers | {"settings": told.get("settings")}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    async def _start(self, port: int) -> Address:
        argv = self._settings.words(port)
        try:
            self._settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.told.begin_anew()
            with self._output.open("ab") as output:  # for one that appends a log that was cut is short
                process = subprocess.Popen(  # noqa: S603, ASYNC220 - the host's own choice; it returns at once
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=self._settings.environ,
                    cwd=self._settings.folder,
                    start_new_session=True,
                )
        except OSError as error:
            where = error.filename or argv[0]  # its folder may be what is not there
            raise AppiumError(f"Appium can't be started: {where}: {error.strerror}; see appwright.appium") from None
        self._process = process
        self.starts += 1
        try:
            self._remember(process.pid, port)
        except OSError as error:  # the next daemon would begin another one beside it
            process.kill()
            await asyncio.to_thread(process.wait)
            raise AppiumError(f"Appium was ended: {self._memory} can't be written: {error.strerror}") from error
        address = Address("http", LOOPBACK, port)
        deadline = time.monotonic() + _START_SECONDS
        while not await answers(address):
            if process.poll() is not None:
                raise AppiumError(f"Appium ended as it began (exit code {process.returncode}): {self._reason()}")
            if time.monotonic() > deadline:
                await self._stop()
                raise AppiumError(f"Appium did not answer within {_START_SECONDS:g} s: {self._reason()}")
            await asyncio.sleep(_POLL_SECONDS)
        self._log.info("appium_started", pid=process.pid, port=port)
        return address

    def _remember(self, pid: int, port: int) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended at once, and that is told
            told = {"pid": pid, "created": psutil.Process(pid).create_time(), "port": port}
            put_text(self._memory, json.dumps(told | {"settings": self._settings.digest}))

    def _reason(self) -> str:
        try:
            with self._output.open("rb") as file:
                file.seek(max(os.fstat(file.fileno()).st_size - _LAST_BYTES, 0))
                return reason_in(file.read().decode(errors="replace"))
        except OSError:
            return reason_in("")

    async def _stop(self) -> None:
        """Ends what was started here, by this daemon or an earlier one; never another's."""
        told = self._told()
        process = None if told is None else _process(told)
        if process is not None:
            await asyncio.to_thread(_end, process)
        if self._process is not None:
            self._process.poll()
            self._process = None
        self._memory.unlink(missing_ok=True)

    async def close(self) -> None:
        """The agent ends: Appium goes on, unless it is to end with it."""
        if not self._settings.keep:
            async with self._lock:
                await self._stop()
                await self.beside._stop()  # noqa: SLF001 - of its own class


def _check_free(port: int) -> None:
    """Raises AppiumError where something else listens on the port of plain AppWright."""
    if listens(port):
        raise AppiumError(
            f"plain AppWright looks for Appium on port {port}, and {who_listens(port)} has it; end that, or, if it is "
            "an Appium that this agent may use too, set appwright.appium_url to it"
        )


def _process(told: Mapping[str, Any]) -> psutil.Process | None:
    """A remembered process, if its id is not another's by now."""
    try:
        process = psutil.Process(told["pid"])
        same = abs(process.create_time() - told["created"]) < _SAME_PROCESS_SECONDS
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def _end(process: psutil.Process) -> None:
    """Ends a process and what it started."""
    with contextlib.suppress(psutil.Error):
        members = [process, *process.children(recursive=True)]
        for number in (signal.SIGTERM, signal.SIGKILL):
            for member in members:
                with contextlib.suppress(psutil.Error):
                    member.send_signal(number)
            if not psutil.wait_procs(members, timeout=_STOP_SECONDS)[1]:
                return


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind((LOOPBACK, 0))
        return int(asked.getsockname()[1])
