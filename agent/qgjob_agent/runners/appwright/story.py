"""What the reporter said of one attempt, and what it means. Pure; the file is the test's to write, so nothing is taken
on trust.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from qgjob_agent.core.values import Finished, Outcome, TestResult
from qgjob_agent.runners.appwright.appium_log import Mark

_MOST = 1_000_000
_MOST_INSTALLS = 1_000
_TEXT = 500
_MOST_SESSIONS = 100
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{8,100}")


@dataclass(slots=True)
class Story:
    """One attempt as its run told it. Times are milliseconds since the epoch."""

    begun_at_ms: int = 0
    ended_at_ms: int = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    duration_ms: int = 0
    failure: str = ""  # the first failed test
    error: str = ""  # outside of its tests, such as a file that can't be loaded
    missing: bool = False  # Playwright found no test in it
    installs: int = 0  # which AppWright made, beside the agent's own
    install_ms: int = 0  # that these took, as far as it is known
    no_session: str = ""  # why the device gave none
    unanswered: int = 0  # sessions in a cloud that were asked for and did not come
    logged_from: Mark | None = None  # in the log of Appium, where that is the agent's
    logged_to: Mark | None = None
    session_ids: list[str] = field(default_factory=list)  # that Appium gave it

    @property
    def ended(self) -> bool:
        """Whether all of its tests have ended."""
        return self.ended_at_ms > 0

    def take(self, event: dict[str, Any]) -> None:
        """Takes what is told of this attempt; after its end nothing changes it."""
        if self.ended:
            return
        kind, at_ms = event.get("event"), _count(event.get("at_ms"), most=1 << 53)
        if kind == "begin":
            self.begun_at_ms = self.begun_at_ms or at_ms
            self.logged_from = self.logged_from or Mark.of(event.get("appium_log"))
        elif kind == "error":
            self.error = self.error or _text(event.get("text")) or "an error that was not told"
        elif kind == "missing":
            self.missing = True
        elif kind == "asks":
            self.unanswered += 1
        elif kind == "session":
            self.installs += event.get("installs") is True
            self.unanswered = max(self.unanswered - 1, 0)
        elif kind == "has_session":
            session_id = event.get("session_id")
            if isinstance(session_id, str) and _SESSION_ID.fullmatch(session_id):
                self.session_ids = [*self.session_ids, session_id][-_MOST_SESSIONS:]
        elif kind == "no_session":
            self.no_session = _text(event.get("text"))
        elif kind == "end":
            self.passed, self.failed, self.skipped = (_count(event.get(x)) for x in ("passed", "failed", "skipped"))
            self.duration_ms = _count(event.get("duration_ms"), most=1 << 53)
            self.failure = _text(event.get("error"))
            self.installs += _count(event.get("installs"), most=_MOST_INSTALLS)
            self.install_ms = _count(event.get("install_ms"), most=1 << 53)
            self.logged_to = Mark.of(event.get("appium_log"))
            self.ended_at_ms = max(at_ms, 1)
            self.begun_at_ms = self.begun_at_ms or self.ended_at_ms

    def finished(self) -> Finished:
        """The verdict of one that has ended."""
        total = self.passed + self.failed + self.skipped
        outcome, error = Outcome.PASSED, None
        if self.failed and self.unanswered >= self.failed:
            why = self.no_session or "none came within the test's own time limit"
            outcome, error = Outcome.PROVIDER_ERROR, f"the plan gave no session: {why}"[:_TEXT]
        elif self.failed and self.no_session and not self.passed:
            outcome, error = Outcome.DEVICE_ERROR, f"the device gave no session: {self.no_session}"[:_TEXT]
        elif self.failed:
            others = f" (and {self.failed - 1} more)" if self.failed > 1 else ""
            outcome, error = Outcome.TEST_FAILED, f"{self.failure or 'a test failed'}{others}"
        summary = error or f"{self.passed} of {total} passed" + (f", {self.skipped} skipped" if self.skipped else "")
        result = TestResult(self.passed, self.failed, self.skipped, self.duration_ms, summary[:_TEXT])
        return Finished(outcome, self.begun_at_ms, self.ended_at_ms, self.duration_ms, result, error)


def attempt_of(event: dict[str, Any]) -> int | None:
    """The attempt that an event is about."""
    attempt = event.get("attempt")
    return attempt if type(attempt) is int else None


def percent_of(event: dict[str, Any]) -> int:
    """The percent of a progress event."""
    return _count(event.get("percent"), most=100)


def _count(value: object, most: int = _MOST) -> int:
    return value if type(value) is int and 0 <= value <= most else 0


def _text(value: object) -> str:
    text = value if isinstance(value, str) else ""
    return "".join(char if char.isprintable() else " " for char in text).strip()[:_TEXT]
