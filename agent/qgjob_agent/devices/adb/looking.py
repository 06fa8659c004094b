"""One look at a device: what it is, how it is, and what of ours is on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgjob_agent.devices.adb.facts import Condition
from qgjob_agent.devices.adb.says import parse_battery, parse_free_bytes, parse_properties
from qgjob_agent.devices.finding import Look
from qgjob_agent.devices.refusals import DeviceSilentError

if TYPE_CHECKING:
    from qgjob_agent.core.values import App
    from qgjob_agent.devices.adb.client import AdbClient, Said
    from qgjob_agent.devices.installing import Installer

READY = "device"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdbLook(Look):
    """See Look."""

    condition: Condition


def _look(condition: Condition, properties: dict[str, str], installed: list[App] | None = None) -> AdbLook:
    settled = condition.booted and condition.packages_answer
    silent = condition.silent is not None
    return AdbLook(condition=condition, properties=properties, installed=installed, silent=silent, settled=settled)


class Looker:
    """Looks at devices. Every answer of a device is waited for `answer_seconds` at most."""

    def __init__(self, client: AdbClient, installer: Installer, answer_seconds: float) -> None:
        self._client = client
        self._installer = installer
        self._answer_seconds = answer_seconds

    async def look(self, serial: str, state: str, *, installing: bool) -> AdbLook:
        """A look at a device that the server lists in a state. A device that does not answer is no error."""
        if state != READY:
            return _look(Condition(state), {})
        properties: dict[str, str] = {}
        try:
            properties = parse_properties((await self._say(serial, "getprop")).output)
            if "1" not in (properties.get("sys.boot_completed"), properties.get("dev.bootcomplete")):
                return _look(Condition(state, booted=False), properties)
            packages = await self._say(serial, "pm path android")
            if packages.code != 0 or "package:" not in packages.output:
                return _look(Condition(state, packages_answer=False), properties)
            battery = parse_battery((await self._say(serial, "dumpsys battery")).output)
            free = parse_free_bytes((await self._say(serial, "df -k /data")).output)
            ours = None if installing else await self._installer.confirmed(serial)
        except DeviceSilentError as error:
            return _look(Condition(state, silent=str(error)), properties)
        condition = Condition(state, battery=battery, free_bytes=free, removable=installing or bool(ours))
        return _look(condition, properties, None if ours is None else [each.app for each in ours])

    async def _say(self, serial: str, command: str) -> Said:
        return await self._client.shell(serial, command, self._answer_seconds)
