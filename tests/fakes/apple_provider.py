"""The providers of simulators and iPhones with all that they need, on the stand-in of Xcode's programs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from structlog.testing import LogCapture

from qgjob_agent.builds.base import Build
from qgjob_agent.devices.apple.provider import Phones, Simulators
from qgjob_agent.devices.apple.settings import AppleSettings
from qgjob_agent.devices.apple.unpacked import UnpackedBuilds
from tests.fakes import packages
from tests.fakes.provided import FolderOfBuilds, Provided
from tests.fakes.xcrun import PhoneState, SimulatorState, Xcode

SIM, OTHER = "6E1C2F9A-0B53-4E27-9D51-3C8B7A6D5E41", "0A9D7C35-62E4-4B18-8F70-51D2C3B4A596"
SIM_ID, OTHER_ID = f"a1.{SIM}", f"a1.{OTHER}"
PHONE = "00008110-000A1B2C3D4E5F60"
PHONE_ID = f"a1.{PHONE}"
SHOP = "com.example.app"


class FolderOfApps(FolderOfBuilds):
    """Builds for simulators."""

    asked_for = ("ios", "simulator")

    def add(self, app_version_id: str, package: str = SHOP, data: bytes | None = None, **info: Any) -> Build:
        """A zip of an .app folder, another one for each app version."""
        content = data if data is not None else packages.app(CFBundleIdentifier=package, Made=app_version_id, **info)
        return self.put(app_version_id, packages.write(self.folder / f"{app_version_id}.zip", content), "app", package)


class FolderOfIpas(FolderOfBuilds):
    """Builds for iPhones."""

    asked_for = ("ios", "device")

    def add(self, app_version_id: str, package: str = SHOP, **info: Any) -> Build:
        """An .ipa, another one for each app version."""
        content = packages.ipa(CFBundleIdentifier=package, Made=app_version_id, **info)
        return self.put(app_version_id, packages.write(self.folder / f"{app_version_id}.ipa", content), "ipa", package)


class Mac:
    """A host with simulators and iPhones, on which a provider may live several times."""

    def __init__(self, folder: Path, *devices: SimulatorState | PhoneState) -> None:
        self.folder = folder
        self.xcode = Xcode(folder / "xcode", *devices)
        self.apps = FolderOfApps(folder / "builds")
        self.ipas = FolderOfIpas(folder / "builds")
        self.settings: dict[str, Any] = {
            "agent_id": "a1",
            "installed": folder / "installed",
            "environ": {"PATH": os.environ["PATH"], "HOME": str(folder)},
            "program": str(self.xcode.program),
            "poll_seconds": 0.4,
            "look_seconds": 60.0,
            "wait_seconds": 0.2,
            "install_seconds": 20.0,
            "min_free_mb": 0,
        }

    @asynccontextmanager
    async def simulators(self, **changes: Any) -> AsyncIterator[Provided]:
        """One life of the provider of simulators."""
        async with self._provider(Simulators, self.apps, changes) as told:
            yield told

    @asynccontextmanager
    async def phones(self, **changes: Any) -> AsyncIterator[Provided]:
        """One life of the provider of iPhones."""
        async with self._provider(Phones, self.ipas, changes) as told:
            yield told

    @asynccontextmanager
    async def _provider(
        self, kind: type[Simulators | Phones], builds: FolderOfBuilds, changes: Mapping[str, Any]
    ) -> AsyncIterator[Provided]:
        log = LogCapture()
        logger = structlog.wrap_logger(None, processors=[structlog.processors.add_log_level, log])
        told: list[Provided] = []

        class Sink:
            def device(self, event: Any) -> None:
                told[0].device(event)

        unpacked = UnpackedBuilds(builds, self.folder / "unpacked", logger)
        provider = kind(Sink(), AppleSettings(**self.settings | dict(changes)), unpacked, logger)
        told.append(Provided(provider, builds, log))
        await provider.start()
        try:
            yield told[0]
        finally:
            await provider.close()
            assert [e for e in log.entries if e["event"] in ("device_task_failed", "install_failed_inside")] == []
