"""What the fake BrowserStack knows of one account: its plan, who uses it, the apps that were uploaded. No I/O."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

USER, KEY = "lab_user_x1", "S3cretAccessKey77"
ALL_BUSY = (
    "[BROWSERSTACK_QUEUE_SIZE_EXCEEDED] All parallel tests are currently in use, including the queued tests. "
    "Please wait to finish or upgrade your plan to add more sessions."
)
NO_APP = (
    "[BROWSERSTACK_INVALID_APP_CAP] The app_url/ custom_id/ shareable_id specified in the 'app' capability in your "
    "test script is invalid. Please update the 'app' capability with a valid value and try again."
)
SPENT = "Automate testing time expired."
WORDS = {
    403: "Access to API denied. Email to support@browserstack.com for access.",
    422: "[BROWSERSTACK_APP_UNZIP_FAILED] Invalid app: The unzip of your app failed.",
    429: "403 Forbidden (Rate Limit Exceeded)\n",
}
"""Of what a test has refused; else it is a fault of theirs."""


class RestError(Exception):
    """An answer that refuses, a hub's also with a status of success. `plain`: it is words alone, and no JSON."""

    def __init__(self, status: int, message: str, retry_after: int | None = None, *, plain: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.plain = plain


@dataclass(slots=True)
class Control:
    """What a test sets. `refuse` is what the next calls whose path holds a word are answered with: word -> statuses.

    `not_ready` is how often a video is answered with 403 before it is there. `accepted_then_500` uploads are taken and
    answered with 500. `unheard` sessions begin, and whoever asked for them hears nothing. `refused_as` is the status
    with which the hub refuses a session, `limited_as` that of too many requests. `spent`: the plan is used up.
    """

    most: int = 2
    foreign: int = 0
    queued: int = 0
    upload_seconds: float = 0.0
    session_seconds: float = 0.0
    answer_seconds: float = 0.0
    retry_after: int | None = None
    not_ready: int = 0
    accepted_then_500: int = 0
    unheard: int = 0
    refused_as: int = 200
    limited_as: int = 429
    spent: bool = False
    end_status: str = "done"
    refuse: dict[str, list[int]] = field(default_factory=dict)


@dataclass(slots=True)
class CloudSession:
    """One session, as the REST API tells it; `who` began it, and how many commands it was given."""

    session_id: str
    capabilities: dict[str, Any]
    who: str = ""
    commands: int = 0
    status: str = "running"
    reason: str = ""
    marked: int = 0


class Account:
    """All of it. `violations` counts tries to begin a session by one whose last look at the plan showed no room."""

    def __init__(self, control: Control | None = None) -> None:
        self.control = control or Control()
        self.sessions: dict[str, CloudSession] = {}
        self.apps: list[dict[str, str]] = []
        self.uploads: Counter[str] = Counter()  # by the content's digest
        self.asked: Counter[str] = Counter()
        self.seen_full: dict[str, bool] = {}  # by who looked
        self.violations = 0
        self.refused_full = 0
        self.most_at_once = 0
        self._numbers = itertools.count(1)

    @property
    def running(self) -> int:
        """Sessions of all who use the plan."""
        return self.control.foreign + sum(session.status == "running" for session in self.sessions.values())

    def plan(self, who: str = "") -> dict[str, Any]:
        """As plan.json has it."""
        control = self.control
        self.seen_full[who] = self.running >= control.most or control.queued > 0
        return {
            "automate_plan": "Device Cloud Pro",
            "terminal_access": "Public",
            "parallel_sessions_running": self.running,
            "team_parallel_sessions_max_allowed": control.most,
            "parallel_sessions_max_allowed": control.most,
            "queued_sessions": control.queued,
            "queued_sessions_max_allowed": control.most,
        }

    def check(self, path: str, *, known: bool) -> None:
        """Counts a call, and refuses one of nobody who is `known`, or where a test wants that."""
        if not known:
            hub = path.startswith("/wd/hub")
            raise RestError(401, "Authorization required" if hub else "HTTP Basic: Access denied.\n", plain=True)
        self.asked[path.rsplit("/", 1)[-1].partition("?")[0] if "session/" not in path else "command"] += 1
        for word, statuses in self.control.refuse.items():
            if word in path and statuses:
                status = statuses.pop(0)
                if status == 401:
                    self.check(path, known=False)
                told = self.control.limited_as if status == 429 else status
                words = WORDS.get(status, "Internal server error")
                raise RestError(told, words, self.control.retry_after, plain=status == 429)

    def upload(self, data: bytes, custom_id: str | None) -> dict[str, str]:
        """Takes a build; the address that it gives is random, as theirs is."""
        digest = hashlib.sha256(data).hexdigest()
        self.uploads[digest] += 1
        app = {"app_url": f"bs://{hashlib.sha256(f'{next(self._numbers)}'.encode()).hexdigest()[:40]}"}
        if custom_id is not None:
            app |= {"custom_id": custom_id, "shareable_id": f"lab/{custom_id}"}
        self.apps.append(app)
        if self.control.accepted_then_500 > 0:
            self.control.accepted_then_500 -= 1
            raise RestError(500, "Internal server error")
        return app

    def recent(self, custom_id: str) -> Any:
        """The uploaded apps with an id, the latest first; an id that nobody used has no list."""
        found = [
            {"app_name": "app.apk", "app_version": "1.0", "uploaded_at": "2026-01-02 03:04:05 UTC"}
            | app
            | {"app_id": app["app_url"].removeprefix("bs://")}
            for app in reversed(self.apps)
            if app.get("custom_id") == custom_id
        ]
        return found or {"message": "No results found"}

    def open(self, capabilities: dict[str, Any], who: str = "") -> CloudSession:
        """Begins a session. Raises RestError."""
        if self.seen_full.get(who, True):
            self.violations += 1
        if self.running >= self.control.most:
            self.refused_full += 1
            raise RestError(self.control.refused_as, ALL_BUSY)
        if self.control.spent:
            raise RestError(self.control.refused_as, SPENT)
        app = capabilities.get("appium:app")
        if app not in {each["app_url"] for each in self.apps}:
            raise RestError(self.control.refused_as, NO_APP)
        if not capabilities.get("bstack:options", {}).get("deviceName"):
            raise RestError(self.control.refused_as, "[BROWSERSTACK_NO_DEVICE_SPECIFIED] deviceName is missing")
        session = CloudSession(f"{next(self._numbers):040x}", capabilities, who)
        self.sessions[session.session_id] = session
        self.most_at_once = max(self.most_at_once, self.running)
        return session

    def session(self, session_id: str) -> CloudSession:
        """Raises RestError."""
        if session_id not in self.sessions:
            raise RestError(404, "Session not found")
        return self.sessions[session_id]

    def builds(self) -> list[str]:
        """Names of the builds that have a session which runs."""
        running = [each for each in self.sessions.values() if each.status == "running"]
        return list(dict.fromkeys(each.capabilities["bstack:options"].get("buildName", "") for each in running))

    def close(self, session_id: str) -> None:
        """A session ends by itself or by its client."""
        session = self.session(session_id)
        if session.status == "running":
            session.status = self.control.end_status

    def drop(self, word: str = "") -> list[str]:
        """Sessions end whose name has that word, as when a device is lost."""
        gone = []
        for session in self.sessions.values():
            if session.status == "running" and word in session.capabilities["bstack:options"]["sessionName"]:
                session.status, session.reason = "error", "the device was lost"
                gone.append(session.session_id)
        return gone
