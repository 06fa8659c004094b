"""One look at a device: what it is, how it is, and what of ours is on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgjob_agent.devices.adb.facts import READY, Condition
from qgjob_agent.devices.adb.says import parse_battery, parse_free_bytes, parse_properties
from qgjob_agent.devices.finding import Look
from qgjob_agent.devices.refusals import DeviceSilentError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from qgjob_agent.core.values import App
    from qgjob_agent.devices.adb.client import AdbClient, Said
    from qgjob_agent.devices.remembered import Ours


@dataclass(frozen=True, slots=True, kw_only=True)
class AdbLook(Look):
    """See Look."""

    condition: Condition


def looked(condition: Condition, properties: dict[str, str], installed: list[App] | None = None) -> AdbLook:
    """A look that found this."""
    settled = condition.booted and condition.packages_answer
    silent = condition.silent is not None
    return AdbLook(condition=condition, properties=properties, installed=installed, silent=silent, settled=settled)


class Looker:
    """Looks at devices. Every answer of a device is waited for `answer_seconds` at most.

    `confirmed` gives what of ours a device has, as it says itself; errors are those of Installer.confirmed.
    """

    def __init__(
        self, client: AdbClient, confirmed: Callable[[str], Awaitable[Sequence[Ours]]], answer_seconds: float
    ) -> None:
        self._client = client
        self._confirmed = confirmed
        self._answer_seconds = answer_seconds

    async def look(self, serial: str, state: str, *, installing: bool) -> AdbLook:
        """A look at a device that the server lists in a state. A device that does not answer is no error."""
        if state != READY:
            return looked(Condition(state), {})
        properties: dict[str, str] = {}
        try:
            properties = parse_properties((await self._say(serial, "getprop")).output)
            if "1" not in (properties.get("sys.boot_completed"), properties.get("dev.bootcomplete")):
                return looked(Condition(state, booted=False), properties)
            packages = await self._say(serial, "pm path android")
            if packages.code != 0 or "package:" not in packages.output:
                return looked(Condition(state, packages_answer=False), properties)
            battery = parse_battery((await self._say(serial, "dumpsys battery")).output)
            free = parse_free_bytes((await self._say(serial, "df -k /data")).output)
            ours = None if installing else await self._confirmed(serial)
        except DeviceSilentError as error:
            return looked(Condition(state, silent=str(error)), properties)
        condition = Condition(state, battery=battery, free_bytes=free, removable=installing or bool(ours))
        return looked(condition, properties, None if ours is None else [each.app for each in ours])

    async def _say(self, serial: str, command: str) -> Said:
        return await self._client.shell(serial, command, self._answer_seconds)
