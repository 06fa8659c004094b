"""A runner with the real AppWright or Playwright, a suite of the test's own, and a fake Appium."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import structlog

from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.core.events import AttemptEvent, AttemptFinished, AttemptKilled, AttemptStarted
from qgjob_agent.core.values import Assignment, DeathCause, DeviceFacts, Finished, Target
from qgjob_agent.devices.adb.server import AdbServer
from qgjob_agent.devices.app import App
from qgjob_agent.devices.cloud import Cloud
from qgjob_agent.executions.lease_file import LeaseTime
from qgjob_agent.runners.appwright.appium import PLAIN_PORT, Appium
from qgjob_agent.runners.appwright.appium_settings import AppiumSettings
from qgjob_agent.runners.appwright.launching import AppwrightSettings
from qgjob_agent.runners.appwright.projects import Projects
from qgjob_agent.runners.appwright.run import Run
from qgjob_agent.runners.appwright.runner import AppwrightRunner
from tests.fakes.appium.server import Server
from tests.fakes.waiting import DEADLINE_SECONDS, until

ROOT = Path(__file__).parents[3]
DEVICE = DeviceFacts("lab.one", "emulator-5554", Target.EMULATOR, platform="android")
OTHER = DeviceFacts("lab.two", "emulator-5556", Target.EMULATOR, platform="android")


ROOT = Path(__file__).parents[3]
OWN_APPIUM = ("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tests.fakes.appium", "--port", "{port}")


class Told:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.events: list[AttemptEvent] = []
        self.logs: dict[str, bytes] = {}

    def report(self, events: list[AttemptEvent]) -> None:
        self.events += events

    def not_begun(self, token: str, error: str) -> None:
        raise AssertionError(f"{token}: {error}")

    def failed(self, error: Exception) -> None:
        raise error

    def log(self, job_id: str, token: str, offset: int, data: bytes) -> None:
        kept = self.logs.get(token, b"")
        self.logs[token] = kept[:offset] + data

    def of(self, token: str) -> list[AttemptEvent]:
        return [event for event in self.events if event.token == token]

    def last(self, token: str) -> AttemptFinished | AttemptKilled | None:
        """The last event of an attempt; there is one of them at most."""
        last = [event for event in self.of(token) if isinstance(event, AttemptFinished | AttemptKilled)]
        assert len(last) <= 1, last
        return last[0] if last else None

    def begun(self, token: str) -> bool:
        return any(isinstance(event, AttemptStarted) for event in self.of(token))

    def finished(self, token: str) -> Finished:
        event = self.last(token)
        assert isinstance(event, AttemptFinished), (event, self.logs.get(token))
        return event.finished

    def killed(self, token: str) -> tuple[DeathCause | None, bool]:
        event = self.last(token)
        assert isinstance(event, AttemptKilled), (event, self.logs.get(token))
        return event.cause, event.begun


class Lab:
    """One host. `begin` makes a daemon's runner; a second one is the next daemon."""

    def __init__(self, folder: Path, suite: Path, sdk: Path) -> None:
        self.folder = folder
        self.suite = suite
        self.environ = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "ANDROID_HOME": str(sdk)}
        self.hub = Server()
        self.told = Told()
        self.lease_seconds = 300.0
        self.plain = False
        self.project = "android"
        self.app: App | None = None  # what is installed, where the runner is to know it
        self.linger_seconds = 1.0
        self.attempts_per_run = 8
        self.appium_url = ""
        self.appium_argv: tuple[str, ...] = ()  # has the runner begin one of its own
        self.picture: bytes | None = None  # what devices show
        self.adb = AdbServer()
        self.projects: dict[str, str] = {}  # by kind of device
        self.cloud: Cloud | None = None
        self.runner: AppwrightRunner | None = None
        self._children: list[subprocess.Popen[bytes]] = []

    async def die(self) -> None:
        """The daemon ends, as if it had been killed; what it began goes on."""
        assert self.runner is not None
        runs = [run for line in self.runner._lines.values() for run in line]
        self._children += [run.execution.process for run in runs if run.execution.process is not None]
        await self.runner.close()

    async def begin(self) -> AppwrightRunner:
        if not self.appium_url and not self.appium_argv:
            self.appium_url = f"http://127.0.0.1:{await self.hub.start(PLAIN_PORT if self.plain else 0)}"
        log: Any = structlog.get_logger()
        settings = AppwrightSettings(
            suite=self.suite,
            projects=Projects(self.project, self.projects),
            config="appwright.config.ts",
            node="node",
            environ=self.environ,
            output_bytes=100_000,
            attempts_per_run=self.attempts_per_run,
            plain=self.plain,
            grace_seconds=0.5,
            executions=self.folder / "executions",
            lease_path=self.folder / "lease",
            linger_seconds=self.linger_seconds,
            derived_data=self.folder / "webdriveragent",
            adb=self.adb,
        )
        state, url = self.folder / "appium", self.appium_url or None
        started = AppiumSettings(
            self.appium_argv, self.environ, state, self.suite, url, keep=False, capabilities=self.adb.capabilities()
        )
        appium = Appium(started, log)
        app_of = None if self.app is None else self._app_of
        screens = None if self.picture is None else self._screen
        self.runner = AppwrightRunner(
            self.told, settings, appium, self._lease, log, app_of, self.cloud, screens=screens
        )
        return self.runner

    async def _screen(self, _device_id: str) -> bytes | None:
        return self.picture

    async def _app_of(self, assignment: Assignment, device: DeviceFacts) -> App:
        assert self.app is not None
        return self.app

    def _lease(self) -> LeaseTime:
        return LeaseTime(monotonic_seconds(), self.lease_seconds, 0.2)

    async def end(self) -> None:
        """Ends what the test left, idle processes too."""
        runner = self.runner
        if runner is not None:
            for token in list(runner._attempts):
                runner.kill(token, DeathCause.SHUTDOWN, 0.0)
            for run in self.runs():
                if run.joinable and not run.left:
                    runner._dismiss(run)
            await until(self.idle, "the end of all attempts")
            await runner.close()
        for child in self._children:  # of daemons that have died: those are their parents no more
            await asyncio.to_thread(child.wait, DEADLINE_SECONDS)
        if self.appium_url:
            await self.hub.stop()

    def job(self, test: str, **fields: Any) -> Assignment:
        """An attempt of a test file; its token is the file's name without its ending, and a number if one is given."""
        token = f"{test.partition('.')[0]}{fields.pop('number', '')}"
        device: DeviceFacts = fields.pop("device", DEVICE)
        return Assignment(
            f"acme~{token}", token, 1, 0, device.device_id, "acme", "1.0", f"tests/{test}", device.target, **fields
        )

    async def ended(self, *tokens: str, seconds: float = 180.0) -> None:
        """Waits until each of these attempts has had its last event."""
        await until(
            lambda: all(self.told.last(token) for token in tokens),
            lambda: f"{[t for t in tokens if not self.told.last(t)]} did not end: {self.told.events} {self.told.logs}",
            seconds=seconds,
        )

    def runs(self) -> list[Run]:
        assert self.runner is not None
        return [run for line in self.runner._lines.values() for run in line]

    def idle(self) -> bool:
        return self.runner is None or not any(self.runner._lines.values())


def told_by_own(lab: Lab) -> dict[str, Any]:
    """What the Appium says that the agent has started."""
    port = json.loads((lab.folder / "appium" / "appium.json").read_text("utf-8"))["port"]
    with urlopen(f"http://127.0.0.1:{port}/_fake/counts", timeout=DEADLINE_SECONDS) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def counts(lab: Lab) -> dict[str, Any]:
    """What the hub counted, per device."""
    return {udid: (x.sessions, x.installs, x.resets, x.refused_busy) for udid, x in lab.hub.hub.counts.items()}
