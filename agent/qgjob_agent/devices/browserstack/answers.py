"""What BrowserStack's answers mean: what each holds, and of a refusal which error it is.

Pure. `told` is an answer's JSON; where it is none, its words alone. No error shows the user or the key of `account`.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from qgjob_agent.devices.browserstack.errors import (
    AccountRefusedError,
    CloudAwayError,
    CloudError,
    NoRoomError,
    NotThereError,
    RejectedError,
    SpentError,
    TooManyError,
    UnheardError,
)
from qgjob_agent.devices.browserstack.plan import Plan

if TYPE_CHECKING:
    from qgjob_agent.devices.browserstack.account import Account

LONGEST_PAUSE_SECONDS = 60.0
"""However long BrowserStack asks to wait, it is asked again after that."""
_TEXT = 200
_NO_ROOM = re.compile(r"parallel|queue", re.IGNORECASE)
_SPENT = re.compile(r"testing time expired", re.IGNORECASE)
_OVER = re.compile(r"session not started or terminated", re.IGNORECASE)
_TOO_MANY = re.compile(r"rate limit", re.IGNORECASE)
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_UNHEARD = frozenset({408, 502, 504, 520, 522, 524})
"""A server between said it (Cloudflare the last three) or took it for late: what was asked for may have been done."""
_NOT_ALLOWED = frozenset({401, 402, 403})
_ADVICE = "check browserstack.username and browserstack.access_key, and what the plan allows"
_SAID_IN = ("value", "message", "error", "errors")
_DEEPEST = 3


def plan_of(told: Any) -> Plan:
    """What the plan has and uses. Raises CloudAwayError."""
    running, queued = _number(told, "parallel_sessions_running"), _number(told, "queued_sessions") or 0
    limits = [_number(told, name) for name in ("parallel_sessions_max_allowed", "team_parallel_sessions_max_allowed")]
    known = [limit for limit in limits if limit is not None]
    if running is None or not known:
        raise CloudAwayError("BrowserStack's plan does not say how many sessions it has; set browserstack.api_url")
    return Plan(running, min(known), queued)


def apps_of(told: Any, custom_id: str) -> list[str]:
    """The addresses of the apps with this id, in their order."""
    apps = told if isinstance(told, list) else []  # an id that nobody used is answered with a message
    urls = [each.get("app_url") for each in apps if isinstance(each, dict) and each.get("custom_id") == custom_id]
    return [url for url in urls if isinstance(url, str) and url.startswith("bs://")]


def uploaded(told: Any, account: Account) -> str:
    """The address of the app that an upload became. Raises RejectedError."""
    url = told.get("app_url") if isinstance(told, dict) else None
    if not isinstance(url, str) or not url.startswith("bs://"):
        said = _said(told, account)
        told_so = f" (it said: {said})" if said else ""
        raise RejectedError(f"BrowserStack gave no app_url for the build{told_so}; look at its dashboard")
    return url


def begun(told: Any, account: Account) -> tuple[str, dict[str, Any]]:
    """A session's id and what it can do, of an answer of success. Raises RejectedError, UnheardError.

    A hub refuses with such a status too: then there are words, and no id.
    """
    value = told.get("value") if isinstance(told, dict) else None
    value = value if isinstance(value, dict) else {}
    session_id = value.get("sessionId")
    if isinstance(session_id, str) and _ID.fullmatch(session_id):
        found = value.get("capabilities")
        return session_id, found if isinstance(found, dict) else {}
    said = _said(told, account)
    if said:
        raise RejectedError(f"BrowserStack refuses a session ({said})")
    raise UnheardError("BrowserStack answers for a session without an id")


def not_begun(error: CloudError) -> CloudError:
    """What it means that no session began: of a full plan, and of one that is used up, the words alone tell."""
    if isinstance(error, UnheardError | NotThereError):  # one may have begun, or there is no hub
        return error
    if _NO_ROOM.search(str(error)):
        return NoRoomError(str(error))
    if _SPENT.search(str(error)):
        return SpentError(str(error) if isinstance(error, AccountRefusedError) else f"{error}; {_ADVICE}")
    return error


def is_over(error: CloudError) -> bool:
    """Whether a session can't be ended as it does not run any more: said with 404, or as a fault of theirs."""
    return isinstance(error, NotThereError) or _OVER.search(str(error)) is not None


def listed(told: Any, kind: str) -> list[dict[str, Any]]:
    """The things of a list, each of which lies in an object of its own."""
    found = [each.get(kind) for each in told if isinstance(each, dict)] if isinstance(told, list) else []
    return [each for each in found if isinstance(each, dict) and _ID.fullmatch(str(each.get("hashed_id")))]


def refusal(what: str, status: int, retry_after: str, told: Any, account: Account) -> CloudError:
    """Which error an answer is that has no status of success. `retry_after` is its header."""
    said = _said(told, account)
    so = f"(HTTP {status}{': ' + said if said else ''})"
    if status == HTTPStatus.TOO_MANY_REQUESTS or (status in _NOT_ALLOWED and _TOO_MANY.search(said)):
        return TooManyError(f"BrowserStack can't serve {what} now {so}", _seconds(retry_after))
    if status in _NOT_ALLOWED:
        return AccountRefusedError(f"BrowserStack refuses the account for {what} {so}; {_ADVICE}")
    if status in _UNHEARD:
        return UnheardError(f"BrowserStack does not answer for {what} in time {so}", _seconds(retry_after))
    if status == HTTPStatus.TOO_EARLY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return CloudAwayError(f"BrowserStack can't serve {what} now {so}", _seconds(retry_after))
    if status == HTTPStatus.NOT_FOUND:
        return NotThereError(f"BrowserStack has no such thing: {what} {so}")
    return RejectedError(f"BrowserStack refuses {what} {so}")


def words_alone(text: str) -> str:
    """What an answer says that is no JSON, such as one to a wrong key. A page says nothing."""
    return "" if "<" in text else text


def _number(told: Any, name: str) -> int | None:
    value = told.get(name) if isinstance(told, dict) else None
    return value if type(value) is int and value >= 0 else None


def _seconds(retry_after: str) -> float | None:
    """Where some are asked for; a date is not what BrowserStack sends."""
    return min(float(retry_after), LONGEST_PAUSE_SECONDS) if retry_after.isdecimal() else None


def _said(told: Any, account: Account) -> str:
    """The words of an answer, as they may be shown: a cut before would leave half a key."""
    printable = "".join(char if char.isprintable() else " " for char in _words(told)).strip()
    return account.hidden(printable)[:_TEXT]


def _words(told: Any, deepest: int = _DEEPEST) -> str:
    """A hub has them in `value`, the rest in `error` or `message`, or one in the other."""
    if isinstance(told, dict) and deepest > 0:
        return next((said for name in _SAID_IN if (said := _words(told.get(name), deepest - 1))), "")
    return told if isinstance(told, str) else ""
