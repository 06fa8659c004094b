"""Runs that are to be cancelled, and those that are bound to the life of a client: both outlive any coordinator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qgjob_coordinator.store import keys
from qgjob_coordinator.store.commands import Commands
from qgjob_coordinator.store.scripts import Arg, ScriptRunner


@dataclass(frozen=True, slots=True)
class RunToCancel:
    """A run whose unfinished jobs are to be cancelled. `found` is its mark: what no other mark of it is, and why."""

    run_id: str
    found: str

    @property
    def reason(self) -> str:
        """Why, for people."""
        return self.found.partition(" ")[2]


@dataclass(frozen=True, slots=True)
class Bond:
    """A run that is to be cancelled when a client goes away. `found` changes with every renewal."""

    run_id: str
    client_id: str
    found: str

    @property
    def after_seconds(self) -> float:
        """How long the client may be silent."""
        return int(self.found.partition(" ")[0]) / 1000


class RunStore:
    """Runs of one org at a time. All methods raise StoreUnavailableError."""

    def __init__(self, runner: ScriptRunner, call: Commands) -> None:
        self._runner = runner
        self._call = call

    async def to_cancel(self, org_id: str) -> list[RunToCancel]:
        """Runs that are to be cancelled."""
        found: dict[str, str] = await self._call("HGETALL", f"{keys.org(org_id)}rc")
        return [RunToCancel(run, text) for run, text in sorted(found.items())]

    async def take_ending(self, org_id: str, token: str, seconds: float) -> bool:
        """Whether who asks cancels the org's marked runs, until `drop_ending` or `seconds` after the last renewal.

        A convenience and no fence: nothing goes wrong when two do it. `token` is the asker's alone, so a call whose
        reply was lost is answered the same.
        """
        return await self._ending(org_id, token, seconds, take=True)

    async def renew_ending(self, org_id: str, token: str, seconds: float) -> None:
        """Goes on being the one that cancels the org's marked runs, for `seconds` from now."""
        await self._ending(org_id, token, seconds)

    async def drop_ending(self, org_id: str, token: str) -> None:
        """Lets another one cancel the org's marked runs."""
        await self._ending(org_id, token, 0.0)

    async def _ending(self, org_id: str, token: str, seconds: float, *, take: bool = False) -> bool:
        args: list[Arg] = [token, round(seconds * 1000), "1" if take else ""]
        return bool(await self._runner.run("ending", keys.org(org_id), args) == "MINE")

    async def cancelled(self, org_id: str, runs: Sequence[RunToCancel]) -> None:
        """Takes marks away when all was cancelled that was there when they were looked up; a newer mark stays."""
        args: list[Arg] = []
        for run in runs:
            args += (run.run_id, run.found)
        await self._runner.run("cancelled", keys.org(org_id), args)

    async def bonds(self, org_id: str) -> list[Bond]:
        """Every bond of the org's runs."""
        found: dict[str, str] = await self._call("HGETALL", f"{keys.org(org_id)}bo")
        names = [name.partition(" ") for name in found]
        return [Bond(run, client, text) for (run, _, client), text in zip(names, found.values(), strict=True)]

    async def keep(self, org_id: str, run_id: str, client_id: str, *, release: bool) -> bool:
        """Renews the bond of a run with a client, or ends it; False when there is none."""
        args: list[Arg] = [run_id, client_id, "1" if release else ""]
        return bool(await self._runner.run("keep", keys.org(org_id), args) == "OK")

    async def part(self, org_id: str, bond: Bond, reason: str) -> bool:
        """Ends a bond for the client's silence, and marks its run to be cancelled; False when it is not as found."""
        args: list[Arg] = [bond.run_id, bond.client_id, bond.found, reason]
        return bool(await self._runner.run("part", keys.org(org_id), args) == "OK")
