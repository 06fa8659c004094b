"""When another session of a shared plan may begin. Pure: times are seconds of one clock, given by the caller.

What a plan has free is known only from the last look at it, and others use it too. So a session may begin only if that
look is fresh, showed room, and what was begun here since leaves some of it: each start counts from the moment it is
allowed until a later look must have counted it. That errs on the side of waiting, never on that of beginning. One whose
answer was lost is taken for answered after a while (see unheard.py): it may never begin, and others wait for its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Turn(Enum):
    """What one who wants a session does next."""

    BEGIN = "begin"
    LOOK = "look"  # nobody has looked at the plan lately
    WAIT = "wait"  # the plan is full


@dataclass(frozen=True, slots=True)
class Plan:
    """What an account may have and has at one moment, sessions of everybody who shares it included."""

    running: int
    most: int
    queued: int = 0

    @property
    def free(self) -> int:
        """How many more may begin. None while some wait in the provider's own queue: they come first."""
        return 0 if self.queued else max(self.most - self.running, 0)


@dataclass(slots=True)
class _Start:
    allowed_at: float
    answered_at: float | None = None  # it runs, or did not begin: a look after that counts it, if it is to be counted


class Starts:
    """The last look, and what was begun here that it may not have counted.

    `fresh_seconds`: how long ago a look's answer may have come. `settle_seconds`: how long an answered start may take
    to be counted. `start_seconds`: after so long a start that nobody answered was none.
    """

    def __init__(self, fresh_seconds: float = 2.0, settle_seconds: float = 1.0, start_seconds: float = 600.0) -> None:
        self._fresh = fresh_seconds
        self._settle = settle_seconds
        self._longest = start_seconds
        self._starts: dict[str, _Start] = {}
        self._asked_at = self._seen_at = float("-inf")
        self.plan: Plan | None = None

    def looked(self, plan: Plan, asked_at: float, seen_at: float | None = None) -> None:
        """What the plan was between these moments. An answer that was overtaken by a later one changes nothing."""
        if asked_at < self._asked_at:
            return
        self.plan, self._asked_at, self._seen_at = plan, asked_at, asked_at if seen_at is None else seen_at
        for key, start in list(self._starts.items()):
            answered = start.answered_at is not None and start.answered_at + self._settle <= asked_at
            if answered or start.allowed_at + self._longest <= asked_at:
                del self._starts[key]

    def full(self, now: float) -> None:
        """The provider said that there is no room, whatever the last look showed."""
        if self.plan is not None:
            self.looked(Plan(max(self.plan.running, self.plan.most), self.plan.most, self.plan.queued), now)

    def turn(self, now: float) -> Turn:
        """Whether a session may begin now."""
        if self.plan is None or now - self._seen_at > self._fresh:
            return Turn.LOOK
        return Turn.BEGIN if self.room > 0 else Turn.WAIT

    @property
    def room(self) -> int:
        """What is left of the last look, however old that is."""
        return 0 if self.plan is None else max(self.plan.free - len(self._starts), 0)

    @property
    def pending(self) -> int:
        """Starts that the last look may not have counted."""
        return len(self._starts)

    def allowed(self, key: str, now: float) -> None:
        """A session is to begin."""
        self._starts[key] = _Start(now)

    def answered(self, key: str, now: float) -> None:
        """It runs, or failed to begin. A key that is not known means nothing."""
        start = self._starts.get(key)
        if start is not None and start.answered_at is None:
            start.answered_at = now
