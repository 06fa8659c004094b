"""Records the real server of adb: `python -m tests.fakes.adb_server.record --write` writes recorded/adb.json.

The server is one of its own, on a free port, that looks for no phones and emulators of this host.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from bench.processes import free_port
from tests.fakes.adb_server.contract import SAID, SCENES, play
from tests.fakes.adbd import FakeAdbd, Greets
from tests.fakes.waiting import until

RECORDING = Path(__file__).parent / "recorded" / "adb.json"
_ALONE = {"ADB_USB": "0", "ADB_EMU": "0", "ADB_MDNS": "0", "PATH": "/usr/local/bin:/usr/bin:/bin"}
_VERSION = re.compile(r"^Version (\S+)$", re.MULTILINE)


def recording() -> dict[str, Any]:
    """What was recorded: the `version` of adb, and `scenes`."""
    found: dict[str, Any] = json.loads(RECORDING.read_text("utf-8"))
    return found


def version_here() -> str:
    """Of the adb of this machine."""
    said = subprocess.run(["adb", "--version"], capture_output=True, text=True, check=True).stdout
    found = _VERSION.search(said)
    return "unknown" if found is None else found[1]


class RealLab:
    """See contract.Lab."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._devices = {
            "PHONE": FakeAdbd(SAID),
            "OTHER": FakeAdbd(SAID),
            "SHY": FakeAdbd(greets=Greets.BY_QUESTION),
            "MUTE": FakeAdbd(greets=Greets.NEVER),
            "ROBOT": FakeAdbd(SAID),
        }
        self._nobody = free_port()

    async def start(self, stack: AsyncExitStack) -> None:
        """All devices listen; none is known to the server."""
        for device in self._devices.values():
            device.port = free_port()
            await stack.enter_async_context(device)

    def place(self, name: str) -> str:
        """See Lab. An emulator has its name of the port before the one that adb connects to."""
        if name == "ROBOT":
            return f"emulator-{self._devices[name].port - 1}"
        return f"127.0.0.1:{self._nobody}" if name == "NOBODY" else self._devices[name].address

    async def begin_emulator(self) -> None:
        """See Lab."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        service = f"host:emulator:{self._devices['ROBOT'].port}"
        writer.write(b"%04x" % len(service) + service.encode())
        await reader.read()
        writer.close()

    async def cut(self, name: str) -> None:
        """See Lab."""
        self._devices[name].stop()


@asynccontextmanager
async def real_lab() -> AsyncIterator[RealLab]:
    """A server of the machine's adb, for one scene."""
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        server = await asyncio.create_subprocess_exec(
            "adb", "-P", str(port), "nodaemon", "server", env=_ALONE | {"HOME": home},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await until(lambda: _listens(port), "the adb server does not listen")
            async with AsyncExitStack() as stack:
                lab = RealLab(port)
                await lab.start(stack)
                yield lab
        finally:
            if server.returncode is None:
                server.terminate()
            await server.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


async def _record() -> dict[str, Any]:
    scenes = {}
    for scene in SCENES:
        async with real_lab() as lab:
            scenes[scene] = await play(scene, lab)
    return {"version": version_here(), "scenes": scenes}


def main() -> None:
    """Writes the recording."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True, help="begin")
    parser.parse_args()
    RECORDING.write_text(json.dumps(asyncio.run(_record()), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
