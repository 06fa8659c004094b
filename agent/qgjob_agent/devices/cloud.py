"""Sessions of devices that are somebody else's: what a runner asks for, and what their provider gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from qgjob_agent.core.values import Assignment, DeviceFacts, Finished
    from qgjob_agent.devices.app import App


class SessionRefusedError(Exception):
    """No session can begin. The message says why, and what to do."""


@dataclass(slots=True, eq=False)
class Asked:
    """A session that a run wants. `key` names it over all runs of this agent, `capabilities` are the test's wishes.

    `dropped`: nobody waits for it any more.
    """

    key: str
    index: int
    device: DeviceFacts
    assignment: Assignment
    capabilities: dict[str, Any]
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class Begun:
    """A session that runs: `options` and `capabilities` as WebDriver's attachToSession takes them."""

    session_id: str
    capabilities: dict[str, Any]
    options: dict[str, Any]


class Cloud(Protocol):
    """Where sessions come from."""

    async def app(self, assignment: Assignment, device: DeviceFacts) -> App:
        """The build of an attempt, `url` included. Raises AppUnknownError."""

    async def begin(self, asked: Asked) -> Begun:
        """Begins a session as soon as one may begin. Raises SessionRefusedError."""

    def found(self, asked: Asked) -> None:
        """It runs: an earlier daemon began it."""

    def over(self, asked: Asked) -> None:
        """It has ended."""

    async def end(self, session_ids: list[str]) -> None:
        """Ends sessions that nobody uses any more. Raises nothing."""

    async def conclude(self, session_ids: list[str], finished: Finished, files: Path) -> Finished:
        """Tells the provider how an attempt ended, leaves what it kept of it in `files`, and gives the verdict.

        Takes a bounded time, and raises nothing.
        """
