"""The AppWright runner: batches of test files, each batch in as few Playwright processes as its attempts allow."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from qgjob_agent.clock import wall_ms
from qgjob_agent.core.events import AttemptFinished, AttemptInstalled, AttemptKilled, RunningAttempt
from qgjob_agent.core.values import DeathCause, DeviceFacts, Target
from qgjob_agent.devices.app import App
from qgjob_agent.disk_watch import is_of_the_disk
from qgjob_agent.executions.planned import PlannedExecution
from qgjob_agent.executions.removals import Removals
from qgjob_agent.executions.unread import look_through, read_to_the_end, result_of_ended
from qgjob_agent.host.leftovers import Leftovers
from qgjob_agent.runners.appwright import plan as planning
from qgjob_agent.runners.appwright.cloud import FOLDER, Desk
from qgjob_agent.runners.appwright.launching import AppwrightSettings, Ready, attempt_of, command_of, plan_of
from qgjob_agent.runners.appwright.leaving import Leaving
from qgjob_agent.runners.appwright.ports import PortSlots
from qgjob_agent.runners.appwright.readying import Readying
from qgjob_agent.runners.appwright.remembered import Facts, find, read
from qgjob_agent.runners.appwright.run import PLAN_FILE, Attempt, Run
from qgjob_agent.runners.appwright.session_ends import SessionEnds
from qgjob_agent.runners.appwright.unbegun import UNREADY, not_in_suite, not_startable, unready
from qgjob_agent.runners.base import Recovery
from qgjob_agent.runners.execution_watch import ExecutionWatch
from qgjob_agent.runners.last_looks import LastLooks
from qgjob_agent.runners.living_trees import LivingWatch
from qgjob_agent.runners.work import Work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from qgjob_agent.core.events import AttemptEvent
    from qgjob_agent.core.values import Assignment
    from qgjob_agent.devices.cloud import Cloud
    from qgjob_agent.executions.lease_file import LeaseTime
    from qgjob_agent.runners.appwright.appium import Appium
    from qgjob_agent.runners.base import EvidenceTaker, Sink
    from qgjob_agent.runners.last_looks import Screens

_FOLLOW_SECONDS = 0.02  # the device waits for it between two files


class AppwrightRunner:
    """Several attempts of a device in one process, in the order in which Playwright takes their files.

    `lease` gives the last confirmed lease time, `suite_of` the suite of an attempt that names one, `app_of` the build
    of an attempt; it may raise AppUnknownError. Devices that are in a cloud have sessions and builds from `cloud`;
    without one they are as the test project has them. `slots` gives devices their ports, any of this host's if
    it is not named. What hangs is looked at on `screens`.
    """

    def __init__(
        self,
        sink: Sink,
        settings: AppwrightSettings,
        appium: Appium,
        lease: Callable[[], LeaseTime],
        log: Any,
        app_of: Callable[[Assignment, DeviceFacts], Awaitable[App]] | None = None,
        cloud: Cloud | None = None,
        evidence: EvidenceTaker | None = None,
        suite_of: Callable[[Assignment], Path | None] = lambda _: None,
        slots: PortSlots | None = None,
        screens: Screens | None = None,
    ) -> None:
        self.attempts_per_execution = settings.attempts_per_run
        self._sink = sink
        self._settings = settings
        self._appium = appium
        self._lease = lease
        self._log = log
        self._cloud = cloud
        self._lines: dict[str, deque[Run]] = {}  # of each device: the run under way, and those that wait
        self._attempts: dict[str, tuple[Run, Attempt]] = {}  # by token, until all of it is told
        self._slots = slots or PortSlots(log)
        self._generation = 0
        self._readying = Readying(settings, appium, self._slots, app_of, cloud, suite_of, self._lines, log)
        self._work = Work(sink.failed)
        self._ends = SessionEnds(cloud, sink, self._work, log)
        self._leftovers = Leftovers(log, sink.failed)
        self._removals = Removals(self._under_way, log)
        self._leaving = Leaving(evidence, appium.told, self._leftovers, log)
        self._last_looks = LastLooks(screens, self._work, log)
        self._loop = asyncio.get_running_loop()

    # ---- beginning ----

    def start(self, device: DeviceFacts, assignments: list[Assignment]) -> None:
        """Begins attempts; see Runner. A process that has nothing to do takes what it may."""
        line = self._lines.get(device.device_id)
        rest = assignments if not line else self._join(line[-1], assignments)
        for group in planning.split(rest, self._settings.attempts_per_run):
            self._plan(device, group)
        self._next(device.device_id)

    def _join(self, run: Run, assignments: list[Assignment]) -> list[Assignment]:
        """Gives a run under way those of the first attempts that it may have; gives the others back."""
        joined: list[Attempt] = []
        try:
            for assignment in assignments:
                if not run.may_join(assignment):
                    break
                planning.test_file(self._readying.suite(assignment), assignment.test_path)
                joined.append(run.join(assignment))
            if joined:
                suite = self._readying.suite(joined[0].assignment)  # the same for all that may join a run
                added = [attempt_of(run.execution, each.index, suite) for each in joined]
                run.change_plan(lambda plan: plan["attempts"].extend(added))
        except (OSError, ValueError) as error:  # a run of their own tells better what is wrong
            self._log.info("appwright_not_joined", device_id=run.device.device_id, error=str(error))
            for attempt in joined:
                self._give_up(run, attempt)
            return assignments
        self._known(run)
        return assignments[len(joined) :]

    def _plan(self, device: DeviceFacts, group: list[Assignment], *, first: bool = False) -> None:
        """Makes a run and puts it in line. Where the disk refuses that, its attempts end."""
        self._generation += 1
        facts = Facts(self._generation, device)
        try:
            execution = PlannedExecution.planned(self._settings.executions, group, facts.fields())
        except OSError as error:
            self._refuse(group, error)
            return
        run = self._known(self._run(execution, device, range(len(group))))
        line = self._lines.setdefault(device.device_id, deque())
        if first:
            line.appendleft(run)
        else:
            line.append(run)

    def _run(self, execution: PlannedExecution, device: DeviceFacts, indexes: Iterable[int]) -> Run:
        run = Run(execution, device, indexes, self._sink)
        if self._cloud is not None and device.target is Target.BROWSERSTACK:
            run.desk = Desk(execution.path / FOLDER, device, self._cloud)
        return run

    def _known(self, run: Run) -> Run:
        for attempt in run.attempts.values():
            self._attempts[attempt.assignment.token] = (run, attempt)
        return run

    def _refuse(self, group: list[Assignment], error: OSError) -> None:
        for assignment in group:
            self._attempts.pop(assignment.token, None)
            if is_of_the_disk(error):
                self._sink.not_begun(assignment.token, error.strerror or str(error))
            else:
                self._sink.report([AttemptFinished(assignment.token, not_startable(error))])

    def _next(self, device_id: str) -> None:
        """Begins the next run of a device, if none is under way."""
        line = self._lines.get(device_id)
        if line and not line[0].active:
            line[0].active = True
            self._work.spawn(self._launch(line[0]), "appwright-launch")
        elif line and len(line) > 1 and not line[0].left:
            self._dismiss(line[0])

    def _dismiss(self, run: Run) -> None:
        """A process that waits for more is to end now."""
        if run.joinable:
            run.joinable = False
            with contextlib.suppress(OSError, ValueError):  # it ends by itself in a moment
                run.change_plan(lambda plan: plan.update(linger_ms=0))

    async def _launch(self, run: Run) -> None:
        """Makes ready what the run needs, then begins it with those that nobody took back meanwhile."""
        try:
            ready = await self._readying.ready(run)
        except UNREADY as error:
            finished = [run.finish(attempt, unready(error)) for attempt in run.left]
            self._over(run, [event for events in finished for event in events])
            return
        except OSError as error:  # the disk, or what the host is short of
            self._give_back(run, error)
            return
        events: list[AttemptEvent] = []
        for attempt in run.left:
            try:
                planning.test_file(ready.suite, attempt.assignment.test_path)
            except planning.TestPathError as error:
                events += run.finish(attempt, not_in_suite(error))
        if not run.left:
            self._over(run, events)
        elif not ready.versions.fast and len(run.attempts) > 1:  # nothing would keep a file from beginning
            self._over(run, events, [[attempt.assignment] for attempt in run.left])
        else:
            self._sink.report(events)
            self._begin(run, ready)

    def _begin(self, run: Run, ready: Ready) -> None:
        execution, settings = run.execution, self._settings
        try:
            if not ready.versions.fast and not execution.begin(run.left[0].index):
                self._over(run, run.conclude(None)[0])  # taken back by an earlier daemon
                return
            (execution.path / PLAN_FILE).write_text(json.dumps(plan_of(run, ready, settings)), "utf-8")
            command = command_of(run, ready, settings, 0.0 if ready.in_cloud else self._last_looks.seconds)
            begun = execution.launch(command, self._lease(), settings.lease_path, ready.held)
        except OSError as error:
            self._give_back(run, error)
            return
        if ready.appium_log is not None:
            self._leaving.begins(run)
        run.look_whether_joinable()
        watch = self._watch(run)
        watch.wait_for_ready(begun)
        watch.follow()

    def _give_back(self, run: Run, error: OSError) -> None:
        """The host refused to begin a run, of which nothing lives."""
        run.execution.close()
        group = [attempt.assignment for attempt in run.left]
        self._put_away(run, [])
        self._refuse(group, error)
        self._next(run.device.device_id)

    # ---- watching ----

    def _under_way(self) -> list[PlannedExecution]:
        return [line[0].execution for line in self._lines.values() if line and line[0].watch is not None]

    def _watch(self, run: Run) -> ExecutionWatch:
        living = LivingWatch(run.execution, self._sink, self._log)
        look = partial(self._look, run)
        watch: ExecutionWatch = ExecutionWatch(
            run.execution, self._work, living, _FOLLOW_SECONDS, look, lambda: self._on_end(run, watch), self._log
        )
        run.watch = watch
        return watch

    def _look(self, run: Run) -> None:
        self._last_looks.look(run.execution, run.device.device_id, run.files_of)
        events = run.look()
        self._ends.answer(run)
        if events:
            self._ends.report(run, events)
            self._next(run.device.device_id)

    def _on_end(self, run: Run, watch: ExecutionWatch) -> None:
        self._work.spawn(self._settle(run, watch), "appwright-end")

    async def _settle(self, run: Run, watch: ExecutionWatch) -> None:
        if (result := await result_of_ended(run.execution, self._log)) is None:
            result = await watch.without_result()
        watch.living.over()
        self._last_looks.over(run.execution)
        self._leaving.ends(run)
        events = await read_to_the_end(run.execution, run.read, run.withheld, self._log)
        run.removed_with_others = await self._removals.together(run.execution)
        await self._ends.close(run)
        # Only now: meanwhile the core may have taken back what goes on, and others may have joined.
        ended, again = run.conclude(result)
        if again:
            self._log.info("appwright_goes_on", attempts=sum(map(len, again)), device_id=run.device.device_id)
        self._over(run, events + ended, again)

    def _over(self, run: Run, events: list[AttemptEvent], again: list[list[Assignment]] | None = None) -> None:
        """The run has done what it could; what is left of it goes on in these groups."""
        self._put_away(run, again or [])
        if events:
            self._ends.report(run, events)
        self._next(run.device.device_id)

    def _put_away(self, run: Run, again: list[list[Assignment]]) -> None:
        """Takes a run out of the line. What goes on is planned anew before anything of it is taken away."""
        with contextlib.suppress(ValueError):
            self._lines[run.device.device_id].remove(run)
        moved = run.left
        for attempt in moved:
            attempt.over = True
        for group in reversed(again):
            self._plan(run.device, group, first=True)
        for attempt in moved:
            self._give_up(run, attempt)
        self._tidy(run)

    # ---- what the core asks for ----

    def kill(self, token: str, cause: DeathCause, grace_seconds: float) -> None:
        """Takes back what has not begun; of what has, asks the supervisor to end the tree. See Runner."""
        self._ends.hurry(token)
        if token not in self._attempts or self._attempts[token][1].over:
            return
        run, attempt = self._attempts[token]
        try:
            taken = run.execution.take_back(attempt.index, cause)
        except OSError:  # the disk: the supervisor ends it when it is its turn
            taken = False
        if taken:
            self._sink.report([run.close(attempt, AttemptKilled(token, wall_ms(), cause, begun=False))])
        else:
            run.execution.cancel(cause, grace_seconds, attempt.index)

    def settled(self, token: str) -> None:
        """The result is in the spool: the attempt's files may go, but not its output. See Runner."""
        if token in self._attempts:
            self._leaving.put_aside(*self._attempts[token])

    def told(self, token: str) -> None:
        """The coordinator has the result: what is kept of the attempt may go."""
        if token in self._attempts:
            run, attempt = self._attempts.pop(token)
            self._give_up(run, attempt)
            self._tidy(run)

    def _give_up(self, run: Run, attempt: Attempt) -> None:
        """A run does not answer for an attempt any more: it was told, or another run has it."""
        if run.attempts.pop(attempt.index, None) is not None:
            self._remove(run.execution.give_up_attempt(attempt.index))

    def _tidy(self, run: Run) -> None:
        """Takes the directory of a run away that is over, and all of whose attempts are told."""
        if not run.attempts and run not in self._lines.get(run.device.device_id, ()):
            run.execution.give_up()
            self._remove(run.execution.path)

    def _remove(self, path: Path) -> None:
        self._leftovers.remove(path)

    def lost(self, device_id: str) -> None:
        """See Runner."""
        self._slots.leave(device_id)

    def prove_room(self) -> None:
        """See Runner."""
        PlannedExecution.prove_room(self._settings.executions)

    # ---- an earlier daemon's ----

    async def recover(self, settled: set[str]) -> Recovery:
        """Finds the runs of an earlier daemon; see Runner. What it had only planned begins now."""
        recovery = Recovery()
        settings = self._settings
        runs = await look_through(settings.executions, read, settings.grace_seconds, self._log)
        for found in find(runs, self._remove):
            self._generation = max(self._generation, found.facts.generation)
            run = self._known(self._run(found.execution, found.facts.device, found.indexes))
            self._recover(run, settled, recovery)
        for device_id in self._lines:
            self._loop.call_soon(self._next, device_id)
        return recovery

    def _recover(self, run: Run, settled: set[str], recovery: Recovery) -> None:
        launched = run.execution.launched
        run.shares_appium = True  # for all that is known
        lives = launched and run.execution.adopt()
        watch = self._watch(run) if launched else None  # before anything is read, of which it takes its part
        ended: list[AttemptEvent] = [
            event
            for event in (run.read() if launched else [])
            if event.token not in settled and isinstance(event, AttemptFinished | AttemptInstalled | AttemptKilled)
        ]
        if run.desk is None:
            recovery.ended.extend(ended)
        elif ended:
            # As running attempts end: their sessions are settled first.
            self._loop.call_soon(self._ends.report, run, ended)
        for attempt in list(run.attempts.values()):
            if attempt.assignment.token not in settled:
                recovery.attempts.append(RunningAttempt(attempt.assignment, attempt.story.begun_at_ms))
                continue
            if not attempt.over:  # its end is in the spool, whatever the run says of it
                attempt.over = True
                attempt.follower.read()
            self._leaving.put_aside(run, attempt)
        if not run.left and not lives:
            self._tidy(run)
            return
        self._lines.setdefault(run.device.device_id, deque()).append(run)
        run.active = launched
        if watch is None:
            return
        if lives:
            run.has_appium = run.desk is None
            self._leaving.begins(run)
            run.look_whether_joinable()
            watch.follow()
        else:
            run.found_dead = True
            self._loop.call_soon(self._work.do, watch.end)

    async def close(self) -> None:
        """Stops watching; the supervisors go on, and so does Appium unless it is to end with the agent.

        What takes long to remove is left to the next start.
        """
        await self._work.close()
        for line in self._lines.values():
            for run in line:
                if run.watch is not None:
                    run.watch.stop()
                if not run.left:
                    self._dismiss(run)
        self._slots.close()
        await self._leftovers.close()
        await self._appium.close()
