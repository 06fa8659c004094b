"""Folders of executions that were removed while these ran: whether one test's own, or those of several at once.

Who has removed its own folder has failed. Who has removed several is among them, and nobody knows which it was.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from qgjob_agent.executions.folder import ExecutionFolder

PAUSE_SECONDS = 1.0
"""So long after the first one is found to be gone the others may take to go."""


class Removals:
    """`living` gives the executions of which nothing was told yet that they have ended."""

    def __init__(self, living: Callable[[], Iterable[ExecutionFolder]], log: Any) -> None:
        self._living = living
        self._log = log
        self._together: set[Path] = set()

    async def together(self, execution: ExecutionFolder) -> bool:
        """Whether the folder of one that has ended was removed with those of others. Asked once, before it is told."""
        if not execution.removed:
            return False
        if any(each is not execution for each in self._living()):
            await asyncio.sleep(PAUSE_SECONDS)
            self._look(execution.path)
        found = execution.path in self._together
        self._together.discard(execution.path)
        return found

    def _look(self, path: Path) -> None:
        gone = {each.path for each in self._living() if each.removed} | {path}
        if path not in self._together and len(gone) > 1:
            self._together |= gone
            self._log.warning("executions_removed", count=len(gone), path=str(path.parent))
