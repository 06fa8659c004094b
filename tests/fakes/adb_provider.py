"""The provider of Android devices with all that it needs, on the stand-in of adb's server, and what it tells."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from structlog.testing import LogCapture

from qgjob_agent.builds.base import Build
from qgjob_agent.devices.adb.provider import AdbDevices
from qgjob_agent.devices.adb.settings import AdbSettings
from tests.fakes.adb_server import FakeAdbServer, FakeDevice, make_apk
from tests.fakes.adb_server.control import ControlPort, make_adb
from tests.fakes.program import processes_of
from tests.fakes.provided import FolderOfBuilds, Provided

NEEDS_ADB = "needs the program adb: apt-get install adb"
NO_ADB = shutil.which("adb") is None
PHONE, EMULATOR = "R5CT1234ABC", "emulator-5554"
PHONE_ID, EMULATOR_ID = f"a1.{PHONE}", f"a1.{EMULATOR}"
SHOP = "com.example.shop"
MB = 1_000_000


def phone(**given: Any) -> FakeDevice:
    """A phone, whatever else is given of it."""
    return FakeDevice(PHONE, **{"emulator": False, "model": "Galaxy S22", "release": "13", **given})


class FolderOfApks(FolderOfBuilds):
    """Builds for Android."""

    asked_for = ("android", "device")

    def add(self, app_version_id: str, package: str = "com.example.shop", known: bool = True, **facts: Any) -> Build:
        """A build of an app version; `known`: its package is told with it."""
        path = make_apk(self.folder / f"{app_version_id}.apk", package, **facts)
        return self.put(app_version_id, path, "apk", package if known else None)


class Host:
    """A host with devices, on which the provider may live several times."""

    def __init__(self, fake: FakeAdbServer, folder: Path, adb: Path) -> None:
        self.fake = fake
        self.folder = folder
        self.builds = FolderOfApks(folder)
        self.settings: dict[str, Any] = {
            "agent_id": "a1",
            "installed": folder / "installed",
            "environ": {"PATH": os.environ["PATH"], "HOME": str(folder)},
            "port": fake.port,
            "adb": str(adb),
            "install_seconds": 20.0,
            "look_seconds": 0.2,
            "wait_seconds": 0.1,
            "min_free_mb": 500,
        }

    def digest_of(self, app: str) -> str:
        """Of the build of an app version."""
        return self.builds.builds[app].digest

    def installs(self) -> dict[tuple[str, str], int]:
        """Installations that passed, by serial and app version."""
        names = {build.digest: app for app, build in self.builds.builds.items()}
        return {(serial, names[digest]): count for (serial, _, digest), count in self.fake.installs.items()}

    def installing_processes(self) -> dict[int, str]:
        """The adb programs that install and live, by the environment that they were given."""
        return {pid: line for pid, line in processes_of(self.folder).items() if " install " in line}

    @asynccontextmanager
    async def provider(self, **changes: Any) -> AsyncIterator[Provided]:
        """One life."""
        log = LogCapture()
        logger = structlog.wrap_logger(None, processors=[structlog.processors.add_log_level, log])
        settings = AdbSettings(**self.settings | changes)
        told: list[Provided] = []

        class Sink:
            def device(self, event: Any) -> None:
                told[0].device(event)

        provider = AdbDevices(Sink(), settings, self.builds, logger)
        told.append(Provided(provider, self.builds, log))
        await provider.start()
        try:
            yield told[0]
        finally:
            await provider.close()
            assert [e for e in log.entries if e["event"] in ("device_task_failed", "install_failed_inside")] == []


@asynccontextmanager
async def host(folder: Path, *devices: Any) -> AsyncIterator[Host]:
    """A host with these devices plugged in."""
    async with FakeAdbServer(*devices) as fake, ControlPort(fake) as control:
        yield Host(fake, folder, make_adb(folder, control.port))
