"""Whether Appium's sessions find the adb server that has the Android devices, where they don't look by themselves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from qgjob_agent.doctor.findings import Finding, fine, note, unused, warning
from qgjob_agent.runners.appwright.appium_settings import names_capabilities

if TYPE_CHECKING:
    from qgjob_agent.doctor.host import Host

_CHECK = "appwright.adb"


async def sessions(host: Host) -> list[Finding]:
    """Sessions of the fast mode name the server. Those of plain mode have what their Appium was started with."""
    return [_sessions(host)]


def _sessions(host: Host) -> Finding:
    config = host.config
    if config.runner != "appwright" or not config.adb.enabled:
        return unused(_CHECK, 'only the runner "appwright" on Android devices has such sessions')
    where, told = f"{config.adb.host}:{config.adb.port}", config.adb_server.capabilities()
    if not told:
        return fine(_CHECK, f"Appium's sessions look for the adb server at {where} by themselves")
    words, what = config.appwright, json.dumps(told, sort_keys=True)
    own = words.appium_url is None
    if own and not names_capabilities(words.appium):
        return fine(_CHECK, f"the agent's Appium is told of the adb server at {where}")
    of = "appwright.appium names default capabilities of its own" if own else f"{words.appium_url} is somebody else's"
    text = f"in plain mode sessions reach the adb server at {where} only where their Appium was told of it, and {of}"
    how = f"see that {what} is among them" if own else f"start that Appium with --default-capabilities '{what}'"
    return warning(_CHECK, text, how) if words.mode == "plain" else note(_CHECK, text, how)
