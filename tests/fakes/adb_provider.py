"""The provider of Android devices with all that it needs, on the stand-in of adb's server, and what it tells."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from structlog.testing import LogCapture

from qgjob_agent.builds.base import Build, BuildUnresolvedError
from qgjob_agent.core.events import DeviceLost, DeviceProbed, DeviceSeen, InstallEnded
from qgjob_agent.core.values import Assignment, Outcome
from qgjob_agent.devices.adb.provider import AdbDevices
from qgjob_agent.devices.adb.settings import AdbSettings
from tests.fakes.adb_server import FakeAdbServer, FakeDevice, make_apk
from tests.fakes.adb_server.control import ControlPort, make_adb
from tests.fakes.program import processes_of
from tests.fakes.waiting import until

NEEDS_ADB = "needs the program adb: apt-get install adb"
NO_ADB = shutil.which("adb") is None
PHONE, EMULATOR = "R5CT1234ABC", "emulator-5554"
PHONE_ID, EMULATOR_ID = f"a1.{PHONE}", f"a1.{EMULATOR}"
SHOP = "com.example.shop"
MB = 1_000_000


def phone(**given: Any) -> FakeDevice:
    """A phone, whatever else is given of it."""
    return FakeDevice(PHONE, **{"emulator": False, "model": "Galaxy S22", "release": "13", **given})


class FolderOfBuilds:
    """Builds by app version, made on demand; `errors` are raised instead of giving one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.builds: dict[str, Build] = {}
        self.errors: dict[str, Exception] = {}
        self.asked: list[str] = []
        self.held: asyncio.Event | None = None  # builds come when it is set

    def add(self, app_version_id: str, package: str = "com.example.shop", known: bool = True, **facts: Any) -> Build:
        """A build of an app version; `known`: its package is told with it."""
        path = make_apk(self._folder / f"{app_version_id}.apk", package, **facts)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        build = self.builds[app_version_id] = Build(path, digest, "apk", package if known else None)
        return build

    async def get(self, assignment: Assignment, platform: str, kind: str) -> Build:
        """See builds.base.Builds."""
        assert (platform, kind) == ("android", "device")
        self.asked.append(assignment.app_version_id)
        if self.held is not None:
            await self.held.wait()
        if assignment.app_version_id in self.errors:
            raise self.errors[assignment.app_version_id]
        if assignment.app_version_id not in self.builds:
            raise BuildUnresolvedError(f"no build of {assignment.app_version_id}: push it")
        return self.builds[assignment.app_version_id]


class Provided:
    """One life of the provider, and what it told."""

    def __init__(self, provider: AdbDevices, builds: FolderOfBuilds, log: LogCapture) -> None:
        self.provider = provider
        self.builds = builds
        self.said = log
        self.events: list[Any] = []
        self._apps: dict[str, tuple[str, str, str | None]] = {}  # by token

    def device(self, event: Any) -> None:
        """See devices.base.DeviceSink."""
        self.events.append(event)

    def of(self, *kinds: type, device_id: str | None = None) -> list[Any]:
        """What was told, of these kinds."""
        return [e for e in self.events if isinstance(e, kinds) and device_id in (None, self._id(e))]

    @staticmethod
    def _id(event: Any) -> str:
        return str(event.facts.device_id if isinstance(event, DeviceSeen) else event.device_id)

    def now(self, device_id: str) -> DeviceSeen | None:
        """What was told last of a device; None where it is lost, or was not seen."""
        last = self.of(DeviceSeen, DeviceLost, device_id=device_id)[-1:]
        return last[0] if last and isinstance(last[0], DeviceSeen) else None

    async def seen(self, device_id: str, **wanted: Any) -> DeviceSeen:
        """Waits until a device is told so: facts, or what is `installed`."""

        def look() -> DeviceSeen | None:
            event = self.now(device_id)
            if event is None:
                return None
            found = {name: self._fact(event, name) for name in wanted}
            return event if found == wanted else None

        event: DeviceSeen = await until(look, lambda: f"{device_id} is not {wanted}: {self.events}", seconds=20)
        return event

    def _fact(self, event: DeviceSeen, name: str) -> Any:
        return self.installed(event.facts.device_id) if name == "installed" else getattr(event.facts, name)

    def installed(self, device_id: str) -> tuple[str, str, str | None] | None:
        """What is installed, as the core takes it from what it was told."""
        app = None
        for event in self.of(DeviceSeen, DeviceLost, InstallEnded, device_id=device_id):
            if isinstance(event, InstallEnded):
                app = self._apps[event.token] if event.outcome is Outcome.PASSED else None
            else:
                app = event.installed if isinstance(event, DeviceSeen) else None
        return app

    async def lost(self, device_id: str) -> None:
        """Waits until a device is told to be lost."""
        await until(lambda: self.of(DeviceLost, device_id=device_id), lambda: f"{self.events}", seconds=20)

    def begin(self, device_id: str, app: str, org: str = "acme", assigned: bool = True) -> str:
        """Begins an installation; gives its token."""
        token = f"t{len(self._apps)}"
        build = self.builds.builds.get(app)
        digest = build.digest if build is not None and assigned else None
        self._apps[token] = (org, app, digest)
        assignment = Assignment(f"{org}~{token}", token, 1, 1, device_id, org, app, "a.spec.ts", build_digest=digest)
        self.provider.install(assignment)
        return token

    async def ended(self, token: str) -> InstallEnded:
        """Waits for the end of an installation, which comes once."""
        found: list[InstallEnded] = await until(
            lambda: [e for e in self.of(InstallEnded) if e.token == token],
            lambda: f"{token} does not end: {self.events}",
            seconds=20,
        )
        assert len(found) == 1
        return found[0]

    async def install(self, device_id: str, app: str, **given: Any) -> InstallEnded:
        """Installs, and waits for the end."""
        return await self.ended(self.begin(device_id, app, **given))

    async def probed(self, device_id: str) -> DeviceProbed:
        """Probes, and waits for the answer."""
        before = len(self.of(DeviceProbed))
        self.provider.probe(device_id)
        found: list[DeviceProbed] = await until(lambda: self.of(DeviceProbed)[before:], "no answer", seconds=20)
        return found[0]

    def lines(self, event: str) -> list[Mapping[str, Any]]:
        """The log's lines of one event."""
        return [line for line in self.said.entries if line["event"] == event]


class Host:
    """A host with devices, on which the provider may live several times."""

    def __init__(self, fake: FakeAdbServer, folder: Path, adb: Path) -> None:
        self.fake = fake
        self.folder = folder
        self.builds = FolderOfBuilds(folder)
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
