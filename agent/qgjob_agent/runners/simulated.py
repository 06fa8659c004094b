"""Attempts that take time and do nothing, in the daemon itself. Seed, job and attempt fix the outcome."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from qgjob_agent.clock import wall_ms
from qgjob_agent.core.events import (
    AttemptEvent,
    AttemptFinished,
    AttemptKilled,
    AttemptProgressed,
    AttemptStarted,
)
from qgjob_agent.core.values import Assignment, DeathCause, DeviceFacts, Finished, Outcome, TestResult
from qgjob_agent.devices.faults import SimulatedFaults
from qgjob_agent.runners.base import Recovery

if TYPE_CHECKING:
    from qgjob_agent.runners.base import Sink

_STEPS = 4  # progress is told so many times an attempt
_INSTANT_BATCH = 64


@dataclass(frozen=True, slots=True)
class SimulatedTests:
    """How long simulated tests take, in seconds, and how often they fail, 0 to 1."""

    lowest_seconds: float
    highest_seconds: float
    failure_rate: float
    seed: int

    @property
    def instant(self) -> bool:
        """True when a test takes no time at all."""
        return self.highest_seconds <= 0


class _Run:
    """One attempt under way."""

    __slots__ = ("assignment", "duration", "outcome", "started_at_ms", "step", "timer", "written")

    def __init__(self, assignment: Assignment, duration: float, outcome: Outcome) -> None:
        self.assignment = assignment
        self.duration = duration
        self.outcome = outcome
        self.started_at_ms = wall_ms()
        self.step = 0
        self.written = 0
        self.timer: asyncio.TimerHandle | None = None


class SimulatedRunner:
    """Runs attempts by timers; those that take no time at once, without a timer, a task or a log."""

    def __init__(self, sink: Sink, tests: SimulatedTests, faults: SimulatedFaults | None = None) -> None:
        self._sink = sink
        self._tests = tests
        self._faults = faults or SimulatedFaults()
        self._runs: dict[str, _Run] = {}
        self.attempts_per_execution = _INSTANT_BATCH if tests.instant else 1

    def start(self, device: DeviceFacts, assignments: list[Assignment]) -> None:
        """Begins attempts; see Runner."""
        if self._tests.instant:
            self._sink.report(self._run_at_once(device, assignments))
            return
        for assignment in assignments:
            self._begin(device, assignment)

    def _run_at_once(self, device: DeviceFacts, assignments: list[Assignment]) -> list[AttemptEvent]:
        now, failing = wall_ms(), self._tests.failure_rate > 0
        broken = self._faults.of_test(device.device_id) is not None
        events: list[AttemptEvent] = []
        for assignment in assignments:
            failed = broken or (failing and self._fails(self._random(assignment)))
            result, outcome = (_FAILED, Outcome.TEST_FAILED) if failed else (_PASSED, Outcome.PASSED)
            error = _FAILED.summary if failed else None
            events.append(AttemptFinished(assignment.token, Finished(outcome, now, now, 0, result, error)))
        return events

    def _random(self, assignment: Assignment) -> Random:
        return Random(f"{self._tests.seed}/{assignment.job_id}/{assignment.attempt}")  # noqa: S311 - not for secrets

    def _fails(self, random: Random) -> bool:
        return random.random() < self._tests.failure_rate

    def _begin(self, device: DeviceFacts, assignment: Assignment) -> None:
        random = self._random(assignment)
        duration = random.uniform(self._tests.lowest_seconds, self._tests.highest_seconds)
        failed = self._fails(random) or self._faults.of_test(device.device_id) is not None
        outcome = Outcome.TEST_FAILED if failed else Outcome.PASSED
        if 0 < assignment.timeout_ms < duration * 1000:
            duration, outcome = assignment.timeout_ms / 1000, Outcome.TIMED_OUT
        run = self._runs[assignment.token] = _Run(assignment, duration, outcome)
        self._sink.report([AttemptStarted(assignment.token, run.started_at_ms)])
        self._say(run, f"{assignment.test_path} on {device.device_id} ({assignment.app_version_id})\n")
        self._schedule(run)

    def _schedule(self, run: _Run) -> None:
        loop = asyncio.get_running_loop()
        run.timer = loop.call_later(run.duration / _STEPS, self._advance, run)

    def _advance(self, run: _Run) -> None:
        run.step += 1
        if run.step < _STEPS:
            self._sink.report([AttemptProgressed(run.assignment.token, 100 * run.step // _STEPS)])
            self._schedule(run)
            return
        token = run.assignment.token
        del self._runs[token]
        summary = f"{run.outcome.value} after {run.duration:.1f} s"
        self._say(run, summary + "\n")
        passed = run.outcome is Outcome.PASSED
        duration_ms = round(run.duration * 1000)
        result = TestResult(int(passed), int(not passed), 0, duration_ms, summary)
        error = None if passed else f"simulated: {summary}"
        finished = Finished(run.outcome, run.started_at_ms, wall_ms(), duration_ms, result, error)
        self._sink.report([AttemptFinished(token, finished)])

    def _say(self, run: _Run, text: str) -> None:
        data = text.encode()
        self._sink.log(run.assignment.job_id, run.assignment.token, run.written, data)
        run.written += len(data)

    def kill(self, token: str, cause: DeathCause, grace_seconds: float) -> None:
        """Ends an attempt at once; there is no process that would need the grace."""
        del cause, grace_seconds
        run = self._runs.pop(token, None)
        if run is None:
            return
        if run.timer is not None:
            run.timer.cancel()
        self._sink.report([AttemptKilled(token, wall_ms())])

    def settled(self, token: str) -> None:
        """Nothing is kept of a simulated attempt."""

    def told(self, token: str) -> None:
        """Nothing is kept of a simulated attempt."""

    def lost(self, device_id: str) -> None:
        """See Runner: nothing is kept for a device."""

    def prove_room(self) -> None:
        """A simulated attempt has no files."""

    async def recover(self, settled: set[str]) -> Recovery:
        """A simulated attempt does not outlive its daemon."""
        del settled
        return Recovery()

    async def close(self) -> None:
        """Stops all timers."""
        for run in self._runs.values():
            if run.timer is not None:
                run.timer.cancel()
        self._runs.clear()


_PASSED = TestResult(1, 0, 0, 0, "passed")
_FAILED = TestResult(0, 1, 0, 0, "simulated failure")
