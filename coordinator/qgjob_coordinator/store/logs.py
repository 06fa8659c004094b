"""The log tails of attempts."""

from __future__ import annotations

from collections.abc import Sequence

from qgjob_coordinator.store import keys
from qgjob_coordinator.store.commands import Commands
from qgjob_coordinator.store.scripts import Arg, ScriptRunner

OFFSET_DIGITS = 16
# It goes with its job, or an hour after the verdict; this bounds what nobody ends, no job waits so long for a retry.
UNENDED_TTL_MS = 30 * 24 * 3600 * 1000


class LogStore:
    """Bounded tails: 64 KB an attempt."""

    def __init__(self, runner: ScriptRunner, call: Commands) -> None:
        self._runner = runner
        self._call = call

    async def append(self, org_id: str, pieces: Sequence[tuple[str, str, int, bytes]]) -> list[str]:
        """(ulid, token, offset, data) pieces; a word each: APPLIED, REPLAYED, LATE."""
        args: list[Arg] = [keys.LOG_TAIL_BYTES, UNENDED_TTL_MS]
        for piece in pieces:
            args += piece
        return list(await self._runner.run("log", keys.org(org_id), args))

    async def read(self, org_id: str, ulid: str, attempt: int) -> list[tuple[int, bytes]]:
        """What is kept: (offset, data) pieces in order. Raises StoreUnavailableError."""
        # They are bytes, and need not be text.
        items: list[bytes] = await self._call("LRANGE", f"{keys.org(org_id)}lg:{ulid}:{attempt}", 0, -1, raw=True)
        return [(int(x[:OFFSET_DIGITS]), x[OFFSET_DIGITS:]) for x in items]
