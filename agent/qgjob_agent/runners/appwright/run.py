"""One run: an execution of several attempts on a device, and how far each of them has come."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from qgjob_agent.clock import monotonic_seconds, wall_ms
from qgjob_agent.core.events import AttemptFinished, AttemptInstalled, AttemptKilled, AttemptProgressed, AttemptStarted
from qgjob_agent.core.values import Finished
from qgjob_agent.executions import names
from qgjob_agent.executions.event_lines import EventLines
from qgjob_agent.host.plain_file import put_text, text_of
from qgjob_agent.runners.appwright.ends import Left, end_of, taken_back
from qgjob_agent.runners.appwright.plan import kind
from qgjob_agent.runners.appwright.story import Story, attempt_of, percent_of
from qgjob_agent.runners.log_follower import LogFollower

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from typing import Any

    from qgjob_agent.core.events import AttemptEvent
    from qgjob_agent.core.values import Assignment, DeviceFacts
    from qgjob_agent.executions.planned import PlannedExecution
    from qgjob_agent.executions.records import ExecutionResult
    from qgjob_agent.runners.appwright.cloud import Desk
    from qgjob_agent.runners.base import Sink
    from qgjob_agent.runners.execution_watch import ExecutionWatch

PLAN_FILE = "run.json"
"""In the execution's directory: what the preload and the reporter are told."""
_MOST_ATTEMPTS = 500  # of one process; then a fresh one begins, whatever the old one has gathered
_MOST_SECONDS = 900.0  # in which it takes more: the build that it has in hand may leave this host some time after that
_MOST_EVENTS_BYTES = 4_194_304
_LOOKS_A_LOG = 5


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt of a run. `over`: its last event was told, or another run has it."""

    index: int
    assignment: Assignment
    follower: LogFollower
    story: Story = field(default_factory=Story)
    over: bool = False
    end: AttemptFinished | AttemptKilled | None = None


class Run:
    """Planned, then under way, then over. `attempts`, by index, are those that it answers for."""

    def __init__(self, execution: PlannedExecution, device: DeviceFacts, indexes: Iterable[int], sink: Sink) -> None:
        self.execution = execution
        self.device = device
        self.attempts = {index: _attempt(execution, index, sink) for index in indexes}
        self.active = False  # being made ready, or under way
        self.found_dead = False  # its supervisor had ended when this daemon began
        self.removed_with_others = False  # its folder was, and nobody knows by whose test
        self.done = False  # Playwright itself has said that it is
        self.joinable = False  # its process waits for more
        self.shares_appium = False  # other devices' runs wrote into the same log
        self.unserved = False  # its Appium gave no session: what comes later is to find one that does
        self.has_appium = False  # it was told of one, so its sessions may be there
        self.desk: Desk | None = None  # of a device in the cloud
        self.watch: ExecutionWatch | None = None  # once it is launched
        self._sink = sink
        self._moved = False  # something was said of an attempt
        self._planned = len(self.attempts)  # all of whose files are loaded before the first begins
        self._takes_until = 0.0
        self._looks = 0
        self._events = EventLines(str(execution.path / names.EVENTS))

    @property
    def left(self) -> list[Attempt]:
        """The attempts that are not over, in order."""
        return [attempt for attempt in self.attempts.values() if not attempt.over]

    def index_of(self, token: str) -> int | None:
        """Which of its attempts that is; None for one that it does not answer for."""
        return next((index for index, each in self.attempts.items() if each.assignment.token == token), None)

    def files_of(self, index: int) -> Path | None:
        """Where an attempt leaves its files; None for one that is over."""
        attempt = self.attempts.get(index)
        return None if attempt is None or attempt.over else self.execution.files_of(index)

    def read(self) -> list[AttemptEvent]:
        """What happened since the last look. The log that belongs to it is passed on before."""
        for each in self.left:
            each.follower.read()
        told: list[AttemptEvent] = []
        for event in self._events.read():
            if self.watch is not None:
                self.watch.take(event)
            self.done = self.done or event.get("event") == "done"
            self.unserved = self.unserved or (event.get("event") == "no_session" and self.desk is None)
            self._moved = self._moved or event.get("event") in ("begin", "error", "missing")
            index = attempt_of(event)
            attempt = None if index is None else self.attempts.get(index)
            if self.desk is not None:
                self.desk.take(event, index, attempt.assignment if attempt is not None else None)
            if attempt is not None and not attempt.over:
                told += self._take(attempt, event)
        return told

    def withheld(self) -> OSError | None:
        """Why the last look may have missed something that happened."""
        return self._events.withheld

    def look(self) -> list[AttemptEvent]:
        """As `read`, for who looks often: while no event has come, logs are passed on at some of the looks."""
        self._looks += 1
        return self.read() if self._looks % _LOOKS_A_LOG == 0 or self._events.grown() else []

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
            told += self.finish(attempt, story.finished())
        elif event.get("event") == "progress" and not ended:
            told.append(AttemptProgressed(token, percent_of(event)))
        return told

    def finish(self, attempt: Attempt, finished: Finished) -> list[AttemptEvent]:
        """The last events of an attempt that has a verdict."""
        return [*_installed(attempt), self.close(attempt, AttemptFinished(attempt.assignment.token, finished))]

    def close(self, attempt: Attempt, event: AttemptEvent) -> AttemptEvent:
        """The last event of an attempt: the end of its log goes before it."""
        attempt.follower.read()
        attempt.over = True
        if isinstance(event, AttemptFinished | AttemptKilled):
            attempt.end = event
        return event

    def may_join(self, assignment: Assignment) -> bool:
        """Whether its process may take this attempt too: it runs, and has not had that file yet."""
        if not self.joinable or self.unserved or self.done or self._may_have_ended():
            return False
        had = self.execution.attempts
        paths = {PurePosixPath(each.test_path) for each in had}
        return (
            monotonic_seconds() < self._takes_until
            and kind(had[0]) == kind(assignment)
            and PurePosixPath(assignment.test_path) not in paths
            and len(had) < _MOST_ATTEMPTS
            and self._events.size < _MOST_EVENTS_BYTES
        )

    def _may_have_ended(self) -> bool:
        try:
            return self.execution.result() is not None
        except OSError:
            return True

    def join(self, assignment: Assignment) -> Attempt:
        """Has its process take another attempt; if it ends before it can, that goes on elsewhere. Raises OSError."""
        index = self.execution.add(assignment)
        attempt = self.attempts[index] = _attempt(self.execution, index, self._sink)
        return attempt

    def look_whether_joinable(self) -> None:
        """Whether its process waits for more when it has nothing to do, by its plan."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # then nobody waits
            self.joinable = self._plan()["linger_ms"] > 0
            self._takes_until = monotonic_seconds() + _MOST_SECONDS

    def change_plan(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Changes what the process reads of its plan. Raises OSError, ValueError."""
        plan = self._plan()
        try:
            change(plan)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{PLAN_FILE} is no plan any more: a test has overwritten it") from error
        put_text(self.execution.path / PLAN_FILE, json.dumps(plan))

    def _plan(self) -> Any:
        """The plan of its process, or what a test has put in its place: any JSON. Raises OSError, ValueError."""
        try:
            return json.loads(text_of(self.execution.path / PLAN_FILE, names.MOST_BYTES))
        except RecursionError as error:
            raise ValueError(f"{PLAN_FILE} is nested too deeply") from error

    def conclude(self, result: ExecutionResult | None) -> tuple[list[AttemptEvent], list[list[Assignment]]]:
        """Nothing of the run lives: what is to be told, and what goes on in other runs, in which groups.

        `result` is what its supervisor left, if it did.

        Raises OSError where the disk does not say who has an attempt: what was begun must not go on elsewhere.
        """
        claims = {each.index: self.execution.claim(each.index) for each in self.left}  # or nothing is told yet
        events = self.read()
        dead = self.found_dead
        if self.withheld() is not None:  # how it ended says nothing of attempts that may have told their end
            result, dead = None, True
        again: list[Assignment] = []
        lost = self.execution.removed or bool(self.execution.killed_by)
        unsaid = lost if result is None else result.ended_by in (names.EXIT, names.REMOVED)
        one_by_one = not self._moved and unsaid
        alone = len(self.left) == 1 and not self._moved
        doubtful = len(self.left) > 1 and (self._planned > 1 or self._moved)
        for attempt in self.left:
            claim = claims[attempt.index]
            given = (attempt.story, attempt.index, claim, result, self.execution)
            end = end_of(
                *given, alone=alone, doubtful=doubtful, found_dead=dead, removed_with_others=self.removed_with_others
            )
            if isinstance(end, Left):
                again.append(attempt.assignment)
                one_by_one = one_by_one or (result is not None and result.attempt == attempt.index)
            elif isinstance(end, Finished):
                events += self.finish(attempt, end)
            else:
                events += _installed(attempt)
                events.append(self.close(attempt, AttemptKilled(attempt.assignment.token, *end)))
        # Where nothing tells whose fault it was, each has a run of its own: that shows it.
        return events, [[each] for each in again] if one_by_one else [again] if again else []


def _attempt(execution: PlannedExecution, index: int, sink: Sink) -> Attempt:
    what = execution.attempts[index]
    output = execution.attempt_dir(index) / names.OUTPUT
    return Attempt(index, what, LogFollower(output, what.job_id, what.token, sink))


def _installed(attempt: Attempt) -> list[AttemptEvent]:
    """The installations that the attempt made itself."""
    story = attempt.story
    if not story.installs:
        return []
    return [AttemptInstalled(attempt.assignment.token, story.installs, story.install_ms // story.installs)]
