"""The simulators of this Mac and, as an experiment, its iPhones and iPads: finds them and installs on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgjob_agent.core.values import Target
from qgjob_agent.devices.apple.facts import (
    STARTING,
    UNAVAILABLE,
    UNBOOTABLE,
    Condition,
    facts_of,
    health_of,
    phone_trouble,
    simulator_trouble,
)
from qgjob_agent.devices.apple.installing import SimulatorInstaller
from qgjob_agent.devices.apple.packages import PhonePackages, SimulatorPackages
from qgjob_agent.devices.apple.poller import Poller
from qgjob_agent.devices.apple.power import Power
from qgjob_agent.devices.apple.says import (
    BOOTED,
    SHUTDOWN,
    Phone,
    Simulator,
    is_simulator_udid,
    parse_phones,
    parse_simulators,
)
from qgjob_agent.devices.apple.xcrun import Xcrun, last_words
from qgjob_agent.devices.finding import Look, Words
from qgjob_agent.devices.found import FoundDevices
from qgjob_agent.devices.installing import Installer
from qgjob_agent.devices.refusals import DeviceSilentError
from qgjob_agent.devices.remembered import Remembered
from qgjob_agent.devices.screens import SCREEN_SECONDS
from qgjob_agent.host.program import HostError

if TYPE_CHECKING:
    from qgjob_agent.builds.base import Build, Builds
    from qgjob_agent.core.values import Assignment, DeviceFacts
    from qgjob_agent.devices.apple.settings import AppleSettings
    from qgjob_agent.devices.base import DeviceSink
    from qgjob_agent.devices.known import KnownDevice
    from qgjob_agent.devices.remembered import Ours

_ASKED = "com.apple.Preferences"
"""An app of the system: whatever is said of it, the simulator can say something of apps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppleLook(Look):
    """See Look."""

    condition: Condition


def _look(condition: Condition, ours: list[Ours] | None = None) -> AppleLook:
    apps = None if ours is None else [each.app for each in ours]
    silent = condition.silent is not None
    return AppleLook(properties={}, condition=condition, installed=apps, silent=silent, settled=condition.booted)


class Simulators(FoundDevices[AppleLook]):
    """A DeviceProvider; see FoundDevices. `builds` gives folders of apps, as UnpackedBuilds does.

    Their states are those of simctl, or ours with a reason behind a colon.
    """

    words = Words(
        gone="the simulator was shut down or deleted",
        unseen="simctl does not list the simulators any more",
    )

    def __init__(self, sink: DeviceSink, settings: AppleSettings, builds: Builds, log: Any) -> None:
        self._xcrun = Xcrun(settings.program, settings.environ)
        self._power = Power(self._xcrun, settings, log)
        self._listed: dict[str, Simulator] = {}
        self._missing: set[str] = set()
        packages = SimulatorPackages(self._xcrun, settings, self._data_path)
        self._packages = packages
        installer = SimulatorInstaller(packages, settings, Remembered(settings.installed, log), self._power, log)
        super().__init__(sink, settings, installer, builds, log)
        self._settings = settings

    async def _list(self) -> None:
        pause = self._settings.poll_seconds
        await Poller("simulators", self._ask, self._heard, pause, self._log).run()

    async def _ask(self) -> dict[str, str]:
        """The states of those that are shown; boots the others that are to be."""
        busy = set(self._power.busy)  # what ends to be so in the middle was seen as it was before
        words = ("list", "devices", "--json")
        ended = await self._xcrun.simctl(*words, seconds=self._settings.answer_seconds)
        if ended.code != 0:
            raise DeviceSilentError(f"`xcrun simctl list` failed: {last_words(ended)}")
        self._listed = {each.udid: each for each in parse_simulators(ended.output)}
        busy |= self._power.busy
        return {
            each.udid: BOOTED if each.udid in busy else self._state(each)
            for each in self._listed.values()
            if each.udid in busy or self._wanted(each)
        }

    def _wanted(self, each: Simulator) -> bool:
        allowed = self._settings.udids
        if allowed is None:
            return each.state == BOOTED or each.udid in self._power.owed
        return each.udid in allowed

    def _state(self, each: Simulator) -> str:
        if each.unavailable is not None:
            return f"{UNAVAILABLE}: {each.unavailable}"
        boots = self._settings.boot or each.udid in self._power.owed
        if each.state != SHUTDOWN or not boots:
            return each.state
        why = self._power.failed.get(each.udid)
        return STARTING if why is None else f"{UNBOOTABLE}: {why}"

    def _heard(self, states: dict[str, str] | None) -> None:
        self.listed(states)
        for udid, state in (states or {}).items():
            if state.partition(":")[0] in (STARTING, UNBOOTABLE) and not self._power.booting(udid):
                self._run(self._power.boot(udid), "simulator_boot")
        if states is not None:
            self._tell_of_missing()

    def _tell_of_missing(self) -> None:
        """A udid of a simulator that is not there would be waited for without a word."""
        for udid in (self._settings.udids or frozenset()) - self._listed.keys() - self._missing:
            if is_simulator_udid(udid):
                self._missing.add(udid)
                self._log.warning("simulator_not_found", udid=udid)

    def _data_path(self, udid: str) -> str | None:
        listed = self._listed.get(udid)
        return None if listed is None else listed.data_path

    def _trouble(self, state: str) -> str | None:
        return simulator_trouble(state)

    async def _look_at(self, device: KnownDevice, *, installing: bool) -> AppleLook:
        trouble = simulator_trouble(device.state)
        if trouble is not None:
            return _look(Condition(trouble))
        try:
            try:
                ended = await self._xcrun.simctl("bootstatus", device.serial, seconds=self._settings.answer_seconds)
            except DeviceSilentError:
                return _look(Condition(booted=False))  # it waits for the end of the start
            if ended.code != 0:
                return _look(Condition(silent=last_words(ended)))
            await self._packages.says(device.serial, _ASKED)
            ours = None if installing else await self._installer.confirmed(device.serial)
        except (DeviceSilentError, HostError) as error:
            return _look(Condition(silent=str(error)))
        free = await self._packages.free_bytes(device.serial)
        return _look(Condition(free_bytes=free, removable=installing or bool(ours)), ours)

    def _facts(self, device: KnownDevice, look: AppleLook) -> DeviceFacts:
        settings = self._settings
        what = self._listed.get(device.serial) or Simulator(device.serial, "", device.state, "", "", "")
        named = settings.named.get(device.serial)
        health = health_of(look.condition, settings.min_free_mb)
        return facts_of(what, Target.EMULATOR, settings.agent_id, named, health)

    async def screen(self, device_id: str) -> bytes | None:
        """See AtHand."""
        device = self._device(device_id)
        if device is None:
            raise OSError("the simulator does not run")
        try:
            return await self._xcrun.screen(device.serial, SCREEN_SECONDS)
        except (DeviceSilentError, HostError) as error:
            raise OSError(str(error)) from error

    async def _build(self, assignment: Assignment) -> Build:
        return await self._builds.get(assignment, "ios", "simulator")


class Phones(FoundDevices[AppleLook]):
    """A DeviceProvider for iPhones and iPads; see FoundDevices. It was tried on none yet, and the log says so."""

    words = Words(
        gone="the device was unplugged, or can't be reached any more",
        unseen="devicectl does not list the devices any more",
    )

    def __init__(self, sink: DeviceSink, settings: AppleSettings, builds: Builds, log: Any) -> None:
        self._xcrun = Xcrun(settings.program, settings.environ)
        installer = Installer(PhonePackages(self._xcrun, settings), settings, Remembered(settings.installed, log), log)
        super().__init__(sink, settings, installer, builds, log)
        self._settings = settings
        self._listed: dict[str, Phone] = {}

    async def start(self) -> None:
        """See FoundDevices."""
        text = "iPhones and iPads were not tried with this version: nor their installations, nor signing WebDriverAgent"
        self._log.warning("apple_devices_experimental", note=text)
        await super().start()

    async def _list(self) -> None:
        await Poller("devices", self._ask, self.listed, self._settings.poll_seconds, self._log).run()

    async def _ask(self) -> dict[str, str]:
        said, problem = await self._xcrun.devicectl("list", "devices", seconds=self._settings.answer_seconds)
        if problem:
            raise DeviceSilentError(f"`xcrun devicectl list devices` failed: {problem}")
        allowed = self._settings.udids
        self._listed = {each.udid: each for each in parse_phones(said) if allowed is None or each.udid in allowed}
        return {each.udid: each.state for each in self._listed.values()}

    def _trouble(self, state: str) -> str | None:
        return phone_trouble(state)

    async def _look_at(self, device: KnownDevice, *, installing: bool) -> AppleLook:
        trouble = phone_trouble(device.state)
        if trouble is not None:
            return _look(Condition(trouble))
        try:
            words = ("device", "info", "details", "--device", device.serial)
            _, problem = await self._xcrun.devicectl(*words, seconds=self._settings.answer_seconds)
            if problem:
                return _look(Condition(silent=problem))
            ours = None if installing else await self._installer.confirmed(device.serial)
        except (DeviceSilentError, HostError) as error:
            return _look(Condition(silent=str(error)))
        return _look(Condition(), ours)

    def _facts(self, device: KnownDevice, look: AppleLook) -> DeviceFacts:
        settings = self._settings
        what = self._listed.get(device.serial) or Phone(device.serial, "", device.state, "", "")
        named = settings.named.get(device.serial)
        return facts_of(what, Target.DEVICE, settings.agent_id, named, health_of(look.condition, 0))

    async def _build(self, assignment: Assignment) -> Build:
        return await self._builds.get(assignment, "ios", "device")
