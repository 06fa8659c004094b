"""What a run needs to be there before it begins: suite, versions, Appium, build, ports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgjob_agent.core.values import Target
from qgjob_agent.devices.app import App
from qgjob_agent.runners.appwright.appium import PLAIN_PORT
from qgjob_agent.runners.appwright.capabilities import capabilities_of
from qgjob_agent.runners.appwright.launching import Ready
from qgjob_agent.runners.appwright.projects import kinds_of
from qgjob_agent.runners.appwright.versions import SuiteError, Versions, look_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

    from qgjob_agent.core.values import Assignment, DeviceFacts
    from qgjob_agent.devices.cloud import Cloud
    from qgjob_agent.runners.appwright.appium import Appium
    from qgjob_agent.runners.appwright.launching import AppwrightSettings
    from qgjob_agent.runners.appwright.ports import PortSlots
    from qgjob_agent.runners.appwright.run import Run


class Readying:
    """Finds it, or has it made ready. For the arguments see AppwrightRunner; `lines` are the runs of each device."""

    def __init__(
        self,
        settings: AppwrightSettings,
        appium: Appium,
        slots: PortSlots,
        app_of: Callable[[Assignment, DeviceFacts], Awaitable[App]] | None,
        cloud: Cloud | None,
        suite_of: Callable[[Assignment], Path | None],
        lines: Mapping[str, Iterable[Run]],
        log: Any,
    ) -> None:
        self._settings = settings
        self._appium = appium
        self._slots = slots
        self._app_of = app_of
        self._cloud = cloud
        self._suite_of = suite_of
        self._lines = lines
        self._log = log
        self._said: set[str] = set()

    async def ready(self, run: Run) -> Ready:
        """All of it. Raises SuiteError, AppiumError, AppUnknownError."""
        suite = self.suite(run.execution.assignment)
        project = self._project(run.device)
        versions = look_at(suite, plain=self._settings.plain)
        what = run.execution.assignment
        if self._cloud is not None and run.desk is not None:
            return await self._in_cloud(run, project, versions, self._cloud)
        app = App() if self._app_of is None else await self._app_of(what, run.device)
        address = None
        if (what.target or run.device.target) is not Target.BROWSERSTACK and versions.appwright is not None:
            self._say("appwright_plain", versions.why_plain)
            self._say("appwright_alone", versions.why_alone)
            if versions.why_plain is not None:
                self._say_of_adb()
            address = await self._appium.ready(0 if versions.fast else PLAIN_PORT, self._in_use)
            run.has_appium = True
        needed = address is not None and versions.fast and run.left  # of a device that is lost all were taken back
        slot = self._slots.of(run.device) if needed else None
        own = capabilities_of(run.device, self._settings.derived_data, self._settings.adb)
        log = None if address is None else self._appium.log_of(address)
        return Ready(suite, project, versions, address, app, slot, capabilities=own, appium_log=log)

    async def _in_cloud(self, run: Run, project: str, versions: Versions, cloud: Cloud) -> Ready:
        """Sessions of a shared plan are asked for, which AppWright as it is would not do."""
        if not versions.fast:
            raise SuiteError(
                f"{versions.why_plain or 'the suite has no AppWright'}; on devices of a cloud sessions begin when the "
                "plan has room for them, and that needs versions for which it was tried (see docs/appwright.md)"
            )
        app = await cloud.app(run.execution.assignment, run.device)
        return Ready(self.suite(run.execution.assignment), project, versions, None, app, in_cloud=True)

    def suite(self, assignment: Assignment) -> Path:
        """That which the job brings, else the agent's. Raises SuiteError where there is none."""
        suite = self._suite_of(assignment) or self._settings.suite
        if suite is None:
            raise SuiteError("the job brings no suite, and this agent has none; submit it with --suite DIR")
        return suite

    def _in_use(self) -> bool:
        return any(run.has_appium for line in self._lines.values() for run in line)

    def _project(self, device: DeviceFacts) -> str:
        project = self._settings.projects.of(device.platform, device.target)
        if not project:  # of a device that an earlier life of the agent had, with other settings
            whose = f"{device.device_id} ({' or '.join(kinds_of(device.platform, device.target))})"
            raise SuiteError(f"no project of the suite is named for {whose}; see [appwright.projects] in agent.toml")
        return project

    def _say(self, event: str, why: str | None) -> None:
        """That a suite gets less than the fast mode, once for each reason."""
        if why is not None and why not in self._said:
            self._said.add(why)
            self._log.warning(event, why=why)

    def _say_of_adb(self) -> None:
        """What an Appium of others has to know for plain mode, once."""
        wanted, event = self._settings.adb.capabilities(), "appwright_plain_adb"
        if self._appium.of_others and wanted and event not in self._said:
            self._said.add(event)
            self._log.warning(event, wanted=wanted)
