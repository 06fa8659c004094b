"""Android: the adb program, its server, and the SDK that AppWright wants. Its devices are in android_devices.py."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

from qgjob_agent.devices.adb.client import AdbClient, AdbServerAwayError, AdbServerGoneError
from qgjob_agent.devices.adb.protocol import AdbProtocolError, AdbRefusedError
from qgjob_agent.devices.adb.server import LOCAL
from qgjob_agent.doctor.asking import ask, beside, located
from qgjob_agent.doctor.findings import Finding, Level, fine, note, problem, unused, warning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgjob_agent.doctor.host import Host

_PROGRAM_SECONDS = 10.0
NOT_ENABLED = "[adb] is not enabled, so no Android device is looked for"
_VERSION = re.compile(r"Android Debug Bridge version 1\.0\.(\d+)")
_TOOLS = "install Android's platform tools, or name their adb in adb.program"
AWAY = (AdbServerAwayError, AdbRefusedError, AdbProtocolError)


async def adb(host: Host) -> list[Finding]:
    """The program, the server, and whether the two understand each other."""
    settings = host.config.adb
    if not settings.enabled:
        return [unused("android.adb", NOT_ENABLED), unused("android.server", NOT_ENABLED)]
    (program, version), server = await asyncio.gather(_program(host), _server(host))
    found = [program, server[0]]
    if version is None and server[0].level is Level.NOTE:
        text = f"none listens at {settings.host}:{settings.port}, and without that program the agent can't start one"
        found[1] = note("android.server", text)
    if version is not None and server[1] is not None and version != server[1]:
        text = f"{settings.program} speaks version {version}, the server at {settings.host}:{settings.port} {server[1]}"
        advice = "they end each other's server: use one adb on this host, and `adb kill-server` the other's once"
        found[1] = warning("android.server", text, advice)
    return found


async def _program(host: Host) -> tuple[Finding, int | None]:
    check, program = "android.adb", str(host.config.adb.program)
    where = located(program, host.environ)
    if where is None:
        return problem(check, f"there is no program {program} (PATH: {host.environ.get('PATH', '')})", _TOOLS), None
    answer = await ask([where, "version"], host.environ, _PROGRAM_SECONDS)
    match = _VERSION.search(answer.output)
    if answer.code != 0 or match is None:
        why = "takes too long to say its version" if answer.code is None else f"says: {answer.first_line!r}"
        return problem(check, f"{where} {why}", _TOOLS), None
    return fine(check, f"{where}, version 1.0.{match[1]}"), int(match[1])


async def _server(host: Host) -> tuple[Finding, int | None]:
    check, settings = "android.server", host.config.adb
    where = f"{settings.host}:{settings.port}"
    try:
        version = await AdbClient(settings.host, settings.port).version()
    except AdbServerGoneError:
        if settings.host in LOCAL:
            return note(check, f"none listens at {where}; the agent starts one"), None
        return problem(
            check, f"none listens at {where}", "start it there (`adb -a nodaemon server`), or mend adb.host"
        ), None
    except AWAY as error:
        advice = "see what listens on that port; a server that hangs: `adb kill-server`"
        return problem(check, str(error), advice), None
    return fine(check, f"version {version} answers at {where}"), version


async def sdk(host: Host) -> list[Finding]:
    """ANDROID_HOME and aapt, without which AppWright can't start a session on Android."""
    checks = ("android.home", "android.aapt")
    if host.config.runner != "appwright" or not host.config.adb.enabled:
        return [unused(each, 'only the runner "appwright" on Android devices needs it') for each in checks]
    return await beside(lambda: _sdk(host.config.test_environ))


def _sdk(environ: Mapping[str, str]) -> list[Finding]:
    home = environ.get("ANDROID_HOME")
    if not home:
        advice = "set ANDROID_HOME for the agent to the SDK's folder, and leave it in appwright.env_allow"
        return [
            problem("android.home", "ANDROID_HOME is not among the variables that tests get", advice),
            problem("android.aapt", "can't be looked for without ANDROID_HOME", "set that first"),
        ]
    if not Path(home).is_dir():
        return [
            problem("android.home", f"ANDROID_HOME is {home}, which is no folder", "set it to the SDK's folder"),
            problem("android.aapt", "can't be looked for without ANDROID_HOME", "set that first"),
        ]
    tools = sorted(Path(home).glob("build-tools/*/aapt"))
    where = Path(home, "build-tools")
    if not tools:
        advice = "install build tools: `sdkmanager 'build-tools;35.0.0'`"
        return [fine("android.home", home), problem("android.aapt", f"there is none in {where}", advice)]
    return [fine("android.home", home), fine("android.aapt", str(tools[-1]))]
