"""The AppWright runner: batches of test files, each batch in as few Playwright processes as its attempts allow."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qgjob_agent import execution_dir as names
from qgjob_agent.clock import wall_ms
from qgjob_agent.command_template import variables
from qgjob_agent.core.events import (
    AttemptFinished,
    AttemptInstalled,
    AttemptKilled,
    AttemptProgressed,
    AttemptStarted,
    RunningAttempt,
)
from qgjob_agent.core.values import DeathCause, DeviceFacts, Finished, Outcome, Target
from qgjob_agent.disk_watch import is_of_the_disk
from qgjob_agent.event_lines import EventLines
from qgjob_agent.executions import Command, Execution, Several, remove_tree
from qgjob_agent.log_follower import LogFollower
from qgjob_agent.process_tree import hunt
from qgjob_agent.runners.appwright import plan as planning
from qgjob_agent.runners.appwright.appium import MOST_SLOTS, PLAIN_PORT, AppiumError, ports_of
from qgjob_agent.runners.appwright.ends import Left, end_of
from qgjob_agent.runners.appwright.hub import Address, forget_sessions
from qgjob_agent.runners.appwright.story import Story, attempt_of, percent_of
from qgjob_agent.runners.appwright.versions import SuiteError, Versions, look_at
from qgjob_agent.runners.base import Recovery

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from qgjob_agent.core.events import AttemptEvent
    from qgjob_agent.core.values import Assignment
    from qgjob_agent.lease_file import LeaseTime
    from qgjob_agent.runners.appwright.appium import Appium
    from qgjob_agent.runners.base import Sink

_FOLLOW_SECONDS = 0.25
_POLL_SECONDS = 0.1  # where there is no pidfd
_HUNT_PATIENCE_SECONDS = 5.0
_FIRST_SECONDS = 60.0  # of silence while Playwright starts, however short an attempt's own limit is
_LAST_SECONDS = 30.0  # for Playwright's own end, when all of its files have ended
_PLAN_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class AppwrightSettings:
    """What the runner starts, and where. `environ` is what tests may inherit, already chosen."""

    suite: Path
    project: str
    config: str
    node: str
    environ: dict[str, str]
    output_bytes: int
    attempts_per_run: int
    plain: bool
    grace_seconds: float
    executions: Path
    lease_path: Path


@dataclass(slots=True, eq=False)
class _Attempt:
    """One attempt of a run. `over`: its last event was told, or another run has it."""

    assignment: Assignment
    follower: LogFollower
    story: Story = field(default_factory=Story)
    over: bool = False


class _Run:
    """One execution of a device: planned, then under way, then over. `attempts` are those that it answers for."""

    __slots__ = ("active", "attempts", "device", "done", "events", "execution", "found_dead", "held", "ready", "timer")

    def __init__(self, execution: Execution, device: DeviceFacts, attempts: dict[int, _Attempt]) -> None:
        self.execution = execution
        self.device = device
        self.attempts = attempts
        self.events = EventLines(str(execution.path / names.EVENTS))
        self.held: _Attempt | None = None  # ended, and its process has not gone on to the next yet
        self.active = False
        self.done = False  # Playwright itself has said that it is
        self.found_dead = False
        self.ready = -1
        self.timer: asyncio.TimerHandle | None = None

    @property
    def left(self) -> list[tuple[int, _Attempt]]:
        """The attempts that are not over, in order."""
        return [(index, attempt) for index, attempt in self.attempts.items() if not attempt.over]


@dataclass(frozen=True, slots=True)
class _Ready:
    """What a run needs to begin."""

    suite: Path
    versions: Versions
    address: Address | None
    app: planning.App


class AppwrightRunner:
    """Several attempts of a device in one process.

    `lease` gives the last confirmed lease time, `app_of` the build of an attempt; it may raise AppUnknownError.
    """

    def __init__(
        self,
        sink: Sink,
        settings: AppwrightSettings,
        appium: Appium,
        lease: Callable[[], LeaseTime],
        log: Any,
        app_of: Callable[[Assignment, DeviceFacts], Awaitable[planning.App]] | None = None,
    ) -> None:
        self.attempts_per_execution = settings.attempts_per_run
        self._sink = sink
        self._settings = settings
        self._appium = appium
        self._lease = lease
        self._log = log
        self._app_of = app_of
        self._lines: dict[str, deque[_Run]] = {}  # of each device: the run under way, and those that wait
        self._living: dict[str, tuple[_Run, int]] = {}
        self._ended: dict[str, tuple[_Run, int]] = {}
        self._slots: dict[str, int] = {}
        self._plain_said: set[str] = set()
        self._generation = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    # ---- beginning ----

    def start(self, device: DeviceFacts, assignments: list[Assignment]) -> None:
        """Begins attempts; see Runner."""
        for group in planning.split(assignments, self._settings.attempts_per_run):
            self._plan(device, group)
        self._next(device.device_id)

    def _plan(self, device: DeviceFacts, group: list[Assignment], *, first: bool = False) -> bool:
        """Makes a run and puts it in line; False, all being told, where that is refused."""
        self._generation += 1
        facts = {
            "generation": self._generation,
            "suite": str(self._settings.suite),
            "slot": self._slot(device.device_id),
            "device": _device_fields(device),
        }
        try:
            execution = Execution.planned(self._settings.executions, group, facts)
        except OSError as error:
            self._refuse(group, error)
            return False
        run = self._run(execution, device, range(len(group)))
        line = self._lines.setdefault(device.device_id, deque())
        if first:
            line.appendleft(run)
        else:
            line.append(run)
        return True

    def _refuse(self, group: list[Assignment], error: OSError) -> None:
        for assignment in group:
            self._living.pop(assignment.token, None)
            if is_of_the_disk(error):
                self._sink.not_begun(assignment.token, error.strerror or str(error))
            else:
                finished = _failed(Outcome.DEVICE_ERROR, f"not startable: {error}")
                self._sink.report([AttemptFinished(assignment.token, finished)])

    def _run(self, execution: Execution, device: DeviceFacts, indexes: Any) -> _Run:
        attempts: dict[int, _Attempt] = {}
        for index in indexes:
            what = execution.attempts[index]
            path = execution.attempt_dir(index) / names.OUTPUT
            attempts[index] = _Attempt(what, LogFollower(path, what.job_id, what.token, self._sink))
        run = _Run(execution, device, attempts)
        for index, attempt in attempts.items():
            self._living[attempt.assignment.token] = (run, index)
        return run

    def _slot(self, device_id: str) -> int:
        """The number by which a device has ports of its own."""
        taken = set(self._slots.values())
        free = next((slot for slot in range(MOST_SLOTS) if slot not in taken), MOST_SLOTS)
        return self._slots.setdefault(device_id, free)

    def _next(self, device_id: str) -> None:
        """Begins the next run of a device, if none is under way."""
        line = self._lines.get(device_id)
        if line and not line[0].active:
            line[0].active = True
            self._spawn(self._launch(line[0]), "appwright-launch")

    def _spawn(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _launch(self, run: _Run) -> None:
        """Makes ready what the run needs, then begins it with those that nobody took back meanwhile."""
        try:
            suite = self._settings.suite
            versions = look_at(suite, plain=self._settings.plain)
            address = await self._address(run, versions)
            app = await self._app(run)
        except (SuiteError, AppiumError, planning.AppUnknownError) as error:
            outcome = Outcome.DEVICE_ERROR if isinstance(error, AppiumError) else Outcome.PROVIDER_ERROR
            self._over(run, [self._finish(run, index, _failed(outcome, str(error))) for index, _ in run.left])
            return
        events: list[AttemptEvent] = []
        for index, attempt in run.left:
            try:
                planning.test_file(suite, attempt.assignment.test_path)
            except planning.TestPathError as error:
                events.append(self._finish(run, index, _failed(Outcome.TEST_FAILED, str(error))))
        if run.left and not versions.fast and len(run.attempts) > 1:  # nothing keeps a file from beginning
            self._over(run, events, [[attempt.assignment] for _, attempt in run.left])
        elif run.left:
            self._sink.report(events)
            if versions.fast or run.execution.begin(run.left[0][0]):
                self._begin(run, _Ready(suite, versions, address, app))
            else:
                self._over(run, [])
        else:
            self._over(run, events)

    async def _address(self, run: _Run, versions: Versions) -> Address | None:
        target = run.execution.assignment.target or run.device.target
        if target is Target.BROWSERSTACK or versions.appwright is None:
            return None
        if versions.why_plain is not None and versions.why_plain not in self._plain_said:
            self._plain_said.add(versions.why_plain)
            self._log.warning("appwright_plain", why=versions.why_plain, installs="one for each test")
        return await self._appium.ready(0 if versions.fast else PLAIN_PORT)

    async def _app(self, run: _Run) -> planning.App:
        if self._app_of is None:
            return planning.App()
        return await self._app_of(run.execution.assignment, run.device)

    def _begin(self, run: _Run, ready: _Ready) -> None:
        execution = run.execution
        try:
            told = self._told(run, ready)
            (execution.path / _PLAN_FILE).write_text(json.dumps(told), "utf-8")
            run.ready = execution.launch(self._command(run, ready), self._lease(), self._settings.lease_path)
        except OSError as error:
            group = [attempt.assignment for _, attempt in run.left]
            self._over(run, [], gone=True)
            self._refuse(group, error)
            self._next(run.device.device_id)
            return
        self._loop.add_reader(run.ready, self._close_ready, run)
        self._follow(run)

    def _told(self, run: _Run, ready: _Ready) -> dict[str, Any]:
        """The plan of a run, as the preload and the reporter read it."""
        execution = run.execution
        attempts = [
            {
                "index": index,
                "file": str(planning.test_file(ready.suite, attempt.assignment.test_path)),
                "claim": str(execution.claim_path(index)),
                "output": str(execution.attempt_dir(index) / names.OUTPUT),
                "files": str(execution.files_of(index)),
                "env": _of_attempt(attempt.assignment, execution.files_of(index)),
            }
            for index, attempt in run.left
        ]
        device = {"udid": run.device.udid, "app_package": ready.app.package, "ports": ports_of(execution.facts["slot"])}
        events = execution.path / names.EVENTS
        return planning.plan_of(
            ready.suite,
            attempts,
            events,
            self._settings.output_bytes,
            ready.address,
            device,
            plain=not ready.versions.fast,
        )

    def _command(self, run: _Run, ready: _Ready) -> Command:
        suite, versions = ready.suite, ready.versions
        settings, execution, left = self._settings, run.execution, run.left
        first_index, first = left[0]
        tools = planning.Tools(settings.node, versions.folder, settings.config, settings.project)
        files = [planning.test_file(suite, attempt.assignment.test_path) for _, attempt in left]
        env = settings.environ | planning.environment(settings.environ, execution.path / _PLAN_FILE, fast=versions.fast)
        env |= {"TMPDIR": str(execution.path / names.TMP)} | ready.app.variables() | first.assignment.env
        env |= variables(_of_device(first.assignment, run.device))
        env |= _of_attempt(first.assignment, execution.files_of(first_index)) if len(left) == 1 else {}
        limits = [(i, x.assignment.timeout_ms, x.assignment.silence_timeout_ms) for i, x in left]
        return Command(
            argv=planning.words(tools, files, execution.output_dir),
            env=env,
            cwd=str(suite),
            timeout_ms=0,
            silence_timeout_ms=0,
            grace_seconds=settings.grace_seconds,
            output_bytes=settings.output_bytes,
            several=Several(limits, _FIRST_SECONDS, _LAST_SECONDS),
        )

    # ---- watching ----

    def _close_ready(self, run: _Run) -> None:
        if run.ready >= 0:
            self._loop.remove_reader(run.ready)
            os.close(run.ready)
            run.ready = -1

    def _follow(self, run: _Run) -> None:
        if run.execution.pidfd >= 0:
            self._loop.add_reader(run.execution.pidfd, self._on_end, run)
        watched = run.execution.pidfd >= 0
        run.timer = self._loop.call_later(_FOLLOW_SECONDS if watched else _POLL_SECONDS, self._tick, run)

    def _tick(self, run: _Run) -> None:
        self._read(run)
        watched = run.execution.pidfd >= 0
        if not watched and not run.execution.supervised:
            self._on_end(run)
            return
        run.timer = self._loop.call_later(_FOLLOW_SECONDS if watched else _POLL_SECONDS, self._tick, run)

    def _read(self, run: _Run) -> None:
        """Passes on what happened since the last look."""
        events = self._events(run)
        for _, attempt in run.left:
            attempt.follower.read()
        if events:
            self._sink.report(events)

    def _events(self, run: _Run) -> list[AttemptEvent]:
        told: list[AttemptEvent] = []
        for event in run.events.read():
            run.done = run.done or event.get("event") == "done"
            index = attempt_of(event)
            attempt = None if index is None else run.attempts.get(index)
            if attempt is None:
                continue
            if event.get("event") == "begin" and run.held not in (None, attempt):
                told += self._let_go(run)
            if not attempt.over:
                told += self._take(run, attempt, event)
        return told

    def _take(self, run: _Run, attempt: _Attempt, event: dict[str, Any]) -> list[AttemptEvent]:
        story = attempt.story
        begun, ended = story.begun_at_ms, story.ended
        story.take(event)
        token = attempt.assignment.token
        told: list[AttemptEvent] = []
        if not begun and story.begun_at_ms:
            told.append(AttemptStarted(token, story.begun_at_ms))
        if not ended and story.ended:
            told += self._let_go(run)
            run.held = attempt
        elif event.get("event") == "progress" and not ended:
            told.append(AttemptProgressed(token, percent_of(event)))
        return told

    def _let_go(self, run: _Run) -> list[AttemptEvent]:
        """The attempt that has ended is told: its process has gone on from it, or is dead."""
        attempt, run.held = run.held, None
        if attempt is None or attempt.over:
            return []
        index = self._living[attempt.assignment.token][1]
        return [*_installed(attempt), self._finish(run, index, attempt.story.finished())]

    def _finish(self, run: _Run, index: int, finished: Finished) -> AttemptEvent:
        return self._close(run, index, AttemptFinished(run.attempts[index].assignment.token, finished))

    def _close(self, run: _Run, index: int, event: AttemptEvent) -> AttemptEvent:
        """The last event of an attempt: the end of its log goes before it."""
        attempt = run.attempts[index]
        attempt.follower.read()
        attempt.over = True
        self._living.pop(attempt.assignment.token, None)
        self._ended[attempt.assignment.token] = (run, index)
        return event

    def _on_end(self, run: _Run) -> None:
        """The supervisor has ended: its tree is dead, unless it was killed itself."""
        self._stop_watching(run)
        self._spawn(self._settle(run), "appwright-end")

    def _stop_watching(self, run: _Run) -> None:
        if run.timer is not None:
            run.timer.cancel()
        self._close_ready(run)
        if run.execution.pidfd >= 0:
            self._loop.remove_reader(run.execution.pidfd)
        run.execution.close()

    async def _settle(self, run: _Run) -> None:
        execution = run.execution
        if execution.result() is None:
            self._log.warning("supervisor_lost", job_id=execution.assignment.job_id, token=execution.assignment.token)
            while living := await asyncio.to_thread(
                hunt, names.MARKER, execution.path.name, execution.cgroup, _HUNT_PATIENCE_SECONDS
            ):
                self._log.warning("tree_will_not_die", job_id=execution.assignment.job_id, pids=living)
        events, again = self._conclude(run)
        await self._free(run)
        self._over(run, events, again)

    async def _free(self, run: _Run) -> None:
        """A run that was ended in the middle leaves its session behind, and a device can have one at a time."""
        if run.done:
            return
        try:
            told = json.loads((run.execution.path / _PLAN_FILE).read_text("utf-8"))
            address = Address.of_options(told["appium"]) if told["appium"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return  # it has not come so far
        if address is not None:
            count = await forget_sessions(address, run.device.udid)
            self._log.info("appium_sessions_forgotten", device_id=run.device.device_id, count=count)

    def _conclude(self, run: _Run) -> tuple[list[AttemptEvent], list[list[Assignment]]]:
        """What the end of a run means for each of its attempts: what is to be told, and what goes on, in which groups.

        Nothing of the run lives.
        """
        events = self._events(run) + self._let_go(run)
        result = run.execution.result()
        stories = [attempt.story for attempt in run.attempts.values()]
        stalled = not any(story.begun_at_ms or story.error or story.missing for story in stories)
        again: list[Assignment] = []
        alone = len(run.left) == 1
        for index, attempt in run.left:
            claim = run.execution.claim(index)
            end = end_of(attempt.story, index, claim, result, run.execution, alone=alone, found_dead=run.found_dead)
            if isinstance(end, Left):
                again.append(attempt.assignment)
                continue
            events += _installed(attempt)
            if isinstance(end, Finished):
                events.append(self._finish(run, index, end))
            else:
                events.append(self._close(run, index, AttemptKilled(attempt.assignment.token, *end)))
        if again:
            self._log.info("appwright_goes_on", attempts=len(again), device_id=run.device.device_id)
        one_by_one = stalled and result is not None and result.ended_by == names.EXIT
        return events, [[each] for each in again] if one_by_one else [again] if again else []

    def _over(
        self,
        run: _Run,
        events: list[AttemptEvent],
        again: list[list[Assignment]] | None = None,
        *,
        gone: bool = False,
    ) -> None:
        """The run has done what it could: the rest is planned anew before anything of it is taken away."""
        line = self._lines[run.device.device_id]
        with contextlib.suppress(ValueError):
            line.remove(run)
        moved = [index for index, _ in run.left]
        for _, attempt in run.left:
            attempt.over = True
        for group in reversed(again or []):
            self._plan(run.device, group, first=True)
        for index in moved:
            remove_tree(run.execution.attempt_dir(index))
            del run.attempts[index]
        self._tidy(run)
        if events:
            self._sink.report(events)
        if not gone:
            self._next(run.device.device_id)

    # ---- what the core asks for ----

    def kill(self, token: str, cause: DeathCause, grace_seconds: float) -> None:
        """Takes back what has not begun; of what has, asks the supervisor to end the tree. See Runner."""
        run, index = self._living.get(token, (None, 0))
        if run is None:
            return
        try:
            taken = run.execution.take_back(index, cause)
        except OSError:  # the disk: the supervisor ends it when it is its turn
            taken = False
        if taken:
            self._sink.report([self._close(run, index, AttemptKilled(token, wall_ms(), cause, begun=False))])
        else:
            run.execution.cancel(cause, grace_seconds, index)

    def settled(self, token: str) -> None:
        """The result is in the spool: the attempt's files may go, but not its output. See Runner."""
        run, index = self._ended.get(token, (None, 0))
        if run is not None:
            remove_tree(run.execution.files_of(index))

    def told(self, token: str) -> None:
        """The coordinator has the result: what is kept of the attempt may go."""
        run, index = self._ended.pop(token, (None, 0))
        if run is not None:
            if not remove_tree(run.execution.attempt_dir(index)):
                self._log.warning("execution_not_removed", path=str(run.execution.attempt_dir(index)))
            run.attempts.pop(index, None)
            self._tidy(run)

    def _tidy(self, run: _Run) -> None:
        """Takes the directory of a run away that is over and told."""
        if not run.attempts and run not in self._lines.get(run.device.device_id, ()) and not run.execution.remove():
            self._log.warning("execution_not_removed", path=str(run.execution.path))

    def prove_room(self) -> None:
        """See Runner."""
        Execution.prove_room(self._settings.executions)

    # ---- an earlier daemon's ----

    async def recover(self, settled: set[str]) -> Recovery:
        """Finds the runs of an earlier daemon; see Runner. What it had only planned begins now."""
        recovery = Recovery()
        for run in self._found():
            line = self._lines.setdefault(run.device.device_id, deque())
            lives = run.execution.launched and run.execution.adopt()
            events = self._events(run) if run.execution.launched else []
            for index, attempt in run.left:
                if attempt.assignment.token in settled:
                    self._close(run, index, AttemptKilled(attempt.assignment.token, 0))  # it is in the spool already
            for attempt in run.attempts.values():
                if attempt.assignment.token not in settled:
                    recovery.attempts.append(RunningAttempt(attempt.assignment, attempt.story.begun_at_ms))
            recovery.ended.extend(x for x in events if isinstance(x, AttemptFinished) and x.token not in settled)
            if not run.left and not lives:
                self._tidy(run)
                continue
            line.append(run)
            run.active = run.execution.launched
            if lives:
                self._follow(run)
            elif run.execution.launched:
                run.found_dead = run.execution.result() is None
                self._loop.call_soon(self._on_end, run)
        for device_id in self._lines:
            self._loop.call_soon(self._next, device_id)
        return recovery

    def _found(self) -> list[_Run]:
        """The runs in the order in which they were made. An attempt that was moved belongs to the last that has it."""
        root = self._settings.executions
        executions: list[Execution] = []
        for path in sorted(root.iterdir()) if root.is_dir() else []:
            execution = Execution.found_planned(path)
            if execution is None:
                self._remove(path)
            else:
                executions.append(execution)
        executions.sort(key=lambda execution: int(execution.facts["generation"]))
        last = {each.token: execution for execution in executions for each in execution.attempts}
        runs: list[_Run] = []
        for execution in executions:
            self._generation = max(self._generation, int(execution.facts["generation"]))
            device = _device_of(execution.facts["device"])
            self._slots.setdefault(device.device_id, int(execution.facts["slot"]))
            mine = [
                index
                for index, each in enumerate(execution.attempts)
                if execution.attempt_dir(index).is_dir() and last[each.token] is execution
            ]
            if mine or execution.supervised:
                runs.append(self._run(execution, device, mine))
            else:
                self._remove(execution.path)
        return runs

    def _remove(self, path: Path) -> None:
        if not remove_tree(path):
            self._log.warning("execution_not_removed", path=str(path))

    async def close(self) -> None:
        """Stops watching; the supervisors go on, and so does Appium unless it is to end with the agent."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for line in self._lines.values():
            for run in line:
                if run.active:
                    self._stop_watching(run)
        await self._appium.close()


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
    return variables(
        {
            "test_path": assignment.test_path,
            "job_id": assignment.job_id,
            "attempt": str(assignment.attempt),
            "output_dir": str(files),
        }
    )


def _device_fields(device: DeviceFacts) -> dict[str, Any]:
    return {
        "device_id": device.device_id,
        "udid": device.udid,
        "target": device.target.value,
        "platform": device.platform,
    }


def _device_of(fields: dict[str, Any]) -> DeviceFacts:
    return DeviceFacts(**fields | {"target": Target(fields["target"])})


def _installed(attempt: _Attempt) -> list[AttemptEvent]:
    """The installations that the attempt made itself."""
    story = attempt.story
    if not story.installs:
        return []
    return [AttemptInstalled(attempt.assignment.token, story.installs, story.install_ms // story.installs)]


def _failed(outcome: Outcome, error: str) -> Finished:
    now = wall_ms()
    return Finished(outcome, now, now, 0, error=error)
