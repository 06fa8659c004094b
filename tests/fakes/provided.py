"""A provider of devices at work: the builds that it is given, and what it tells."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from structlog.testing import LogCapture

from qgjob_agent.builds.base import Build, BuildUnresolvedError
from qgjob_agent.core.events import DeviceLost, DeviceProbed, DeviceSeen, InstallEnded
from qgjob_agent.core.values import Assignment, Outcome
from qgjob_agent.devices.base import DeviceProvider
from tests.fakes.waiting import until


class FolderOfBuilds:
    """Builds by app version; `errors` are raised instead of giving one."""

    asked_for: tuple[str, str]
    """The platform and the kind of device for which builds are asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.builds: dict[str, Build] = {}
        self.errors: dict[str, Exception] = {}
        self.asked: list[str] = []
        self.held: asyncio.Event | None = None  # builds come when it is set

    def put(self, app_version_id: str, path: Path, form: str, package: str | None) -> Build:
        """A build of an app version."""
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        build = self.builds[app_version_id] = Build(path, digest, form, package, app_version_id)
        return build

    async def get(self, assignment: Assignment, platform: str, kind: str) -> Build:
        """See builds.base.Builds."""
        assert (platform, kind) == self.asked_for
        self.asked.append(assignment.app_version_id)
        if self.held is not None:
            await self.held.wait()
        if assignment.app_version_id in self.errors:
            raise self.errors[assignment.app_version_id]
        if assignment.app_version_id not in self.builds:
            raise BuildUnresolvedError(f"no build of {assignment.app_version_id}: push it")
        return self.builds[assignment.app_version_id]

    async def close(self) -> None:
        """Nothing is being fetched."""


class Provided:
    """One life of the provider, and what it told."""

    def __init__(self, provider: DeviceProvider, builds: FolderOfBuilds, log: LogCapture) -> None:
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
