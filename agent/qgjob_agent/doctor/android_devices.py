"""Android devices: each that the adb server lists or the settings name, judged as the agent judges it."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from typing import TYPE_CHECKING

from qgjob_agent.core.values import Target
from qgjob_agent.devices.adb.client import ANSWER_SECONDS, AdbClient, AdbServerGoneError
from qgjob_agent.devices.adb.facts import READY, Condition, facts_of, trouble_of
from qgjob_agent.devices.adb.looking import Looker, looked
from qgjob_agent.devices.adb.packages import AndroidPackages
from qgjob_agent.devices.adb.settings import AdbSettings
from qgjob_agent.devices.apple.says import is_apple_udid
from qgjob_agent.devices.facts import id_of
from qgjob_agent.devices.finding import unanswered
from qgjob_agent.devices.installing import told_apart
from qgjob_agent.devices.remembered import UnreadableError, claims_of
from qgjob_agent.doctor.android import AWAY, NOT_ENABLED
from qgjob_agent.doctor.findings import Finding, fine, note, problem, unused, warning
from qgjob_agent.doctor.host import holder
from qgjob_agent.state_dir import installed_in

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from qgjob_agent.config import AgentConfig
    from qgjob_agent.devices.adb.looking import AdbLook
    from qgjob_agent.devices.adb.protocol import Listed
    from qgjob_agent.devices.remembered import Ours
    from qgjob_agent.doctor.host import Host

_CHECK = "android.devices"
_SEE = "see what the device itself shows, or restart it"
_REACH_SECONDS = 5.0
_STARTING = "wait until it has started, and ask again"


async def devices(host: Host) -> list[Finding]:
    """Each device that the server knows or the settings name. It is looked at as the agent looks at it for a probe."""
    config = host.config
    if not config.adb.enabled:
        return [unused(_CHECK, NOT_ENABLED)]
    client = AdbClient(config.adb.host, config.adb.port)
    try:
        listed = await _listed(client)
    except AdbServerGoneError:
        advice = "start the agent, or `adb start-server`, and ask again"
        found = await _unconnected(config, ())
        return [note(_CHECK, "no server is there that could name them", advice), *found]
    except (*AWAY, TimeoutError) as error:
        said = str(error) or "no answer in time"
        return [problem(_CHECK, f"the server does not list them: {said}", "`adb kill-server`")]
    facts = config.named_devices
    settings = AdbSettings.of(config.adb, config.agent_id, facts, config.environ, installed_in(config.state_path))
    mine, others = _divided(listed, settings.serials)
    found = list(await asyncio.gather(*(_Eye(client, settings).judge(each) for each in mine)))
    found += await _unconnected(config, [each.serial for each in mine])
    found += same_ids([each.serial for each in mine], settings)
    found += unattached([*(each.serial for each in mine), *settings.connect], config.adb.serials, _of_android(config))
    if others:
        found.append(fine(_CHECK, f"left to others, since adb.serials does not name them: {', '.join(others)}"))
    if not found:
        found.append(
            warning(_CHECK, "none is attached", "plug one in, allow USB debugging on it, or start an emulator")
        )
    return found


async def _listed(client: AdbClient) -> list[Listed]:
    async with asyncio.timeout(ANSWER_SECONDS), aclosing(client.follow()) as lists:
        async for devices_ in lists:
            return devices_
    return []


def _divided(listed: Sequence[Listed], serials: Collection[str] | None) -> tuple[list[Listed], list[str]]:
    """Those that are this agent's, and the serials of the others."""
    mine = [each for each in listed if serials is None or each.serial in serials]
    return mine, [each.serial for each in listed if each not in mine]


def _of_android(config: AgentConfig) -> dict[str, str]:
    """The device ids of [[devices]] by serial, without those that can only be Apple's or of a cloud."""
    return {
        each.udid: facts.device_id
        for each, facts in zip(config.devices, config.named_devices, strict=True)
        if each.platform != "ios" and each.target is not Target.BROWSERSTACK and not is_apple_udid(each.udid)
    }


class _Eye:
    """Looks at one device, and changes nothing: neither on it, nor of what the agent keeps."""

    def __init__(self, client: AdbClient, settings: AdbSettings) -> None:
        self._settings = settings
        self._packages = AndroidPackages(client, settings)
        self._looker = Looker(client, self._confirmed, settings.answer_seconds)
        self._unread: str | None = None

    async def judge(self, device: Listed) -> Finding:
        """What the agent would say of it."""
        settings, named = self._settings, self._settings.named.get(device.serial)
        look = await self._look(device)
        trouble = trouble_of(look.condition, settings.min_battery_percent, settings.min_free_mb)
        if trouble is not None:
            advice = trouble.advice or (_SEE if look.condition.booted else _STARTING)
            return problem(_CHECK, trouble.what, advice, device.serial)
        if self._unread is not None:
            advice = "ask as the user that the agent runs as; else remove the file, and builds are installed once more"
            return warning(_CHECK, f"what was installed on it is not read: {self._unread}", advice, device.serial)
        facts = facts_of(device.serial, settings.agent_id, look.properties, named)
        system = None if facts.os_version is None else f"Android {facts.os_version}"
        words = [each for each in (facts.model, system, facts.labels.get("abi")) if each]
        return fine(_CHECK, f"takes work as {facts.device_id}{': ' if words else ''}{', '.join(words)}", device.serial)

    async def _look(self, device: Listed) -> AdbLook:
        bound = self._settings.probe_seconds
        try:
            async with asyncio.timeout(bound):
                return await self._looker.look(device.serial, device.state, installing=False)
        except TimeoutError:
            return looked(Condition(READY, silent=unanswered(bound)), {})

    async def _confirmed(self, serial: str) -> list[Ours]:
        try:
            claims = await asyncio.to_thread(claims_of, self._settings.installed, serial)
        except UnreadableError as error:
            self._unread = f"{error.path}: {error}"
            return []
        return (await told_apart(self._packages, serial, claims))[0]


async def _unconnected(config: AgentConfig, there: Collection[str]) -> list[Finding]:
    """Of the devices on the network those that the server does not list: whether they answer."""
    missing = [each for each in dict.fromkeys(config.adb.connect) if each not in there]
    whys = await asyncio.gather(*(_unreached(address) for address in missing))
    runs = holder(config.state_path) is not None
    return [unconnected(address, why, runs=runs) for address, why in zip(missing, whys, strict=True)]


async def _unreached(address: str) -> str | None:
    """Why nobody answers at an address; None where somebody does. The connection is closed without a word."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_REACH_SECONDS):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except TimeoutError:
        return f"no answer within {_REACH_SECONDS:g} s"
    except OSError as error:  # asyncio has words of its own for what the kernel said; a name's error is no errno
        number = error.errno or 0
        return os.strerror(number) if number > 0 else error.strerror or str(error)
    writer.close()
    return None


def unconnected(address: str, why: str | None, *, runs: bool) -> Finding:
    """Of a device on the network that is not listed: `why` nobody answers there; whether the agent `runs`."""
    if why is not None:
        advice = "turn on its debugging over the network (`adb tcpip 5555` by USB), or mend the address"
        return problem(_CHECK, f"is in adb.connect and not connected: from this host, {why}", advice, address)
    if runs:
        found = "answers, and is not connected though the agent runs"
        return warning(
            _CHECK, found, f"`adb connect {address}` says why, and so does adb_unconnected in its log", address
        )
    return note(_CHECK, "answers, and the agent will have it connected", None, address)


def same_ids(serials: Sequence[str], settings: AdbSettings) -> list[Finding]:
    """Of these those that have the device id of one before them: the agent shows one of the two."""
    firsts: dict[str, str] = {}
    found = []
    for serial in serials:
        device_id = id_of(settings.agent_id, serial, settings.named.get(serial))
        first = firsts.setdefault(device_id, serial)
        if first != serial:
            what = f"would be called {device_id} as {first} is, so the agent leaves one of the two out"
            found.append(problem(_CHECK, what, "give one a device_id in a [[devices]] table", serial))
    return found


def unattached(there: Collection[str], serials: Sequence[str], named: Mapping[str, str]) -> list[Finding]:
    """What adb.serials or [[devices]] name that is not `there`. `named` has device ids by serial."""
    found = []
    for serial in [each for each in dict.fromkeys((*serials, *named)) if each not in there]:
        if serials and serial not in serials:
            advice = "add it to adb.serials, or remove its [[devices]] table"
            found.append(warning(_CHECK, f"has a table ({named[serial]}) and is not in adb.serials", advice, serial))
        else:
            advice = "plug it in, `adb connect` it, or take it out of agent.toml"
            found.append(warning(_CHECK, "is named in agent.toml and not attached", advice, serial))
    return found
