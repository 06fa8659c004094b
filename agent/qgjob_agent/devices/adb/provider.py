"""The Android devices of this host: finds them, tells how they are, and installs on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgjob_agent.devices.adb.client import AdbClient
from qgjob_agent.devices.adb.connecting import Connector
from qgjob_agent.devices.adb.facts import READY, facts_of, health_labels, health_of, state_trouble
from qgjob_agent.devices.adb.logs import logged
from qgjob_agent.devices.adb.looking import Looker
from qgjob_agent.devices.adb.packages import AndroidPackages
from qgjob_agent.devices.adb.tracker import Tracker
from qgjob_agent.devices.finding import Words
from qgjob_agent.devices.found import FoundDevices
from qgjob_agent.devices.installing import Installer
from qgjob_agent.devices.refusals import DeviceSilentError
from qgjob_agent.devices.remembered import Remembered
from qgjob_agent.devices.screens import SCREEN_SECONDS, png_of

if TYPE_CHECKING:
    from qgjob_agent.builds.base import Build, Builds
    from qgjob_agent.core.values import Assignment, DeviceFacts
    from qgjob_agent.devices.adb.looking import AdbLook
    from qgjob_agent.devices.adb.protocol import Listed
    from qgjob_agent.devices.adb.settings import AdbSettings
    from qgjob_agent.devices.base import DeviceSink
    from qgjob_agent.devices.known import KnownDevice


class AdbDevices(FoundDevices["AdbLook"]):
    """A DeviceProvider; see FoundDevices."""

    words = Words(
        gone="the device was unplugged, or its emulator ended",
        unseen="the adb server is away, and the device with it",
        blinded="the adb server ended in the middle",
    )

    def __init__(self, sink: DeviceSink, settings: AdbSettings, builds: Builds, log: Any) -> None:
        client = self._client = AdbClient(settings.host, settings.port)
        packages = AndroidPackages(client, settings)
        installer = Installer(packages, settings, Remembered(settings.installed, log), log)
        super().__init__(sink, settings, installer, builds, log)
        self._settings = settings
        self._looker = Looker(client, installer.confirmed, settings.answer_seconds)
        self._tracker = Tracker(client, settings, self._heard, log)
        self._connector = Connector(client, settings.connect, log)

    async def start(self) -> None:
        """See FoundDevices."""
        await super().start()
        self._run(self._connector.run(), "devices_connect")

    async def _list(self) -> None:
        await self._tracker.run()

    def _heard(self, listed: list[Listed] | None) -> None:
        allowed = self._settings.serials
        self._connector.listed(None if listed is None else {each.serial for each in listed})
        if listed is None:
            self.listed(None)
        else:
            mine = {each.serial: each.state for each in listed if allowed is None or each.serial in allowed}
            self.listed(mine, late=self._settings.connect)

    def _trouble(self, state: str) -> str | None:
        return None if state == READY else state_trouble(state).words

    async def _look_at(self, device: KnownDevice, *, installing: bool) -> AdbLook:
        return await self._looker.look(device.serial, device.state, installing=installing)

    def _facts(self, device: KnownDevice, look: AdbLook) -> DeviceFacts:
        settings = self._settings
        return facts_of(
            device.serial,
            settings.agent_id,
            device.properties,
            settings.named.get(device.serial),
            health_of(look.condition, settings.min_battery_percent, settings.min_free_mb),
            health_labels(look.condition) if settings.health_labels else None,
        )

    async def _build(self, assignment: Assignment) -> Build:
        return await self._builds.get(assignment, "android", "device")

    async def logged(self, device_id: str, since_ms: int, until_ms: int) -> bytes | None:
        """What a device logged between two times; see evidence.keeper.DeviceLogs."""
        device = self._device(device_id)
        if device is None:
            raise OSError("the device is not connected")
        try:
            return await logged(self._client, device.serial, since_ms, until_ms)
        except (DeviceSilentError, ValueError) as error:
            raise OSError(str(error)) from error

    async def screen(self, device_id: str) -> bytes | None:
        """See AtHand."""
        device = self._device(device_id)
        if device is None:
            raise OSError("the device is not connected")
        try:
            data = await self._client.raw(device.serial, "screencap -p", SCREEN_SECONDS)
        except DeviceSilentError as error:
            raise OSError(str(error)) from error
        return png_of(data)
