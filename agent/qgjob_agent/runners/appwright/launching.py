"""What a run is begun with: its command and its plan, made of the settings and of what was found on the host."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgjob_agent.devices.adb.server import AdbServer
from qgjob_agent.executions import names
from qgjob_agent.executions.execution import Command, Several
from qgjob_agent.runners.appwright import plan as planning
from qgjob_agent.runners.appwright.cloud import FOLDER
from qgjob_agent.runners.appwright.run import PLAN_FILE
from qgjob_agent.runners.command_template import of_host, variables

if TYPE_CHECKING:
    from qgjob_agent.core.values import Assignment, DeviceFacts
    from qgjob_agent.devices.app import App
    from qgjob_agent.executions.planned import PlannedExecution
    from qgjob_agent.hub_address import Address
    from qgjob_agent.runners.appwright.ports import Slot
    from qgjob_agent.runners.appwright.projects import Projects
    from qgjob_agent.runners.appwright.run import Run
    from qgjob_agent.runners.appwright.versions import Versions

_FIRST_SECONDS = 60.0  # of silence while Playwright starts, however short an attempt's own limit is
_LAST_SECONDS = 30.0  # for Playwright's own end, when all of its files have ended


@dataclass(frozen=True, slots=True)
class AppwrightSettings:
    """What the runner starts, and where. `environ` is what tests may inherit, already chosen.

    `suite` is that of attempts that name none; None: there is none.
    """

    suite: Path | None
    projects: Projects
    config: str
    node: str
    environ: dict[str, str]
    output_bytes: int
    attempts_per_run: int
    plain: bool
    grace_seconds: float
    executions: Path
    lease_path: Path
    linger_seconds: float = 5.0  # that a process with nothing to do waits for another file
    derived_data: Path | None = None  # where WebDriverAgent is built, in a folder for each device
    adb: AdbServer = field(default_factory=AdbServer)  # of the Android devices


@dataclass(frozen=True, slots=True)
class Ready:
    """What was found for a run. `address` None: its tests need no Appium of ours. `slot` has the ports of its sessions,
    where the preload sets them.

    `in_cloud`: its sessions are asked for, one by one.
    """

    suite: Path
    project: str
    versions: Versions
    address: Address | None
    app: App
    slot: Slot | None = None
    in_cloud: bool = False
    capabilities: dict[str, Any] = field(default_factory=dict)
    appium_log: Path | None = None  # where the Appium is this agent's

    @property
    def held(self) -> tuple[int, ...]:
        """What the supervisor is to keep open, so that nobody has its ports meanwhile."""
        return () if self.slot is None else (self.slot.held.fileno(),)


def attempt_of(execution: PlannedExecution, index: int, suite: Path) -> dict[str, Any]:
    """What the preload and the reporter read of one attempt. Raises TestPathError."""
    what = execution.attempts[index]
    return {
        "index": index,
        "file": str(planning.test_file(suite, what.test_path)),
        "claim": str(execution.claim_path(index)),
        "output": str(execution.attempt_dir(index) / names.OUTPUT),
        "files": str(execution.files_of(index)),
        "env": _of_attempt(what, execution.files_of(index)),
        "timeout_ms": what.timeout_ms,
        "silence_timeout_ms": what.silence_timeout_ms,
    }


def plan_of(run: Run, ready: Ready, settings: AppwrightSettings) -> dict[str, Any]:
    """What the preload and the reporter read; see js/. Raises TestPathError."""
    execution = run.execution
    return {
        "suite": str(ready.suite),
        "events": str(execution.path / names.EVENTS),
        "project": ready.project,
        "output_bytes": settings.output_bytes,
        "linger_ms": round(1000 * settings.linger_seconds) if ready.versions.joins else 0,
        "attempts": [attempt_of(execution, attempt.index, ready.suite) for attempt in run.left],
        "appium": None if ready.address is None else ready.address.options(),
        "appium_log": None if ready.appium_log is None else str(ready.appium_log),
        "plain": not ready.versions.fast and ready.address is not None,  # each session installs the app
        "udid": run.device.udid,
        "app_package": ready.app.package,
        "ports": {} if ready.slot is None else ready.slot.ports,
        "cloud": {"sessions": str(execution.path / FOLDER), "app_url": ready.app.url} if ready.in_cloud else None,
        "capabilities": ready.capabilities,
    }


def command_of(run: Run, ready: Ready, settings: AppwrightSettings, look_seconds: float) -> Command:
    """The command of a run, for its supervisor. Raises TestPathError."""
    execution, left = run.execution, run.left
    first = left[0].assignment
    tools = planning.Tools(settings.node, ready.versions.folder, settings.config, ready.project)
    files = [planning.test_file(ready.suite, attempt.assignment.test_path) for attempt in left]
    # Also what Playwright compiles is kept there: one that is killed while it writes would leave others half a file.
    env = settings.environ | {"TMPDIR": str(execution.path / names.TMP)} | first.env
    env |= planning.environment(env, execution.path / PLAN_FILE, fast=ready.versions.fast)
    env |= ready.app.variables() | variables(_of_device(first, run.device))
    if not ready.versions.fast:  # else each gets its own from the preload
        env |= _of_attempt(first, execution.files_of(left[0].index))
    return Command(
        argv=planning.words(tools, files, execution.output_dir),
        env=env,
        cwd=str(ready.suite),
        timeout_ms=0,
        silence_timeout_ms=0,
        grace_seconds=settings.grace_seconds,
        output_bytes=settings.output_bytes,
        several=Several([_limits(x.index, x.assignment) for x in left], _FIRST_SECONDS, _LAST_SECONDS),
        look_seconds=look_seconds,
        of_host=of_host(settings.node, first.env, in_suite=first.suite_digest is not None),
    )


def _limits(index: int, assignment: Assignment) -> tuple[int, int, int]:
    return index, assignment.timeout_ms, assignment.silence_timeout_ms


def _of_device(assignment: Assignment, device: DeviceFacts) -> dict[str, str]:
    """What all attempts of a run share, as the variables QGJOB_* have it."""
    return {
        "app_version_id": assignment.app_version_id,
        "org_id": assignment.org_id,
        "device_id": device.device_id,
        "udid": device.udid,
        "target": (assignment.target or device.target).value,
        "platform": device.platform or "",
    }


def _of_attempt(assignment: Assignment, files: Path) -> dict[str, str]:
    """What is an attempt's own."""
    values = {
        "test_path": assignment.test_path,
        "job_id": assignment.job_id,
        "attempt": str(assignment.attempt),
        "output_dir": str(files),
    }
    return variables(values)
