"""Installs on simulators, after erasing one where the settings want that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgjob_agent.core.values import Outcome
from qgjob_agent.devices.apple.facts import must_erase
from qgjob_agent.devices.apple.settings import Erase
from qgjob_agent.devices.installing import Installer
from qgjob_agent.devices.refusals import DeviceSilentError, InstallRefusedError
from qgjob_agent.host.program import HostError

if TYPE_CHECKING:
    from qgjob_agent.builds.base import Build
    from qgjob_agent.core.values import Assignment
    from qgjob_agent.devices.apple.packages import SimulatorPackages
    from qgjob_agent.devices.apple.power import Power
    from qgjob_agent.devices.apple.settings import AppleSettings
    from qgjob_agent.devices.remembered import Remembered


class SimulatorInstaller(Installer):
    """See Installer. Erasing has a time of its own, beside that of an installation."""

    def __init__(
        self, packages: SimulatorPackages, settings: AppleSettings, remembered: Remembered, power: Power, log: Any
    ) -> None:
        super().__init__(packages, settings, remembered, log)
        self._erase = settings.erase
        self._power = power

    async def install(self, serial: str, assignment: Assignment, build: Build) -> bool:
        """See Installer."""
        if self._erase is not Erase.NEVER:
            await self._erase_for(serial, assignment, build)
        return await super().install(serial, assignment, build)

    async def _erase_for(self, serial: str, assignment: Assignment, build: Build) -> None:
        try:
            there = await self.confirmed(serial)
        except HostError as error:
            raise InstallRefusedError(Outcome.PROVIDER_ERROR, str(error)) from error
        except DeviceSilentError as error:
            raise InstallRefusedError(Outcome.DEVICE_ERROR, f"the device does not answer: {error}") from error
        if must_erase(self._erase, there, assignment.org_id, build.digest):
            await self._power.erase(serial)
            for ours in there:
                self._remembered.forget(serial, ours)
