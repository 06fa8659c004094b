"""What a device shows when a test on it has run over its time: a picture, taken before the test is ended.

The supervisor waits for that a moment (last_look.py), and for no other reason than a limit.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from qgjob_agent.host.plain_file import put_into

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgjob_agent.executions.execution import Execution
    from qgjob_agent.runners.work import Work

NAME = "hung.png"
_PICTURE_SECONDS = 5.0
LOOK_SECONDS = _PICTURE_SECONDS + 1.0
"""How long a supervisor waits; where no agent lives, in vain."""


class Screens(Protocol):
    """What devices show."""

    async def __call__(self, device_id: str) -> bytes | None:
        """What a device shows now, as PNG; None for one that can't be asked. Raises OSError, saying why not."""


class LastLooks:
    """Takes the pictures of one runner's devices; without `screens` none."""

    def __init__(self, screens: Screens | None, work: Work, log: Any) -> None:
        self._screens = screens
        self._work = work
        self._log = log
        self._taking: dict[Path, asyncio.Task[None]] = {}  # by execution

    @property
    def seconds(self) -> float:
        """For Command.look_seconds."""
        return 0.0 if self._screens is None else LOOK_SECONDS

    def look(self, execution: Execution, device_id: str, folder_of: Callable[[int], Path | None]) -> None:
        """Takes a picture where the supervisor waits for one. `folder_of` an attempt that is over is None."""
        if self._screens is None or execution.path in self._taking:
            return
        try:
            attempt = execution.overdue()
        except OSError:  # the disk, or what the test put there: it waits in vain
            return
        if attempt is not None:
            taking = self._take(self._screens, execution, device_id, folder_of(attempt))
            self._taking[execution.path] = self._work.spawn(taking, "last-look")

    def over(self, execution: Execution) -> None:
        """Nothing of it lives any more."""
        if (task := self._taking.pop(execution.path, None)) is not None:
            task.cancel()

    async def _take(self, screens: Screens, execution: Execution, device_id: str, folder: Path | None) -> None:
        try:
            if folder is not None:
                async with asyncio.timeout(_PICTURE_SECONDS):
                    picture = await screens(device_id)
                if picture:
                    await asyncio.to_thread(put_into, folder, NAME, picture)
        except (OSError, TimeoutError) as error:
            why = str(error) or f"the device did not answer within {_PICTURE_SECONDS:g} s"
            self._log.warning("last_look_failed", device_id=device_id, error=why)
        finally:
            execution.looked()
