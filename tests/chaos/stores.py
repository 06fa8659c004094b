"""The store of a lab in its forms: one server, three with Sentinels, or a Cluster of three masters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisClusterException, RedisError

from tests.chaos.schedule import Form
from tests.fakes import store_sentinel
from tests.fakes.store_cluster import ClusterStore
from tests.fakes.store_process import StoreProcess
from tests.fakes.store_sentinel import SentinelStore

AWAY = (RedisError, RedisClusterException, OSError, AttributeError)
"""What a look into a store raises that is away; the last is the library's own, of a lost connection."""
LOOK_SECONDS = 0.5
"""Patience of such a look."""
NOT_COPIED_SECONDS = 1.0
"""A master's last second may be unknown to the one that takes its place: copies are made behind the acknowledgement."""
EVERY_WRITE = ("--appendonly", "yes", "--appendfsync", "always")

AnyStore = StoreProcess | SentinelStore | ClusterStore


def made(form: Form, folder: Path) -> AnyStore:
    """A store that syncs each write; not started yet."""
    match form:
        case Form.ONE:
            return StoreProcess(folder, *EVERY_WRITE)
        case Form.SENTINEL:
            return SentinelStore(folder, *EVERY_WRITE)
        case Form.CLUSTER:
            return ClusterStore(folder, *EVERY_WRITE)


def that_run_scripts(store: AnyStore) -> list[StoreProcess]:
    """The servers that may carry out what the product asks. With Sentinels any may become the master."""
    if isinstance(store, StoreProcess):
        return [store]
    return [*store.servers] if isinstance(store, SentinelStore) else [*store.nodes]


def looking(store: AnyStore) -> Any:
    """A client that follows the master, or the slots, as the product does. Its calls raise what AWAY names."""
    if isinstance(store, StoreProcess):
        return Redis(port=store.port, decode_responses=True, socket_timeout=LOOK_SECONDS, protocol=2)
    if isinstance(store, SentinelStore):
        seen = [("127.0.0.1", sentinel.port) for sentinel in store.sentinels]
        patience = {"socket_timeout": LOOK_SECONDS, "protocol": 2}
        group = Sentinel(seen, sentinel_kwargs=patience, decode_responses=True, **patience)
        return group.master_for(store_sentinel.NAME)
    nodes = [ClusterNode("127.0.0.1", node.port) for node in store.nodes]
    return RedisCluster(startup_nodes=nodes, decode_responses=True, socket_timeout=LOOK_SECONDS, protocol=2)
