"""When the daemon ends a tree whose supervisor is kept stopped, and why that was due.

A test is of the same user as its supervisor, and can stop it (SIGSTOP) again and again, faster than the daemon wakes
it. Then no limit and no cancel is more than a word to it. So the daemon counts along. What should have been ended by
now, to the last of the grace, is ended in the supervisor's place once that was found stopped so many times since. One
that nobody stops is never found so, however slow its host is. One that was found running at some looks in a row had the
time to do what was due, so as far as it knows nothing is: how often it was stopped before is forgotten. Pure; seconds
of clock.py's clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgjob_agent.executions import names
from qgjob_agent.executions.attempt_watch import AttemptWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Self

    from qgjob_agent.core.values import DeathCause

LOOK_SECONDS = 1.0
LOOKS_AFTER_LIMIT = 10
LOOKS_AFTER_CANCEL = 3
"""Fewer: at the end of a lease its attempts soon run elsewhere."""
LOOKS_OF_A_RUNNING_ONE = 10
"""In a row: a loop that stops it as often as not shows as many once in a thousand times."""
_MOST_SECONDS = 1e12


@dataclass(frozen=True, slots=True)
class Limits:
    """What a supervisor goes by. `each` has of each attempt its time and its silence, as AttemptWatch takes them.

    From a limit to SIGKILL it takes `spare_seconds` at most, as it was told.
    """

    began_at: float
    each: dict[int, tuple[float, float]]
    first_seconds: float = 0.0
    last_seconds: float = 0.0
    spare_seconds: float = 0.0

    @classmethod
    def of(cls, spec: Mapping[str, Any], now: float) -> Self:
        """Those of an execution, by its spec.json. Raises KeyError, TypeError or ValueError for what is none.

        Earlier versions did not say when it began: then that is now, and so it is for a time that is yet to come.
        """
        began_at = spec.get("began_at")
        if not isinstance(began_at, int | float) or not 0 <= began_at <= now:
            began_at = now
        each = {
            int(index): (_seconds(timeout) / 1000, _seconds(silence) / 1000)
            for index, timeout, silence in spec["limits"]
        }
        first, last = _seconds(spec["first_seconds"]), _seconds(spec["last_seconds"])
        return cls(began_at, each, first, last, _seconds(spec["look_seconds"]) + _seconds(spec["grace_seconds"]))


def _seconds(value: float) -> float:
    if not 0 <= value <= _MOST_SECONDS:
        raise ValueError(f"{value} is no time")
    return float(value)


@dataclass(frozen=True, slots=True)
class Asked:
    """A cancel, and when it was asked for: SIGKILL is due after the grace."""

    cause: DeathCause
    at: float
    grace_seconds: float

    def again(self, at: float, grace_seconds: float) -> Asked:
        """The same, asked for once more: the first cause stands, and the shorter grace."""
        return Asked(self.cause, self.at, min(self.grace_seconds, at + grace_seconds - self.at))


@dataclass(frozen=True, slots=True)
class Overdue:
    """How an execution should have ended, as ExecutionResult has it."""

    ended_by: str
    attempt: int | None
    cause: str | None = None


class StoppedWatch:
    """Counts along with the supervisor of one execution, from `now` on."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.began_at = limits.began_at
        self._spare_seconds = limits.spare_seconds
        self._attempts = AttemptWatch(limits.each, limits.began_at, limits.first_seconds, limits.last_seconds)
        self._attempts.heard(now)
        self._overdue: Overdue | None = None
        self._times_stopped = self._times_running = 0
        self._look_at = 0.0

    def take(self, event: dict[str, Any], now: float) -> None:
        """What the command says in its file of events."""
        self._attempts.take(event, now)

    def heard(self, now: float) -> None:
        """Something was printed."""
        self._attempts.heard(now)

    def look(self, now: float, asked: Mapping[int | None, Asked], stopped: Callable[[], bool]) -> Overdue | None:
        """What is to be ended in place of the supervisor; None while that may do it. Called as often as one likes.

        `asked` are the cancels by attempt, None for whichever runs. `stopped` says whether the supervisor is, before it
        is woken.
        """
        overdue, looks = self._due(now, asked)
        if overdue != self._overdue:
            self._overdue, self._look_at = overdue, now + LOOK_SECONDS
            self._times_stopped = self._times_running = 0
        if overdue is None or now < self._look_at:
            return None
        self._look_at = now + LOOK_SECONDS
        if stopped():
            self._times_stopped, self._times_running = self._times_stopped + 1, 0
        else:
            self._times_running += 1
            if self._times_running >= LOOKS_OF_A_RUNNING_ONE:
                self._times_stopped = 0
        return overdue if self._times_stopped >= looks else None

    def _due(self, now: float, asked: Mapping[int | None, Asked]) -> tuple[Overdue | None, int]:
        """What should have ended by now, by what came first, and how many looks that waits."""
        current, limit_at = self._attempts.current, self._attempts.deadline()
        cancel = asked.get(None) or asked.get(current)
        cancel_at = float("inf") if cancel is None else max(cancel.at, self._attempts.since)
        cancel_is_due = cancel is not None and now >= cancel_at + cancel.grace_seconds
        if not cancel_is_due and now < limit_at + self._spare_seconds:
            return None, 0
        looks = LOOKS_AFTER_CANCEL if cancel_is_due else LOOKS_AFTER_LIMIT
        if cancel is not None and cancel_at < limit_at:
            return Overdue(names.CANCELLED, current, cancel.cause.value), looks
        why = self._attempts.overdue(limit_at) if current is not None else names.LINGERED
        return Overdue(why or names.TIMEOUT, current), looks
