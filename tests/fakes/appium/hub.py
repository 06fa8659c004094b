"""What the fake Appium knows and does: devices, sessions, installations, the screen of a small app. No I/O.

The rules are those of Appium's UiAutomator2 driver: with `appium:app` and without `noReset` a session begins with an
installation, with `fullReset` the app is gone after it; without `appium:app` the app's data are cleared (fast reset).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_UNKNOWN = "An unknown server-side error occurred while processing the command. Original error: "
_EXCLUSIVE = (
    "The 'noReset' and 'fullReset' capabilities are mutually exclusive and should not both be set to true. "
    "You probably meant to just use 'fullReset' on its own"
)
_STALE = "An element command failed because the referenced element is no longer attached to the DOM."


class HubError(Exception):
    """An error as WebDriver names it. `beside`: what the answer has beside its value."""

    def __init__(self, status: int, error: str, message: str, beside: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.beside = beside or {}


@dataclass(slots=True)
class Control:
    """What a test sets. Seconds; `refuse_sessions` is how many of the next sessions fail.

    `capabilities` are those of sessions that don't name them, as Appium was started.
    """

    install_seconds: float = 0.0
    session_seconds: float = 0.0
    click_seconds: float = 0.0
    refuse_sessions: int = 0
    capabilities: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Session:
    """One session on one device."""

    session_id: str
    udid: str
    capabilities: dict[str, Any]
    elements: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Counts:
    """What was done to one device. `resets` are those that only cleared the app's data."""

    sessions: int = 0
    installs: int = 0
    removals: int = 0
    resets: int = 0
    refused_busy: int = 0
    clicks: int = 0


class Hub:
    """All devices; those that nobody named come to be with their first session."""

    def __init__(self, control: Control | None = None) -> None:
        self.control = control or Control()
        self.counts: dict[str, Counts] = {}
        self.capabilities: list[dict[str, Any]] = []
        self.sessions: dict[str, Session] = {}
        self.signed_in: dict[str, bool] = {}
        self._numbers = itertools.count(1)
        self.most_at_once = 0

    # ---- sessions ----

    def open(self, asked: dict[str, Any]) -> tuple[Session, float]:
        """Begins a session. Gives it, and how long that takes. Raises HubError."""
        capabilities = self.control.capabilities | asked.get("capabilities", {}).get("alwaysMatch", {})
        udid = str(capabilities.get("appium:udid") or "")
        if not udid:
            raise HubError(400, "invalid argument", "appium:udid is missing: this hub has several devices")
        counts = self.counts.setdefault(udid, Counts())
        if any(session.udid == udid for session in self.sessions.values()):
            counts.refused_busy += 1
            raise HubError(500, "session not created", f"{udid} has a session already")
        full, none = bool(capabilities.get("appium:fullReset")), bool(capabilities.get("appium:noReset"))
        if full and none:
            raise HubError(500, "unknown error", _UNKNOWN + _EXCLUSIVE)
        self.capabilities.append(capabilities)
        if self.control.refuse_sessions > 0:
            self.control.refuse_sessions -= 1
            raise HubError(500, "session not created", "the emulator does not answer")
        seconds = self.control.session_seconds
        if capabilities.get("appium:app") and not none:
            counts.installs += 1
            seconds += self.control.install_seconds
            self.signed_in[udid] = False
        elif not none:
            counts.resets += 1
            self.signed_in[udid] = False
        counts.sessions += 1
        session = Session(f"{next(self._numbers):08x}-fake", udid, capabilities)
        self.sessions[session.session_id] = session
        self.most_at_once = max(self.most_at_once, len(self.sessions))
        return session, seconds

    def session(self, session_id: str) -> Session:
        """A living session. Raises HubError."""
        found = self.sessions.get(session_id)
        if found is None:
            raise HubError(404, "invalid session id", "A session is either terminated or not started")
        return found

    def close(self, session_id: str) -> None:
        """Ends a session; the app goes with one that asked for it."""
        session = self.session(session_id)
        del self.sessions[session_id]
        if session.capabilities.get("appium:fullReset") and session.capabilities.get("appium:app"):
            self.counts[session.udid].removals += 1

    def drop(self, udid: str) -> int:
        """The device restarts: its sessions are gone. Gives how many."""
        gone = [session_id for session_id, session in self.sessions.items() if session.udid == udid]
        for session_id in gone:
            del self.sessions[session_id]
        return len(gone)

    # ---- the app ----

    def texts(self, udid: str) -> list[str]:
        """What the app shows."""
        return ["Welcome back", "Sign out"] if self.signed_in.get(udid) else ["Hello", "Sign in"]

    def find(self, session: Session, value: str) -> list[dict[str, str]]:
        """The elements whose text the selector holds."""
        found = [text for text in self.texts(session.udid) if f'"{text}"' in value]
        ids = []
        for text in found:
            element_id = f"e{len(session.elements)}"
            session.elements[element_id] = text
            ids.append({ELEMENT: element_id, "ELEMENT": element_id})
        return ids

    def text_of(self, session: Session, element_id: str) -> str:
        """The text of an element that was found and is still shown. Raises HubError."""
        text = session.elements.get(element_id)
        if text is None or text not in self.texts(session.udid):
            raise HubError(404, "stale element reference", _STALE)
        return text

    def click(self, session: Session, element_id: str) -> float:
        """Clicks; signing in changes what is shown. Gives how long that takes."""
        text = self.text_of(session, element_id)
        self.counts[session.udid].clicks += 1
        if text in ("Sign in", "Sign out"):
            self.signed_in[session.udid] = text == "Sign in"
        return self.control.click_seconds
