"""The fake as a program, started as Appium is: `--port N`, and a line when it listens."""

from __future__ import annotations

import argparse
import asyncio
import signal

from tests.fakes.appium.hub import Control
from tests.fakes.appium.server import Server


async def _run(port: int, install_seconds: float) -> None:
    server = Server(Control(install_seconds=install_seconds))
    port = await server.start(port)
    print(f"[Appium] Appium REST http interface listener started on http://127.0.0.1:{port}", flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=4723)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--install-seconds", type=float, default=0.0)
    arguments = parser.parse_args()
    asyncio.run(_run(arguments.port, arguments.install_seconds))
