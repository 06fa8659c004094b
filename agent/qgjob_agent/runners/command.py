"""Runs a command for each attempt, in a process tree of its own under a supervisor."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from qgjob_agent.clock import wall_ms
from qgjob_agent.core.events import AttemptFinished, AttemptKilled, AttemptStarted, RunningAttempt
from qgjob_agent.core.values import Assignment, DeathCause, DeviceFacts, Finished, Outcome
from qgjob_agent.disk_watch import is_of_the_disk
from qgjob_agent.executions import names
from qgjob_agent.executions.execution import Command, Execution
from qgjob_agent.executions.records import ExecutionResult
from qgjob_agent.executions.removals import Removals
from qgjob_agent.executions.unread import look_through, result_of_ended
from qgjob_agent.host.leftovers import Leftovers
from qgjob_agent.runners.base import Recovery
from qgjob_agent.runners.command_result import event_of_result, missing_output, without_result
from qgjob_agent.runners.command_template import fill_template, of_host, variables
from qgjob_agent.runners.execution_watch import ExecutionWatch
from qgjob_agent.runners.last_looks import LastLooks
from qgjob_agent.runners.living_trees import LivingWatch
from qgjob_agent.runners.log_follower import LogFollower
from qgjob_agent.runners.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgjob_agent.executions.lease_file import LeaseTime
    from qgjob_agent.runners.base import EvidenceTaker, Sink
    from qgjob_agent.runners.last_looks import Screens

_End = AttemptFinished | AttemptKilled

_FOLLOW_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class CommandSettings:
    """What the runner starts, and where. `environ` is what the test may inherit, already chosen."""

    argv: tuple[str, ...]
    cwd: Path
    environ: dict[str, str]
    output_bytes: int
    grace_seconds: float
    executions: Path
    lease_path: Path


class _Attempt:
    """One execution under way. `found_dead`: its supervisor had ended when this daemon began.

    `removed_with_others`: its folder went with those of others, and nobody knows whose test did that.
    """

    __slots__ = ("execution", "follower", "found_dead", "removed_with_others", "watch")

    watch: ExecutionWatch

    def __init__(self, execution: Execution, follower: LogFollower) -> None:
        self.execution = execution
        self.follower = follower
        self.found_dead = False
        self.removed_with_others = False


@dataclass(frozen=True, slots=True)
class _Told:
    """The result that a supervisor left, and what it means for the attempt."""

    result: ExecutionResult
    end: _End


class CommandRunner:
    """One attempt at a time on each device.

    `lease` gives the last confirmed lease time, `suite_of` the suite of an attempt that names one. What hangs is looked
    at on `screens`.
    """

    attempts_per_execution = 1

    def __init__(
        self,
        sink: Sink,
        settings: CommandSettings,
        lease: Callable[[], LeaseTime],
        log: Any,
        evidence: EvidenceTaker | None = None,
        suite_of: Callable[[Assignment], Path | None] = lambda _: None,
        screens: Screens | None = None,
    ) -> None:
        self._sink = sink
        self._evidence = evidence
        self._settings = settings
        self._root = settings.executions
        self._lease = lease
        self._suite_of = suite_of
        self._log = log
        self._attempts: dict[str, _Attempt] = {}
        self._ended: dict[str, tuple[Execution, _End | None]] = {}
        self._work = Work(sink.failed)
        self._leftovers = Leftovers(log, sink.failed)
        self._removals = Removals(lambda: [each.execution for each in self._attempts.values()], log)
        self._last_looks = LastLooks(screens, self._work, log)

    # ---- beginning ----

    def start(self, device: DeviceFacts, assignments: list[Assignment]) -> None:
        """Begins attempts; see Runner."""
        for assignment in assignments:
            try:
                self._launch(device, assignment)
            except OSError as error:
                if is_of_the_disk(error):
                    self._sink.not_begun(assignment.token, error.strerror or str(error))
                else:
                    self._sink.report([_not_startable(assignment.token, str(error))])

    def _launch(self, device: DeviceFacts, assignment: Assignment) -> None:
        execution = Execution.new(self._root, assignment)
        values = _values(device, assignment, execution.output_dir)
        suite = self._suite_of(assignment)
        env = self._settings.environ | {"TMPDIR": str(execution.path / names.TMP)} | assignment.env | variables(values)
        command = Command(
            argv=fill_template(self._settings.argv, values),
            env=env,
            cwd=str(suite or self._settings.cwd),
            timeout_ms=assignment.timeout_ms,
            silence_timeout_ms=assignment.silence_timeout_ms,
            grace_seconds=self._settings.grace_seconds,
            output_bytes=self._settings.output_bytes,
            look_seconds=self._last_looks.seconds,
            of_host=of_host(self._settings.argv[0], assignment.env, in_suite=suite is not None),
        )
        try:
            ready = execution.launch(command, self._lease(), self._settings.lease_path)
        except OSError:
            execution.close()
            execution.remove()
            raise
        attempt = self._follow(execution)
        attempt.watch.wait_for_ready(ready, partial(self._on_ready, attempt))

    def _on_ready(self, attempt: _Attempt) -> None:
        """The command runs, or could not be started: then the result follows."""
        started_at_ms = attempt.execution.started_at_ms
        if started_at_ms:
            self._sink.report([AttemptStarted(attempt.execution.assignment.token, started_at_ms)])

    # ---- watching ----

    def _follow(self, execution: Execution) -> _Attempt:
        attempt = self._attempts[execution.assignment.token] = _Attempt(execution, self._follower(execution))
        living = LivingWatch(execution, self._sink, self._log)
        look, ended = partial(self._look, attempt), partial(self._on_end, attempt)
        attempt.watch = ExecutionWatch(execution, self._work, living, _FOLLOW_SECONDS, look, ended, self._log)
        attempt.follower.read()
        attempt.watch.follow()
        return attempt

    def _look(self, attempt: _Attempt) -> None:
        execution = attempt.execution
        self._last_looks.look(execution, execution.assignment.device_id, lambda _: execution.output_dir)
        attempt.follower.read()

    def _on_end(self, attempt: _Attempt) -> None:
        self._work.spawn(self._settle(attempt), "execution-end")

    def _tell_end_of_log(self, follower: LogFollower, result: ExecutionResult | None) -> None:
        """Nothing of the execution lives: passes on the rest of its output, and says so where the end is lost."""
        follower.read()
        missing = missing_output(result)
        if missing is not None:
            follower.note(missing)

    def _follower(self, execution: Execution) -> LogFollower:
        what = execution.assignment
        return LogFollower(execution.path / names.OUTPUT, what.job_id, what.token, self._sink)

    async def _settle(self, attempt: _Attempt) -> None:
        if (result := await result_of_ended(attempt.execution, self._log)) is None:
            result = await attempt.watch.without_result()
        attempt.watch.living.over()
        self._last_looks.over(attempt.execution)
        attempt.removed_with_others = await self._removals.together(attempt.execution)
        told = (
            None
            if result is None
            else await asyncio.to_thread(_told_of, result, attempt.execution, attempt.removed_with_others)
        )
        self._sink.report([self._end(attempt, told)])

    def _end(self, attempt: _Attempt, told: _Told | None) -> _End:
        """What the end of an execution means; nothing of it lives."""
        execution = attempt.execution
        token = execution.assignment.token
        self._tell_end_of_log(attempt.follower, None if told is None else told.result)
        del self._attempts[token]
        if told is not None:
            end = told.end
        elif attempt.found_dead or attempt.removed_with_others:
            end = AttemptKilled(token, wall_ms(), DeathCause.AGENT_LOST)
        else:
            end = AttemptFinished(token, without_result(execution, execution.started_at_ms))
        self._ended[token] = (execution, end)
        return end

    # ---- what the core asks for ----

    def kill(self, token: str, cause: DeathCause, grace_seconds: float) -> None:
        """Asks the supervisor to end the tree; see Runner."""
        attempt = self._attempts.get(token)
        if attempt is not None:
            attempt.execution.cancel(cause, grace_seconds)

    def settled(self, token: str) -> None:
        """The result is in the spool: all but the output may go, of which the coordinator may not have the end."""
        if token in self._ended:
            self._put_aside(*self._ended[token])

    def told(self, token: str) -> None:
        """The coordinator has the result: the directory may go."""
        execution, _ = self._ended.pop(token, (None, None))
        if execution is not None:
            execution.give_up()
            self._remove(execution.path)

    def _put_aside(self, execution: Execution, end: _End | None) -> None:
        """What the test left is evidence from now on; the rest of its own directories goes."""
        if self._evidence is not None:
            output = execution.path / names.OUTPUT
            began = execution.started_at_ms
            self._evidence.take(execution.assignment, execution.output_dir, output, end, began)
        for name in (names.OUT, names.TMP):
            self._leftovers.remove(execution.path / name, again=True)

    def lost(self, device_id: str) -> None:
        """See Runner: nothing is kept for a device."""

    def prove_room(self) -> None:
        """See Runner."""
        Execution.prove_room(self._root)

    def _remove(self, path: Path) -> None:
        self._leftovers.remove(path)

    async def recover(self, settled: set[str]) -> Recovery:
        """Finds the executions of an earlier daemon; see Runner."""
        recovery = Recovery()
        # All that takes time comes before anything is watched: nothing may be told before the core knows of it.
        for path, found in await look_through(self._root, _found, self._settings.grace_seconds, self._log):
            if found is None:  # the daemon died before it began anything, or while it removed this
                self._remove(path)
                continue
            execution, told = found
            if execution.assignment.token in settled:
                # An earlier daemon spooled the result, and may not have told all of the output.
                self._tell_end_of_log(self._follower(execution), None if told is None else told.result)
                end = None if told is None else told.end
                self._ended[execution.assignment.token] = (execution, end)
                self._put_aside(execution, end)
                continue
            recovery.attempts.append(RunningAttempt(execution.assignment, execution.started_at_ms))
            lives = execution.adopt()
            attempt = self._follow(execution)
            if not lives and told is not None:
                attempt.watch.stop()
                recovery.ended.append(self._end(attempt, told))
            elif not lives:
                # Its host ended, or all of the agent's service; or it ended just now. It is shown until its tree is
                # known dead: what is not shown may run elsewhere at once.
                attempt.found_dead = True
                attempt.watch.end()
        return recovery

    async def close(self) -> None:
        """Stops watching; the supervisors go on, and what takes long to remove is left to the next start."""
        for attempt in self._attempts.values():
            attempt.watch.stop()
        await self._work.close()
        await self._leftovers.close()


def _found(path: Path) -> tuple[Execution, _Told | None] | None:
    """The execution that an earlier daemon began there, and how that ended, by what it left."""
    execution = Execution.found(path)
    result = None if execution is None else execution.result()
    return None if execution is None else (execution, None if result is None else _told_of(result, execution))


def _told_of(result: ExecutionResult, execution: Execution, removed_with_others: bool = False) -> _Told:
    """Looks at what the test left, so it is not for the event loop."""
    end = event_of_result(execution.assignment.token, result, execution, removed_with_others=removed_with_others)
    return _Told(result, end)


def _values(device: DeviceFacts, assignment: Assignment, output_dir: Path) -> dict[str, str]:
    target = assignment.target or device.target
    return {
        "test_path": assignment.test_path,
        "app_version_id": assignment.app_version_id,
        "org_id": assignment.org_id,
        "job_id": assignment.job_id,
        "attempt": str(assignment.attempt),
        "device_id": device.device_id,
        "udid": device.udid,
        "target": target.value,
        "platform": device.platform or "",
        "output_dir": str(output_dir),
    }


def _not_startable(token: str, problem: str) -> AttemptFinished:
    now = wall_ms()
    error = f"not startable: {problem}"
    return AttemptFinished(token, Finished(Outcome.DEVICE_ERROR, now, now, 0, error=error, host_unfit=True))
