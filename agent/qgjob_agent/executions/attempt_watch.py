"""Which attempt of an execution is due to do something, and whether it has taken too long or been silent for too long.

Attempts run in order, one at a time. From the end of one (or the start of all) until the end of the next one the time
is that next one's, also before it says that it has begun: what hangs on the way to it is charged to it. Pure; seconds
of any one clock. The standard library only: supervisors import this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob_agent.executions.names import SILENCE, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

_MOST_MS = 1 << 53


class AttemptWatch:
    """`limits` has for each attempt, in order, its time and its silence in seconds; 0 is no limit.

    Before it has begun an attempt may be silent for `first_seconds` in any case: programs need a while to start. When
    all have ended, `last_seconds` are left for the command to end; that is nobody's failure.
    """

    def __init__(
        self,
        limits: Mapping[int, tuple[float, float]],
        now: float,
        first_seconds: float = 0.0,
        last_seconds: float = 0.0,
    ) -> None:
        self._limits = dict(limits)
        self._left = dict.fromkeys(limits)
        self._first_seconds = first_seconds
        self._last_seconds = last_seconds
        self._since = self._heard_at = now
        self._begun: int | None = None

    @property
    def current(self) -> int | None:
        """The attempt whose time runs; None when all have ended."""
        return self._begun if self._begun is not None else next(iter(self._left), None)

    @property
    def since(self) -> float:
        """When the time of the current attempt began."""
        return self._since

    @property
    def known(self) -> list[int]:
        """All attempts that there were."""
        return list(self._limits)

    def ended(self, attempt: int) -> bool:
        """Whether an attempt has ended."""
        return attempt not in self._left

    def add(self, attempt: int, limits: tuple[float, float], now: float) -> None:
        """The command takes another attempt, after those that it has."""
        if attempt in self._limits:
            return
        if self.current is None:
            self._since = self._heard_at = now
        self._limits[attempt] = limits
        self._left[attempt] = None

    def order(self, attempts: Iterable[object]) -> None:
        """The command has an order of its own: those that are named come first, in it."""
        first = [attempt for attempt in attempts if isinstance(attempt, int) and attempt in self._left]
        self._left = dict.fromkeys([*first, *self._left])

    def begin(self, attempt: int, now: float) -> None:
        """An attempt says that it begins."""
        self._heard_at = now
        if attempt in self._left and attempt != self._begun:
            if attempt != self.current:  # it has overtaken another: its time begins here
                self._since = now
            self._begun = attempt

    def end(self, attempt: int, now: float) -> None:
        """An attempt says that it has ended, or was taken out before it began."""
        self._heard_at = now
        if attempt not in self._left:
            return
        was_current = attempt == self.current
        del self._left[attempt]
        if was_current:
            self._begun = None
            self._since = now

    def heard(self, now: float) -> None:
        """Something was printed, or moved."""
        self._heard_at = now

    def take(self, event: dict[str, Any], now: float) -> None:
        """What the command says in its file of events."""
        attempt = event.get("attempt")
        if event.get("event") == "begin" and isinstance(attempt, int):
            self.begin(attempt, now)
        elif event.get("event") == "end" and isinstance(attempt, int):
            self.end(attempt, now)
        elif event.get("event") == "joined" and isinstance(attempt, int):
            self.add(attempt, (_seconds(event, "timeout_ms"), _seconds(event, "silence_timeout_ms")), now)
        elif event.get("event") == "order" and isinstance(event.get("attempts"), list):
            self.order(event["attempts"])
        else:
            self.heard(now)

    def deadline(self) -> float:
        """When `overdue` has something to say, if nothing happens until then."""
        return min((at for at, _ in self._ends()), default=float("inf"))

    def overdue(self, now: float) -> str | None:
        """Why the current attempt (or the command, when all have ended) is to be ended now; None while it may go on."""
        return next((why for at, why in self._ends() if now >= at), None)

    def _ends(self) -> list[tuple[float, str]]:
        current = self.current
        if current is None:
            return [(self._since + self._last_seconds, TIMEOUT)] if self._last_seconds > 0 else []
        timeout, silence = self._limits[current]
        if silence > 0 and self._begun is None:
            silence = max(silence, self._first_seconds)
        ends = [(self._since + timeout, TIMEOUT)] if timeout > 0 else []
        return ends + ([(self._heard_at + silence, SILENCE)] if silence > 0 else [])


def _seconds(event: dict[str, Any], name: str) -> float:
    """A limit that an event names in milliseconds; 0, which is none, where it is no number, or none of a time."""
    value = event.get(name)
    return value / 1000 if isinstance(value, int) and 0 < value <= _MOST_MS else 0.0
