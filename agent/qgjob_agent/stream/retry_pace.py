"""How often an agent without a session tries again, and which of its tries the log is told of."""

from __future__ import annotations

from qgjob_agent.clock import monotonic_seconds

FIRST_SILENCE_SECONDS = 60.0
LONGEST_SILENCE_SECONDS = 3600.0
LONGEST_PAUSE_SECONDS = 30.0
_PATIENCE = 4  # a name that was in use for so many seconds may be in use for one more
_MOST_REASONS = 50


class RetryPace:
    """Since the last session. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[float, float]] = {}  # reason -> when it is news again, the silence after that
        self._in_use_since: float | None = None

    def connected(self) -> None:
        """A session was opened: what comes next is news."""
        self._said.clear()
        self._in_use_since = None

    def pause_seconds(self, usual: float, *, in_use: bool) -> float:
        """How long to wait after a try that failed: as usual, and longer and longer while a name is `in_use`.

        Such a name is another agent's, and stays so until a person does something, or that agent is given up. Any other
        trouble may be over at any moment, and tells nothing of the name: the next refusal of it is a first one again.
        """
        if not in_use:
            self._in_use_since = None
            return usual
        now = monotonic_seconds()
        if self._in_use_since is None:
            self._in_use_since = now
        return max(usual, min((now - self._in_use_since) / _PATIENCE, LONGEST_PAUSE_SECONDS))

    def is_news(self, reason: str) -> bool:
        """Whether to say why a try failed: another reason is news, and the same one after a growing silence."""
        now = monotonic_seconds()
        due, silence = self._said.get(reason, (now, FIRST_SILENCE_SECONDS))
        if now < due:
            return False
        if len(self._said) >= _MOST_REASONS:
            self._said.clear()
        self._said[reason] = (now + silence, min(2 * silence, LONGEST_SILENCE_SECONDS))
        return True
