"""Sessions of devices that are somebody else's: a run asks for each, and the agent begins it.

The preload writes `asks`, `session` and `session_over` with a number into the run's events; the answer to a question
lies in a file of that number, which it removes when it has read it. Another daemon finds all of that again.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from qgjob_agent.devices.cloud import Asked, SessionRefusedError
from qgjob_agent.host.plain_file import put_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgjob_agent.core.values import Assignment, DeviceFacts
    from qgjob_agent.devices.cloud import Cloud

FOLDER = "sessions"
_MOST_NUMBER = 1 << 53
_MOST_SESSIONS = 1_000
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


class Desk:
    """What one run has asked for. `take` each event once, in order; `open` are the questions that nobody answered.

    A device has one session at a time: whoever asks for another one has done with the one before, and with a question
    that has no answer yet, as after a test that ran over its own time.
    """

    def __init__(self, folder: Path, device: DeviceFacts, cloud: Cloud) -> None:
        self.folder = folder
        self._device = device
        self._cloud = cloud
        self._asked: dict[int, Asked] = {}  # no session yet
        self._answering: set[int] = set()
        self._running: dict[int, tuple[Asked, str]] = {}
        self._left: list[str] = []  # sessions that nobody uses any more
        self._had: dict[int, list[str]] = {}  # sessions by the attempt's index
        self._closed = False

    def take(self, event: dict[str, Any], index: int | None, assignment: Assignment | None) -> None:
        """One event, and the attempt that it names. The test may write them, so nothing is taken on trust."""
        kind, number = event.get("event"), event.get("number")
        if type(number) is not int or not 0 <= number <= _MOST_NUMBER:
            return
        if kind == "asks" and assignment is not None and index is not None:
            self._left += self._stop(lambda _: True)
            wishes = event.get("capabilities")
            wishes = wishes if isinstance(wishes, dict) else {}
            key = f"{self.folder.parent.name}/{number}"
            self._asked[number] = Asked(key, index, self._device, assignment, wishes)
        elif kind == "session" and number in self._asked:
            session_id, asked = event.get("session_id"), self._asked.pop(number)
            if isinstance(session_id, str) and _SESSION_ID.fullmatch(session_id):
                self._cloud.found(asked)
                self._runs(number, asked, session_id)
        elif kind == "session_over" and number in self._running:
            self._cloud.over(self._running.pop(number)[0])

    @property
    def open(self) -> list[tuple[int, Asked]]:
        """What was asked and nobody answers; from now on the caller does."""
        new = [(number, asked) for number, asked in self._asked.items() if number not in self._answering]
        new = [(number, asked) for number, asked in new if not self._file(number).exists()]
        self._answering.update(number for number, _ in new)
        return new

    async def answer(self, number: int, asked: Asked) -> None:
        """Begins a session and says so. Raises OSError."""
        told: dict[str, Any]
        left, self._left = self._left, []
        if left:
            await self._cloud.end(left)
        try:
            begun = await self._cloud.begin(asked)
        except SessionRefusedError as error:
            if self._asked.pop(number, None) is None:
                return
            told = {"refused": str(error)}
        else:
            if self._closed or self._asked.pop(number, None) is None:
                self._cloud.over(asked)
                await self._cloud.end([begun.session_id])
                return
            self._runs(number, asked, begun.session_id)
            told = {
                "session_id": begun.session_id,
                "capabilities": begun.capabilities,
                "options": begun.options,
            }
        self.folder.mkdir(mode=0o700, exist_ok=True)
        put_text(self._file(number), json.dumps(told))

    def _runs(self, number: int, asked: Asked, session_id: str) -> None:
        self._running[number] = (asked, session_id)
        had = self._had.setdefault(asked.index, [])
        if len(had) < _MOST_SESSIONS:
            had.append(session_id)

    def had(self, index: int) -> list[str]:
        """The sessions that an attempt had, in order."""
        return list(self._had.get(index, ()))

    def leave(self, index: int) -> list[str]:
        """An attempt is over: gives the sessions that it did not end."""
        return self._stop(lambda asked: asked.index == index)

    def close(self) -> list[str]:
        """Nothing of the run lives: gives the sessions that nobody ended."""
        self._closed = True
        return [*self._left, *self._stop(lambda _: True)]

    def _stop(self, which: Callable[[Asked], bool]) -> list[str]:
        """Nobody waits for these any more, and nobody uses them; gives the ids of those that run."""
        for number, asked in list(self._asked.items()):
            if which(asked):
                self._asked.pop(number).dropped = True
        stopped = {number: each for number, each in self._running.items() if which(each[0])}
        for number, (asked, _) in stopped.items():
            del self._running[number]
            self._cloud.over(asked)
        return [session_id for _, session_id in stopped.values()]

    def _file(self, number: int) -> Path:
        return self.folder / f"{number}.json"
