"""The store as the rest of the coordinator sees it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from redis.exceptions import RedisError

from qgjob_coordinator.errors import SchemaOlderError, StoreRightsError
from qgjob_coordinator.policy.diagnosis.facts import StoreFacts
from qgjob_coordinator.policy.diagnosis.keeping_data import TIERS
from qgjob_coordinator.policy.retry import RetryRules
from qgjob_coordinator.store import connection, facts, keys, servers
from qgjob_coordinator.store.address import Kind, parse
from qgjob_coordinator.store.artifacts import ArtifactStore
from qgjob_coordinator.store.builds import BuildStore
from qgjob_coordinator.store.clock import StoreClock
from qgjob_coordinator.store.commands import Commands
from qgjob_coordinator.store.estimates import FleetEstimates
from qgjob_coordinator.store.events import EventStore
from qgjob_coordinator.store.fleet import FleetStore
from qgjob_coordinator.store.health import HealthStore
from qgjob_coordinator.store.jobs import JobStore
from qgjob_coordinator.store.leases import LeaseStore
from qgjob_coordinator.store.logs import LogStore
from qgjob_coordinator.store.migrations.migrator import Migrator, refusal, way
from qgjob_coordinator.store.reads import JobReader
from qgjob_coordinator.store.registry import Registry
from qgjob_coordinator.store.rights import Rights, lacking
from qgjob_coordinator.store.runs import RunStore
from qgjob_coordinator.store.scripts import Door, ScriptRunner, unavailable
from qgjob_coordinator.store.servers import Answers, Asked
from qgjob_coordinator.store.sessions import SessionStore
from qgjob_coordinator.store.snapshots import SnapshotStore
from qgjob_coordinator.store.suites import SuiteStore
from qgjob_coordinator.store.topology.node import Node
from qgjob_coordinator.store.topology.opening import open_topology
from qgjob_coordinator.store.uploads import UploadStore

T = TypeVar("T")

SPEAKER_SECONDS = 1.0
"""How often who listens looks whether hints still go by that server: a server that gave its slot away says nothing."""


class Store:
    """Durable state. Holds no truth of its own: every method is one script or one read."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 32,
        rules: RetryRules | None = None,
        observe: Callable[[str, float], None] = lambda _name, _seconds: None,
        clock: StoreClock | None = None,
    ) -> None:
        self._topology = open_topology(url, pool_size)
        self._several = parse(url).kind is not Kind.SINGLE  # so that the URL does not say which one is meant
        self._clock = clock or StoreClock()
        self._rights = rights = Rights()
        self._door = door = Door(rights)
        self._call = call = Commands(self._topology, door)
        runner = ScriptRunner(self._topology.exchange, observe, door)
        # What asks for the schema, and what changes it, passes while the door is shut.
        open_door = Door(rights, always_open=True)
        outside = ScriptRunner(self._topology.exchange, observe, open_door)
        self._meeting = SessionStore(outside)
        self._migrator = Migrator(outside, Commands(self._topology, open_door))
        self.hints_refused: dict[str, str] = {}
        """Why hints are not sent, or not heard, by `sending` and `hearing`: the rules that the user lacks."""
        self.epoch = self.epoch_before = 0  # of the store's life, and of the one before, when `check` met it last
        self.estimates = FleetEstimates(runner)
        self.jobs = JobStore(runner, self.estimates)
        self.leases = LeaseStore(runner, rules or RetryRules())
        self.sessions = SessionStore(runner)
        self.fleet = FleetStore(runner)
        self.health = HealthStore(runner)
        self.reads = JobReader(runner, call)
        self.runs = RunStore(runner, call)
        self.registry = Registry(runner, call)
        self.snapshots = SnapshotStore(runner, self.estimates)
        self.events = EventStore(call)
        self.logs = LogStore(runner, call)
        self.builds = BuildStore(runner, call)
        self.suites = SuiteStore(runner, call)
        self.uploads = UploadStore(runner)
        self.artifacts = ArtifactStore(runner, call)

    async def check(self) -> dict[str, Any]:
        """Whether the store can serve: rights, version, eviction policy, schema, a write. A new life raises its epoch.

        Sets the clock by the servers' own; of several the slowest counts, so that no time has come too early.

        While the store has another schema than this version's, nothing is written to it. Answers INFO. Raises
        StoreUnavailableError, which is StoreRightsError where its user lacks rights, SchemaOlderError when
        `migrate` is what helps, ConfigError.
        """
        try:
            return await self._check()
        except StoreRightsError as e:
            self._rights.doubted = True
            self._door.shut = e.message
            raise

    async def _check(self) -> dict[str, Any]:
        known = self.epoch
        masters = await self._masters()
        if self._rights.doubted:
            found = await self._of_all(masters, _lacking)
            self._rights.tried(list(dict.fromkeys(rule for rules in found for rule in rules)))
        infos = await self._of_all(masters, lambda node, _: connection.inspect(node.redis))
        before = self._clock.ticks()
        told = await self._of_all(masters, lambda node, _: connection.time_ms(node.redis))
        self._clock.heard(before, min(told), self._clock.ticks())
        schema, epoch, last_epoch = await self._meeting.hello(_life(infos), known)
        if schema != str(keys.SCHEMA_VERSION):
            error = SchemaOlderError(schema) if way(schema) else refusal(schema)
            self._door.shut = error.message
            raise error
        await self._of_all(masters, lambda node, key: connection.writable(node.redis, key))
        if not self._rights.doubted:  # a call may have met a refusal since
            self._door.shut = None
        self._rights.doubted |= known not in (0, epoch)  # another server may have other users
        self.epoch, self.epoch_before = epoch, last_epoch
        return infos[0]

    async def lacking(self, seconds: float) -> Mapping[str, Sequence[str]]:
        """The rules of an ACL that the user of REDIS_URL lacks, by the address of each server that takes writes.

        Those that do not answer in time are left out. Raises StoreUnavailableError, as when it may not even learn
        which servers there are, and TimeoutError when nobody says it in time.
        """
        until = asyncio.get_running_loop().time() + seconds
        return (await servers.ask(await self._masters(until), _lacking, until)).told

    async def migrate(self, found: str) -> int:
        """Brings the store from the schema `found` to this version's, or waits for another coordinator that does.

        How many things this one changed. Raises StoreUnavailableError, ConfigError.
        """
        return await self._migrator.run(found)

    async def weaker_than(self, wanted: str) -> str | None:
        """The store's durability tier if it is weaker than `wanted` (everysec or always); else, or if unknown, None."""
        found = [await connection.tier(node.redis) for node, _ in await self._masters()]
        known = [TIERS.index(x) for x in found if x in TIERS]
        if not known or min(known) >= TIERS.index(wanted):
            return None
        return TIERS[min(known)]

    async def look(self, seconds: float) -> Answers[StoreFacts]:
        """What a diagnosis asks each server that takes writes; who has not answered in time is away.

        Raises StoreUnavailableError, and TimeoutError when nobody says in time which servers there are.
        """
        until = asyncio.get_running_loop().time() + seconds
        masters = await self._masters(until)
        found = servers.ask(masters, lambda node, _: facts.look(node.redis), until)
        looked, hearers = await asyncio.gather(found, self._hearers(until))
        told = {at: replace(one, coordinators=hearers, fails_over=self._several) for at, one in looked.told.items()}
        return Answers(told, looked.away)

    async def mark_active(self, org_id: str) -> None:
        """Notes that an org may have waiting work, and that it exists."""
        await self._call("SADD", f"{keys.FLEET}act", org_id)
        await self._call("SADD", f"{keys.FLEET}orgs", org_id)

    async def mark_known(self, org_id: str) -> None:
        """Notes that an org exists, before anything of it is written."""
        await self._call("SADD", f"{keys.FLEET}orgs", org_id)

    async def mark_idle(self, org_ids: Sequence[str]) -> None:
        """Takes orgs off the active set. The caller looks again afterwards and adds back those with work."""
        await self._call("SREM", f"{keys.FLEET}act", *org_ids)

    async def active_orgs(self) -> set[str]:
        """Orgs that may have waiting work."""
        return await self._members(f"{keys.FLEET}act")

    async def all_orgs(self) -> set[str]:
        """Every org of which something is left, or was a day ago."""
        return await self.registry.all()

    async def agent_orgs(self, agent_id: str) -> set[str]:
        """Orgs in which the agent may have leases."""
        held = await self._members(f"{keys.FLEET}ao:{agent_id}")
        if keys.ALL_ORGS in held:
            held = (held | await self.all_orgs()) - {keys.ALL_ORGS}
        return held

    async def publish(self, message: str) -> int:
        """A hint to all coordinators, this one too; may be lost. How many listened."""
        try:
            speaker = await self._topology.speaker()
            heard = int(await speaker.redis.publish(keys.WAKE_CHANNEL, message))
        except RedisError as e:
            raise self._without_hints("sending", e) from e
        self.hints_refused.pop("sending", None)
        return heard

    async def listen(self, heard: Callable[[str], None], begun: Callable[[], None] = lambda: None) -> None:
        """Calls `begun` and then `heard` with each hint, until the connection ends or hints go by another server.

        Raises StoreUnavailableError when the connection ends, StoreRightsError when the user may not listen.
        """
        try:
            speaker = await self._topology.speaker()
            pubsub = speaker.redis.pubsub()
            try:
                await pubsub.subscribe(keys.WAKE_CHANNEL)
                looked = time.monotonic()
                while True:
                    message = await pubsub.get_message(timeout=SPEAKER_SECONDS)
                    if message is not None and message["type"] == "subscribe":
                        self.hints_refused.pop("hearing", None)
                        begun()
                    if message is not None and message["type"] == "message":
                        heard(message["data"])
                    if time.monotonic() - looked >= SPEAKER_SECONDS:
                        if await self._topology.speaker() is not speaker:
                            return
                        looked = time.monotonic()
            finally:
                await pubsub.aclose()
        except RedisError as e:
            raise self._without_hints("hearing", e) from e

    async def close(self) -> None:
        """Closes all connections."""
        await self._topology.close()

    def _without_hints(self, way: str, error: RedisError) -> Exception:
        """What to raise. Hints carry no truth, so that they are refused shuts no door."""
        found = unavailable(error)
        if isinstance(found, StoreRightsError):
            self.hints_refused[way] = " ".join(found.rules)
        return found or error

    async def _hearers(self, until: float) -> int | None:
        """How many coordinators hear hints; None where the server that they go by is away, or does not tell."""
        try:
            async with asyncio.timeout_at(until):
                return await facts.hearers((await self._topology.speaker()).redis)
        except TimeoutError:
            return None
        except RedisError as e:
            if unavailable(e) is None:
                raise
            return None

    async def _of_all(self, masters: Sequence[Asked], question: Callable[[Node, str], Awaitable[T]]) -> list[T]:
        return (await servers.ask(masters, question)).all(named=self._several)

    async def _members(self, key: str) -> set[str]:
        return {str(x) for x in await self._call("SMEMBERS", key)}

    async def _masters(self, until: float | None = None) -> Sequence[Asked]:
        try:
            async with asyncio.timeout_at(until):
                return await self._topology.masters()
        except RedisError as e:
            raise unavailable(e) or e from e


async def _lacking(node: Node, key: str) -> list[str]:
    return await lacking(node.exchange, key)


def _life(infos: Sequence[dict[str, Any]]) -> str:
    """What names the life of a store: the run ids of its servers, whatever their order."""
    ids = sorted(str(info["run_id"]) for info in infos)
    # A name, as a run id is one; nothing rests on its strength.
    return ids[0] if len(ids) == 1 else hashlib.sha1(" ".join(ids).encode(), usedforsecurity=False).hexdigest()
