"""Sessions of agents: opened, renewed, observed, closed, swept. All in the fleet's tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

from qgjob_coordinator.store import keys, names
from qgjob_coordinator.store.scripts import Arg, ScriptRunner
from qgjob_coordinator.store.types.sessions import Opened, OpenWord, SessionRow


class SessionStore:
    """The truth about which session of an agent is current."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def hello(self, life: str, known_epoch: int = 0) -> tuple[str, int, int]:
        """Schema version found, the store's epoch, and that of the life before; `life` names this one.

        It was looked for when the epoch was `known_epoch`; 0 when none is known.
        """
        args: list[Arg] = [keys.SCHEMA_VERSION, life, known_epoch]
        schema, epoch, before = await self._runner.run("hello", keys.FLEET, args)
        return str(schema), int(epoch), int(before)

    async def open(
        self,
        agent_id: str,
        instance_id: str,
        epoch: int,
        facts: Mapping[str, str],
        coordinator: str,
        devices: Sequence[str],
        now: int,
    ) -> Opened:
        """Opens a session whose epoch is above all earlier ones of this agent.

        `instance_id` is `home.life`, or a life alone: see the script.
        """
        args: list[Arg] = [agent_id, instance_id, epoch, now, names.dumps(dict(facts)), coordinator, *devices]
        word, stored, other, back = await self._runner.run("open", keys.FLEET, args)
        return Opened(OpenWord(word), int(stored), other, int(back))

    async def renew(self, agent_id: str, epoch: int, now: int) -> int | None:
        """A heartbeat: the number of the newest hold of the fleet. None: the session is over."""
        word, holds = await self._runner.run("renew", keys.FLEET, [agent_id, epoch, now])
        return int(holds) if word == "OK" else None

    async def observe(self, agent_id: str, epoch: int, counter: int, state: str) -> bool:
        """Moves a session to `timed_out`, `detached` or `closed` if its counter stands still. False: it moved."""
        return bool(await self._runner.run("observe", keys.FLEET, [agent_id, epoch, counter, state]) == "OK")

    async def overtaken(self, agent_id: str, epoch: int) -> bool:
        """An org has leases of this session, which the fleet may not know: it is watched from now on. False: it was."""
        return bool(await self._runner.run("overtaken", keys.FLEET, [agent_id, epoch]) == "OK")

    async def admit(self, agent_id: str, epoch: int, orgs: Sequence[str]) -> bool:
        """Notes orgs before the session's first claim in them. False: the session may take no work."""
        return bool(await self._runner.run("admit", keys.FLEET, [agent_id, epoch, *orgs]) == "OK")

    async def spare(self, agent_id: str, epoch: int, store_epoch: int, orgs: Sequence[str]) -> bool:
        """The agent has no lease in these orgs, by this session's adoption. A second one in a session changes nothing.

        False: a newer session was opened, or the store has another life.
        """
        return bool(await self._runner.run("spare", keys.FLEET, [agent_id, epoch, store_epoch, *orgs]) == "OK")

    async def swept(self, agent_id: str, epoch: int, store_epoch: int, orgs: Sequence[str]) -> bool:
        """All leases of a closed session are released; `store_epoch` is that from before the first was.

        False: a newer session was opened since, or the store has another life.
        """
        return bool(await self._runner.run("swept", keys.FLEET, [agent_id, epoch, store_epoch, *orgs]) == "OK")

    async def watch(self) -> tuple[list[tuple[str, int]], list[SessionRow]]:
        """(agent, epoch) of closed sessions still to sweep, and all sessions with their counters."""
        closed, *flat = await self._runner.run("sessions", keys.FLEET, [])
        rows = [
            SessionRow(flat[i], int(flat[i + 1] or 0), int(flat[i + 2] or 0), flat[i + 3], float(flat[i + 4] or inf))
            for i in range(0, len(flat), 5)
        ]
        return [(a, int(e)) for a, e in (x.rsplit(" ", 1) for x in closed)], rows
