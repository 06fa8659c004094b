"""Carries out the steps, one coordinator at a time; the others wait, and follow one that died."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping

from qgjob_coordinator.errors import ConfigError
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.commands import Commands
from qgjob_coordinator.store.migrations import all_orgs, holds
from qgjob_coordinator.store.migrations.work import Step, TakenOverError, Work
from qgjob_coordinator.store.scripts import Arg, ScriptRunner

STEPS: Mapping[int, Step] = {5: holds.move, 6: all_orgs.move}
"""What leads to each schema from the one before."""

FOLLOW_SECONDS = 10.0
"""A coordinator whose count stands still for so long is dead or away, and is followed."""
PAUSE_SECONDS = 0.2


def way(found: str) -> tuple[int, int] | None:
    """(schema, next schema) of the next step for a store whose schema is `found`; None when there is none."""
    before, _, after = found.partition(">")
    if not before.isdecimal() or (after and after != str(int(before) + 1)):
        return None
    there = int(before)
    steps = range(there + 1, keys.SCHEMA_VERSION + 1)
    return (there, there + 1) if steps and all(step in STEPS for step in steps) else None


def refusal(found: str) -> ConfigError:
    """What to tell of a store whose schema is `found`, from which there is no way."""
    ours, number = keys.SCHEMA_VERSION, found.rpartition(">")[2]
    if number.isdecimal() and int(number) > ours:
        todo = "a newer version wrote it: start that one, or restore the backup that was made before it"
    else:
        oldest = min(STEPS) - 1
        what = f"this version brings stores of schema {oldest} and newer along"
        todo = f"{what}: start the version that wrote it, or begin with an empty store"
    return ConfigError(f"REDIS_URL: the store has schema {found}, this coordinator needs {ours}; {todo}")


class Migrator:
    """One coordinator's part in it. Taken up again after an error it goes on under the same name."""

    def __init__(self, runner: ScriptRunner, call: Commands) -> None:
        self._runner = runner
        self._call = call
        self._who = secrets.token_hex(8)

    async def run(self, found: str) -> int:
        """Returns when the store has this version's schema; how many things this coordinator changed.

        Raises ConfigError when there is no way from the schema found, StoreUnavailableError.
        """
        changed = 0
        while found != str(keys.SCHEMA_VERSION):
            step = way(found)
            if step is None:
                raise refusal(found)
            done, found = await self._move(*step)
            changed += done
        return changed

    async def _move(self, before: int, after: int) -> tuple[int, str]:
        """One step, by this coordinator or another one; what it changed itself, and the schema that the store has then.

        That may be a later one: another coordinator has gone on with the next step.
        """
        work = Work(self._runner, self._call, f"{before}>{after}", self._who)
        seen, since = ("", 0), time.monotonic()
        while True:
            still = seen if time.monotonic() - since >= FOLLOW_SECONDS else ("", 0)
            word, who, count = await self._ask(before, after, *still)
            if word == "DONE":
                return 0, str(after)
            if word == "ELSE":
                return 0, who
            if word == "MINE":
                try:
                    changed = await STEPS[after](work)
                    if (await self._ask(before, after, "", 0, done=True))[0] == "DONE":
                        return changed, str(after)
                except TakenOverError:
                    pass
                seen, since = ("", 0), time.monotonic()
                continue
            if (who, count) != seen:
                seen, since = (who, count), time.monotonic()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _ask(self, before: int, after: int, who: str, count: int, *, done: bool = False) -> tuple[str, str, int]:
        args: list[Arg] = [before, after, self._who, who, count, "done" if done else ""]
        word, other, number = await self._runner.run("migrate", keys.FLEET, args)
        return str(word), str(other), int(number)
