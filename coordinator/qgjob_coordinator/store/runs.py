"""Runs that are to be cancelled: marks that outlive the coordinator that set them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from qgjob_coordinator.store import keys
from qgjob_coordinator.store.scripts import Arg, ScriptRunner, unavailable


@dataclass(frozen=True, slots=True)
class RunToCancel:
    """A run whose unfinished jobs are to be cancelled. `found` is its mark: what no other mark of it is, and why."""

    run_id: str
    found: str

    @property
    def reason(self) -> str:
        """Why, for people."""
        return self.found.partition(" ")[2]


class RunStore:
    """Runs of one org at a time. All methods raise StoreUnavailableError."""

    def __init__(self, runner: ScriptRunner, redis: Redis) -> None:
        self._runner = runner
        self._redis = redis

    async def to_cancel(self, org_id: str) -> list[RunToCancel]:
        """Runs that are to be cancelled."""
        found = await self._hash(f"{keys.org(org_id)}rc")
        return [RunToCancel(run, text) for run, text in sorted(found.items())]

    async def cancelled(self, org_id: str, runs: Sequence[RunToCancel]) -> None:
        """Takes marks away when all was cancelled that was there when they were looked up; a newer mark stays."""
        args: list[Arg] = []
        for run in runs:
            args += (run.run_id, run.found)
        await self._runner.run("cancelled", keys.org(org_id), args)

    async def _hash(self, key: str) -> Mapping[str, str]:
        try:
            found: Mapping[str, str] = await self._redis.execute_command("HGETALL", key)
        except RedisError as e:
            raise unavailable(e) or e from e
        return found
