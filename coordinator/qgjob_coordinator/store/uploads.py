"""Which agent takes a content to the store of a provider of devices; see lua/upload.lua.

`up:<account>:<digest>`  `held <token>` while an agent uploads, `known <where>` for a while after that
"""

from __future__ import annotations

from qgjob_coordinator.store import keys
from qgjob_coordinator.store.scripts import Arg, ScriptRunner
from qgjob_coordinator.store.types.contents import UploadWord

GIVES_UP = "-"


class UploadStore:
    """Uploads of the fleet. All methods raise StoreUnavailableError."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def want(self, account: str, digest: str, token: str, held_ms: int) -> tuple[UploadWord, str]:
        """An agent wants to upload, or goes on: YOURS for so long, TAKEN, or KNOWN and where."""
        return await self._run(account, digest, token, held_ms, "")

    async def done(self, account: str, digest: str, token: str, where: str, known_ms: int) -> tuple[UploadWord, str]:
        """It is there, and known for so long: KNOWN and where, or STALE."""
        return await self._run(account, digest, token, known_ms, where)

    async def give_up(self, account: str, digest: str, token: str) -> tuple[UploadWord, str]:
        """Another agent may try: FREE, or STALE."""
        return await self._run(account, digest, token, 0, GIVES_UP)

    async def _run(self, account: str, digest: str, token: str, lifetime_ms: int, where: str) -> tuple[UploadWord, str]:
        args: list[Arg] = [account, digest, token, lifetime_ms, where]
        word, found = await self._runner.run("upload", keys.FLEET, args)
        return UploadWord(word), found
