"""Agents' parts that talk to the stand-in for BrowserStack."""

from __future__ import annotations

import asyncio
import hashlib
import time
from pathlib import Path
from typing import Any

import structlog

from qgjob_agent.builds.base import Build
from qgjob_agent.core.events import DeviceLost, DeviceProbed, DeviceSeen, InstallEnded
from qgjob_agent.core.values import Assignment, DeviceFacts, Target
from qgjob_agent.devices.browserstack.account import Account
from qgjob_agent.devices.browserstack.apps import Answer, Apps, Word
from qgjob_agent.devices.browserstack.provider import BrowserStackDevices
from qgjob_agent.devices.browserstack.rest import Rest
from qgjob_agent.devices.browserstack.settings import BrowserStackSettings
from tests.fakes.browserstack.account import KEY, USER
from tests.fakes.browserstack.server import BrowserStack

APK = b"an apk"
DIGEST = hashlib.sha256(APK).hexdigest()
DEVICE = DeviceFacts("lab.browserstack-1", "browserstack-1", Target.BROWSERSTACK, "android", "14.0", "Google Pixel 8")
LOG: Any = structlog.get_logger()


def assignment(name: str = "t1", **fields: Any) -> Assignment:
    told = {"build_digest": DIGEST, "build_format": "apk", "build_package": "com.example.app"} | fields
    device = told.pop("device_id", DEVICE.device_id)
    return Assignment(f"acme~{name}", name, 1, 0, device, "acme", "1.0", "tests/a.spec.ts", Target.BROWSERSTACK, **told)


class Builds:
    """A build on the disk, and how often it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "app.apk"
        self.path.write_bytes(APK)
        self.fetched = 0

    async def get(self, assignment: Assignment, platform: str, kind: str) -> Build:
        self.fetched += 1
        await asyncio.sleep(0)
        return Build(self.path, DIGEST, "apk")


class OneLock:
    """What coordinators answer, in this process: the same words as theirs. What is held ends by itself, as theirs."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[str, float]] = {}  # token, until when
        self.known: dict[str, str] = {}

    def _holder(self, key: str) -> str | None:
        token, until = self.held.get(key, ("", 0.0))
        return token if time.monotonic() < until else None

    async def ask(self, account: str, digest: str, token: str, held_seconds: float) -> Answer:
        assert held_seconds > 0
        if digest in self.known:
            return Answer(Word.KNOWN, self.known[digest])
        if self._holder(account + digest) not in (None, token):
            return Answer(Word.TAKEN)
        self.held[account + digest] = token, time.monotonic() + held_seconds
        return Answer(Word.YOURS)

    async def done(self, account: str, digest: str, token: str, app_url: str) -> Answer:
        if digest in self.known:
            return Answer(Word.KNOWN, self.known[digest])
        if self._holder(account + digest) != token:
            return Answer(Word.STALE)
        del self.held[account + digest]
        self.known[digest] = app_url
        return Answer(Word.KNOWN, app_url)

    async def give_up(self, account: str, digest: str, token: str) -> Answer:
        if self._holder(account + digest) == token:
            del self.held[account + digest]
        return Answer(Word.STALE)


class Waits:
    """Pauses that take no time, and how long they would have been."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


def rest_of(cloud: BrowserStack, waits: Any = None, key: str = KEY) -> Rest:
    return Rest(Account(USER, key), cloud.url, pause_seconds=0.01, waits=waits or Waits())


class OnItsWay:
    """Is told how far a request for a session has come."""

    def __init__(self, *, may_go: bool = True) -> None:
        self.goes = may_go
        self.out = asyncio.Event()

    def may_go(self) -> bool:
        return self.goes

    def sent(self) -> None:
        self.out.set()


unsaid = OnItsWay()
"""Where no test looks at that."""


def apps_of(rest: Rest, builds: Builds, uploads: Any) -> Apps:
    return Apps(rest, builds, uploads, "the account", 30.0, LOG)


def settings_of(cloud: BrowserStack, **fields: Any) -> BrowserStackSettings:
    told: dict[str, Any] = {
        "agent_id": "lab",
        "user": USER,
        "access_key": KEY,
        "api_url": cloud.url,
        "hub_url": cloud.hub,
        "model": "Google Pixel 8",
        "os_version": "14.0",
        "platform": "android",
        "look_seconds": 0.05,
        "wait_seconds": 20.0,
        "pause_seconds": 0.1,
    }
    return BrowserStackSettings(**told | fields)


class Told:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def device(self, event: InstallEnded | DeviceSeen | DeviceLost | DeviceProbed) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def now(self) -> dict[str, str | None]:
        """The devices that are there, and what is wrong with each."""
        there: dict[str, str | None] = {}
        for event in self.events:
            if isinstance(event, DeviceSeen):
                there[event.facts.udid] = event.facts.reason
            elif isinstance(event, DeviceLost):
                there.pop(event.device_id.rpartition(".")[2], None)
        return there


def provider_of(
    cloud: BrowserStack,
    sink: Told,
    folder: Path,
    uploads: Any = None,
    **fields: Any,
) -> BrowserStackDevices:
    return BrowserStackDevices(sink, settings_of(cloud, **fields), Builds(folder), uploads or OneLock(), LOG)
