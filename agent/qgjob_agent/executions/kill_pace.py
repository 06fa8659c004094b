"""How often what is to die is killed again, and how hard.

What lives on after SIGKILL forks faster than it is met, or is stuck in the kernel, maybe for ever. The first is hunted
without a pause to speak of, and before all else that runs; the second is waited for. Which of them it is, is told by
what appears: as long as new processes do, the hunt is hot.

The standard library only: supervisors import this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

FIRST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 1.0
PAUSE_SHARE = 0.1
"""Of the time for which it has been waited: what takes long is looked at more rarely."""
HOT_SECONDS = 2.0
"""So long after something new appeared. A storm of forks is over by then."""
HOTTEST_SECONDS = 10.0
"""So long at most, whatever appears: what may not be killed could go on forking."""
STUCK_SECONDS = 5.0
"""What lives for so long after its first SIGKILL is told."""


class Step(NamedTuple):
    """What a look at the living leads to. `stuck`: those that SIGKILL does not end, in order."""

    pause_seconds: float
    urgent: bool
    stuck: tuple[int, ...]


class KillPace:
    """The pace of one hunt. Times are seconds of any clock that only goes on."""

    def __init__(self) -> None:
        self._first_met: dict[int, float] = {}
        self._began: float | None = None
        self._news_at = 0.0

    def look(self, now: float, living: Iterable[int]) -> Step:
        """What to do after these were found living, and killed."""
        if self._began is None:
            self._began = now
        before, self._first_met = self._first_met, {pid: self._first_met.get(pid, now) for pid in living}
        if self._first_met.keys() - before.keys():
            self._news_at = now
        waited = max(now - self._news_at - HOT_SECONDS, now - self._began - HOTTEST_SECONDS)
        pause = min(max(FIRST_PAUSE_SECONDS, waited * PAUSE_SHARE), LONGEST_PAUSE_SECONDS)
        stuck = sorted(pid for pid, at in self._first_met.items() if now - at >= STUCK_SECONDS)
        return Step(pause, waited < 0, tuple(stuck))
