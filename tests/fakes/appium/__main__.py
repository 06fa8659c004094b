"""The fake as a program, started as Appium is: `--port N`, and a line when it listens."""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import signal
import sys

from tests.fakes.appium.hub import Control
from tests.fakes.appium.server import Server

_SIGN = "\x1b[38;5;112m[Appium]\x1b[0m"


async def _run(port: int, control: Control, adb_control: int | None, *, tells: bool) -> None:
    server = Server(control, adb_control, tells=tells)
    try:
        port = await server.start(port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        sys.exit(f"{_SIGN} Error: listen EADDRINUSE: address already in use 127.0.0.1:{port}")
    print(f"{_SIGN} Appium REST http interface listener started on http://127.0.0.1:{port}", flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=4723)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--install-seconds", type=float, default=0.0, help="where there is no adb that would install")
    parser.add_argument("--session-seconds", type=float, default=0.0, help="how long each test has its device")
    parser.add_argument("--adb-control", type=int, help="control port of tests.fakes.adb_server, which has the devices")
    parser.add_argument("--log", action="store_true", help="print what is asked")
    parser.add_argument("--default-capabilities", "-dc", type=json.loads, default={}, help="of sessions without them")
    given, unknown = parser.parse_known_args()
    if unknown:
        sys.exit(f"\n[ERROR] Unrecognized arguments: {', '.join(unknown)}\n")
    asked = Control(
        install_seconds=given.install_seconds,
        session_seconds=given.session_seconds,
        capabilities=given.default_capabilities,
    )
    asyncio.run(_run(given.port, asked, given.adb_control, tells=given.log))
