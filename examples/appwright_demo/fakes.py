"""The programs that stand for adb's server with emulators behind it, and for an Appium; and what they counted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

from tests.fakes.adb_server.control import tell

ROOT = Path(__file__).resolve().parents[2]
PYTHONPATH = os.pathsep.join(str(ROOT / part) for part in ("", "agent", "client", "coordinator", "proto/generated"))
LISTENS = "REST http interface listener started"
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large and how slow the devices' world is. Seconds are those of one installation, and of one test."""

    files: int = 8
    devices: int = 2
    install_seconds: float = 2.0
    test_seconds: float = 1.0


def appium_words(sizes: Sizes, adb_control: int, port: str) -> list[str]:
    """The command of an Appium whose sessions take the time of a test, and whose apps are on adb's devices."""
    return [
        *(sys.executable, "-m", "tests.fakes.appium", "--port", port),
        *("--session-seconds", f"{sizes.test_seconds:g}", "--adb-control", str(adb_control)),
    ]


class Program:
    """One of them: an async context manager that returns when it has said its first line, kept in `said`."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self._process: asyncio.subprocess.Process | None = None
        self.said = ""

    async def __aenter__(self) -> Self:
        env = os.environ | {"PYTHONPATH": PYTHONPATH}
        self._process = await asyncio.create_subprocess_exec(
            *self._words, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.said = (await self._process.stdout.readline()).decode()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


class AdbServer(Program):
    """adb's server with emulators. Installations are counted here, whoever makes them."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(
            *(sys.executable, "-m", "tests.fakes.adb_server", "--emulators", str(sizes.devices)),
            *("--install-seconds", f"{sizes.install_seconds:g}"),
        )
        self.port = self.control = 0

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        ports = json.loads(self.said)
        self.port, self.control = ports["port"], ports["control"]
        return self

    def installs(self) -> Counter[tuple[str, str]]:
        """Installations that passed so far, by serial and digest of the build."""
        found: Counter[tuple[str, str]] = Counter()
        for serial, _, digest, count in tell(self.control, "installs"):
            found[serial, digest] += count
        return found

    def unplug(self, serial: str) -> None:
        """Takes a device away; what is on it stays on it."""
        tell(self.control, "unplug", serial=serial)

    def plug(self, serial: str) -> None:
        """Brings it back."""
        tell(self.control, "plug", serial=serial)


def counts(port: int) -> dict[str, Any]:
    """What an Appium counted, by serial (`devices`), and what its sessions were asked for (`capabilities`)."""
    with urlopen(f"http://127.0.0.1:{port}/_fake/counts") as answer:
        told: dict[str, Any] = json.load(answer)
    return told
