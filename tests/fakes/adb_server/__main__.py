"""The stand-in as a program: prints its ports as one JSON line, and serves until it is ended."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal

from tests.fakes.adb_server.control import ControlPort
from tests.fakes.adb_server.device import FakeDevice
from tests.fakes.adb_server.server import FakeAdbServer


async def _serve(emulators: int, phones: int, install_seconds: float) -> None:
    devices = [FakeDevice(f"emulator-{5554 + 2 * n}", install_seconds=install_seconds) for n in range(emulators)]
    devices += [
        FakeDevice(f"R5CT{n:07}", emulator=False, model="Galaxy S22", install_seconds=install_seconds)
        for n in range(phones)
    ]
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with FakeAdbServer(*devices) as fake, ControlPort(fake) as control:
        print(json.dumps({"port": fake.port, "control": control.port}), flush=True)
        await ended.wait()


def main() -> None:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--emulators", type=int, default=2)
    parser.add_argument("--phones", type=int, default=0)
    parser.add_argument("--install-seconds", type=float, default=2.0)
    given = parser.parse_args()
    asyncio.run(_serve(given.emulators, given.phones, given.install_seconds))


main()
