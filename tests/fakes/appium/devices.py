"""What Appium does to devices by way of adb: has the app on them, clears it, takes it off again."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.fakes.appium.hub import HubError, Session


class Devices:
    """The devices of a stand-in of adb's server, by its control port."""

    def __init__(self, control: int) -> None:
        self._control = control

    async def prepare(self, session: Session) -> None:
        """What UiAutomator2 does before a session. Raises HubError where the device has no such app, or refuses it."""
        asked, package = session.capabilities, session.capabilities.get("appium:appPackage")
        app, none = asked.get("appium:app"), bool(asked.get("appium:noReset"))
        if app and not none:
            if asked.get("appium:fullReset"):
                await self._tell("uninstall", session.udid, package=package)
            said = await self._tell("install", session.udid, path=app)
            if said != "Success":
                raise HubError(500, "session not created", f"{app} can't be installed on {session.udid}: {said}")
        elif not await self._tell("clear", session.udid, package=package):
            raise HubError(500, "session not created", f"{session.udid} has no {package}")

    async def leave(self, session: Session) -> None:
        """What it does after one."""
        if session.capabilities.get("appium:app") and session.capabilities.get("appium:fullReset"):
            await self._tell("uninstall", session.udid, package=session.capabilities.get("appium:appPackage"))

    async def _tell(self, do: str, serial: str, **values: Any) -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._control)
        try:
            writer.write(json.dumps({"do": do, "serial": serial, **values}).encode() + b"\n")
            answer = json.loads(await reader.readline() or b"{}")
        finally:
            writer.close()
        if "ok" not in answer:
            raise HubError(500, "session not created", f"{serial}: {answer.get('error')}")
        return answer["ok"]
