"""One run: an execution of several attempts on a device, and how far each of them has come."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qgjob_agent import execution_dir as names
from qgjob_agent.clock import wall_ms
from qgjob_agent.core.events import AttemptFinished, AttemptInstalled, AttemptKilled, AttemptProgressed, AttemptStarted
from qgjob_agent.core.values import Finished
from qgjob_agent.event_lines import EventLines
from qgjob_agent.log_follower import LogFollower
from qgjob_agent.runners.appwright.ends import Left, end_of, taken_back
from qgjob_agent.runners.appwright.story import Story, attempt_of, percent_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from qgjob_agent.core.events import AttemptEvent
    from qgjob_agent.core.values import Assignment, DeviceFacts
    from qgjob_agent.executions import Execution
    from qgjob_agent.runners.base import Sink

PLAN_FILE = "run.json"
"""In the execution's directory: what the preload and the reporter are told."""


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt of a run. `over`: its last event was told, or another run has it."""

    index: int
    assignment: Assignment
    follower: LogFollower
    story: Story = field(default_factory=Story)
    over: bool = False


class Run:
    """Planned, then under way, then over. `attempts`, by index, are those that it answers for."""

    def __init__(self, execution: Execution, device: DeviceFacts, indexes: Iterable[int], sink: Sink) -> None:
        self.execution = execution
        self.device = device
        self.attempts = {index: _attempt(execution, index, sink) for index in indexes}
        self.active = False  # being made ready, or under way
        self.found_dead = False  # its supervisor had ended when this daemon began
        self.done = False  # Playwright itself has said that it is
        self.ready = -1
        self.timer: asyncio.TimerHandle | None = None
        self._events = EventLines(str(execution.path / names.EVENTS))
        self._held: Attempt | None = None  # ended, and its process has not gone on to the next yet

    @property
    def left(self) -> list[Attempt]:
        """The attempts that are not over, in order."""
        return [attempt for attempt in self.attempts.values() if not attempt.over]

    def read(self) -> list[AttemptEvent]:
        """What happened since the last look. The log that belongs to it is passed on before."""
        for attempt in self.left:
            attempt.follower.read()
        told: list[AttemptEvent] = []
        for event in self._events.read():
            self.done = self.done or event.get("event") == "done"
            index = attempt_of(event)
            attempt_told = None if index is None else self.attempts.get(index)
            if attempt_told is None:
                continue
            if event.get("event") == "begin" and self._held not in (None, attempt_told):
                told += self._let_go()
            if not attempt_told.over:
                told += self._take(attempt_told, event)
        return told

    def _take(self, attempt: Attempt, event: dict[str, Any]) -> list[AttemptEvent]:
        story, token = attempt.story, attempt.assignment.token
        begun, ended = story.begun_at_ms, story.ended
        if not begun and (cause := taken_back(self.execution.claim(attempt.index))) is not None:
            return [self.close(attempt, AttemptKilled(token, wall_ms(), cause, begun=False))]
        story.take(event)
        told: list[AttemptEvent] = []
        if not begun and story.begun_at_ms:
            told.append(AttemptStarted(token, story.begun_at_ms))
        if not ended and story.ended:
            told += self._let_go()
            self._held = attempt
        elif event.get("event") == "progress" and not ended:
            told.append(AttemptProgressed(token, percent_of(event)))
        return told

    def _let_go(self) -> list[AttemptEvent]:
        """The attempt that has ended is told: its process has gone on from it, or is dead."""
        attempt, self._held = self._held, None
        return [] if attempt is None or attempt.over else self.finish(attempt, attempt.story.finished())

    def finish(self, attempt: Attempt, finished: Finished) -> list[AttemptEvent]:
        """The last events of an attempt that has a verdict."""
        return [*_installed(attempt), self.close(attempt, AttemptFinished(attempt.assignment.token, finished))]

    def close(self, attempt: Attempt, event: AttemptEvent) -> AttemptEvent:
        """The last event of an attempt: the end of its log goes before it."""
        attempt.follower.read()
        attempt.over = True
        return event

    def conclude(self) -> tuple[list[AttemptEvent], list[list[Assignment]]]:
        """Nothing of the run lives: what is to be told, and what goes on in other runs, in which groups."""
        events = self.read() + self._let_go()
        result = self.execution.result()
        stories = [attempt.story for attempt in self.attempts.values()]
        stalled = not any(story.begun_at_ms or story.error or story.missing for story in stories)
        again: list[Assignment] = []
        alone = len(self.left) == 1
        for attempt in self.left:
            claim = self.execution.claim(attempt.index)
            end = end_of(
                attempt.story, attempt.index, claim, result, self.execution, alone=alone, found_dead=self.found_dead
            )
            if isinstance(end, Left):
                again.append(attempt.assignment)
            elif isinstance(end, Finished):
                events += self.finish(attempt, end)
            else:
                events += _installed(attempt)
                events.append(self.close(attempt, AttemptKilled(attempt.assignment.token, *end)))
        # Where nothing tells whose fault it was, each has a run of its own: that shows it.
        one_by_one = stalled and result is not None and result.ended_by == names.EXIT
        return events, [[each] for each in again] if one_by_one else [again] if again else []


def _attempt(execution: Execution, index: int, sink: Sink) -> Attempt:
    what = execution.attempts[index]
    output = execution.attempt_dir(index) / names.OUTPUT
    return Attempt(index, what, LogFollower(output, what.job_id, what.token, sink))


def _installed(attempt: Attempt) -> list[AttemptEvent]:
    """The installations that the attempt made itself."""
    story = attempt.story
    if not story.installs:
        return []
    return [AttemptInstalled(attempt.assignment.token, story.installs, story.install_ms // story.installs)]
