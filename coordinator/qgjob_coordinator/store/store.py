"""The store as the rest of the coordinator sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from qgjob_coordinator.errors import ConfigError
from qgjob_coordinator.policy.diagnosis.facts import StoreFacts
from qgjob_coordinator.store import connection, facts, keys
from qgjob_coordinator.store.estimates import FleetEstimates
from qgjob_coordinator.store.events import EventStore
from qgjob_coordinator.store.fleet import FleetStore
from qgjob_coordinator.store.health import HealthStore
from qgjob_coordinator.store.jobs import JobStore
from qgjob_coordinator.store.leases import LeaseStore
from qgjob_coordinator.store.logs import LogStore
from qgjob_coordinator.store.reads import JobReader
from qgjob_coordinator.store.runs import RunStore
from qgjob_coordinator.store.scripts import ScriptRunner, unavailable
from qgjob_coordinator.store.sessions import SessionStore
from qgjob_coordinator.store.snapshots import SnapshotStore
from qgjob_coordinator.store.types import RetryRules

PROBE_KEY = f"{keys.FLEET}probe"


class Store:
    """Durable state. Holds no truth of its own: every method is one script or one read."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 32,
        rules: RetryRules | None = None,
        observe: Callable[[str, float], None] = lambda _name, _seconds: None,
    ) -> None:
        self._redis = connection.connect(url, pool_size)
        self._exchange = connection.exchange(url, pool_size)
        self._raw = Redis(connection_pool=_undecoded(url))
        runner = ScriptRunner(self._exchange, observe)
        self.epoch = self.epoch_before = 0  # of the store's life, and of the one before, when `check` met it last
        self.estimates = FleetEstimates(runner)
        self.jobs = JobStore(runner, self.estimates)
        self.leases = LeaseStore(runner, rules or RetryRules())
        self.sessions = SessionStore(runner)
        self.fleet = FleetStore(runner)
        self.health = HealthStore(runner)
        self.reads = JobReader(runner, self._redis)
        self.runs = RunStore(runner, self._redis)
        self.snapshots = SnapshotStore(runner, self.estimates)
        self.events = EventStore(self._redis)
        self.logs = LogStore(runner, self._raw)

    async def check(self) -> dict[str, Any]:
        """Whether the store can serve: version, eviction policy, schema, a write. Raises its epoch in a new life.

        Answers INFO. Raises StoreUnavailableError, ConfigError.
        """
        info = await connection.inspect(self._redis)
        await connection.writable(self._redis, PROBE_KEY)
        schema, epoch, before = await self.sessions.hello(str(info["run_id"]))
        if schema != str(keys.SCHEMA_VERSION):
            raise ConfigError(
                f"REDIS_URL: the store has schema {schema}, this coordinator needs {keys.SCHEMA_VERSION}; "
                "use the coordinator version that wrote it, or another database"
            )
        self.epoch, self.epoch_before = epoch, before
        return info

    async def weaker_than(self, wanted: str) -> str | None:
        """The store's durability tier if it is weaker than `wanted` (everysec or always); else, or if unknown, None."""
        found = await connection.tier(self._redis)
        if found not in connection.TIERS or connection.TIERS.index(found) >= connection.TIERS.index(wanted):
            return None
        return found

    async def look(self) -> StoreFacts:
        """What a diagnosis asks the store. Raises StoreUnavailableError."""
        return await facts.look(self._redis)

    async def mark_active(self, org_id: str) -> None:
        """Notes that an org may have waiting work, and that it exists."""
        await self._do(self._redis.sadd(f"{keys.FLEET}act", org_id), self._redis.sadd(f"{keys.FLEET}orgs", org_id))

    async def mark_idle(self, org_ids: Sequence[str]) -> None:
        """Takes orgs off the active set. The caller looks again afterwards and adds back those with work."""
        await self._do(self._redis.srem(f"{keys.FLEET}act", *org_ids))

    async def active_orgs(self) -> set[str]:
        """Orgs that may have waiting work."""
        return await self._members(f"{keys.FLEET}act")

    async def all_orgs(self) -> set[str]:
        """Every org that ever submitted a job."""
        return await self._members(f"{keys.FLEET}orgs")

    async def agent_orgs(self, agent_id: str) -> set[str]:
        """Orgs in which the agent may have leases."""
        return await self._members(f"{keys.FLEET}ao:{agent_id}")

    async def publish(self, message: str) -> int:
        """A hint to all coordinators, this one too; may be lost. How many listened."""
        try:
            return int(await self._redis.publish(keys.WAKE_CHANNEL, message))
        except RedisError as e:
            raise unavailable(e) or e from e

    async def listen(self, heard: Callable[[str], None]) -> None:
        """Calls `heard` with each hint until the connection ends. Raises StoreUnavailableError then."""
        pubsub = self._redis.pubsub()
        try:
            await pubsub.subscribe(keys.WAKE_CHANNEL)
            async for message in pubsub.listen():
                if message["type"] == "message":
                    heard(message["data"])
        except RedisError as e:
            raise unavailable(e) or e from e
        finally:
            await pubsub.aclose()

    async def close(self) -> None:
        """Closes all connections."""
        await self._exchange.close()
        await self._redis.aclose(close_connection_pool=True)
        await self._raw.aclose(close_connection_pool=True)

    async def _members(self, key: str) -> set[str]:
        try:
            return {str(x) for x in await self._redis.smembers(key)}
        except RedisError as e:
            raise unavailable(e) or e from e

    async def _do(self, *calls: Awaitable[Any]) -> None:
        try:
            for call in calls:
                await call
        except RedisError as e:
            raise unavailable(e) or e from e


def _undecoded(url: str) -> BlockingConnectionPool:
    return BlockingConnectionPool.from_url(
        url,
        max_connections=4,
        timeout=connection.POOL_TIMEOUT_SECONDS,
        socket_connect_timeout=connection.CONNECT_TIMEOUT_SECONDS,
        socket_timeout=connection.REPLY_TIMEOUT_SECONDS,
    )
