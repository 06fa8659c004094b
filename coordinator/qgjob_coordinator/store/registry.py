"""The registry of orgs: what loops over all orgs look at, so that nothing is forgotten, and no longer than need be.

An org registers before anything of it is written. One of which nothing is left is *idle*, and still looked at, for so
long that whoever registered it before has written by then. After that it leaves, and registers anew with what it brings
next. What stays of it are learned durations, counters and the lowest epochs that may claim: nobody looks for them.
"""

from __future__ import annotations

from collections.abc import Sequence

from qgjob_coordinator.store import keys
from qgjob_coordinator.store.commands import Commands
from qgjob_coordinator.store.scripts import ScriptRunner

IDLE_MS = 24 * 3600 * 1000
"""So long an org without anything stays. From its registration to its jobs a submission takes seconds."""

_LOOKED_FOR = (
    *("ix:a", "ix:c", "ix:f", "ix:x", "gs", "dl", "qx"),  # jobs
    *("rc", "bo"),  # runs to cancel, clients that may go away
    *("bd", "bc"),  # builds and suites
    *("ak", "ag"),  # evidence
)
"""What the loops look for in an org: with none of these they find nothing to do there."""


class Registry:
    """Any number of coordinators have it looked through at once."""

    def __init__(self, runner: ScriptRunner, call: Commands) -> None:
        self._runner = runner
        self._call = call

    async def all(self) -> set[str]:
        """Every org of which something is left, or was a day ago. Raises StoreUnavailableError."""
        registered, idle = await self._runner.run("registry", keys.FLEET, [])
        return {str(org_id) for org_id in (*registered, *idle)}

    async def nothing_left(self, org_id: str) -> bool:
        """Whether no loop would find anything in the org. Raises StoreUnavailableError."""
        prefix = keys.org(org_id)
        first, *others = (f"{prefix}{suffix}" for suffix in _LOOKED_FOR)
        return not int(await self._call("EXISTS", first, *others))

    async def leave(self, org_ids: Sequence[str], now: int) -> list[str]:
        """Orgs in which nothing was found; which of them are in the registry no more, `now` (ms).

        Raises StoreUnavailableError.
        """
        return [str(x) for x in await self._runner.run("leave", keys.FLEET, [now, now - IDLE_MS, *org_ids])]
