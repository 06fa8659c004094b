"""What a step is given, and what it may raise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from qgjob_coordinator.store import keys
from qgjob_coordinator.store.commands import Commands
from qgjob_coordinator.store.scripts import Arg, ScriptRunner


class TakenOverError(Exception):
    """Another coordinator carries the move out by now."""


@dataclass(frozen=True, slots=True)
class Work:
    """The move that a step belongs to: the schema's text meanwhile, and the name under which it is carried out."""

    runner: ScriptRunner
    call: Commands
    mark: str
    who: str

    async def step(self, script: str, args: list[Arg]) -> int:
        """Runs a script of the move on the fleet's keys; what it counted.

        Raises TakenOverError, StoreUnavailableError.
        """
        count = int(await self.runner.run(script, keys.FLEET, [self.mark, self.who, *args]))
        if count < 0:
            raise TakenOverError
        return count


Step = Callable[[Work], Awaitable[int]]
"""Carries out the whole move; how many things it changed."""
