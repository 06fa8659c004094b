"""A Cluster of three masters on free ports, each with a folder of its own; and moves of slots between them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

from redis import RedisCluster
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from bench.processes import free_port
from tests.fakes.store_process import StoreProcess, wait_for

BUS = 10_000
"""The Cluster's own port lies so far above the clients' port."""
NODE_TIMEOUT_MS = 2000
KEYS_AT_ONCE = 10
MIGRATE_TIMEOUT_MS = 5000


class ClusterNode(StoreProcess):
    """One node; its port leaves room for that of the bus."""

    def __init__(self, folder: Path, *options: str) -> None:
        timeout = ("--cluster-node-timeout", str(NODE_TIMEOUT_MS))
        super().__init__(folder, "--cluster-enabled", "yes", *timeout, *options)

    def _free_port(self) -> int:
        while True:
            port = free_port()
            if port + BUS <= 65_535 and _is_free(port + BUS):
                return port

    def ask(self, *command: str | int) -> object:
        """The reply of this very node."""
        with self.client() as client:
            return client.execute_command(*command)

    @property
    def node_id(self) -> str:
        """Its name within the Cluster."""
        return str(self.ask("CLUSTER MYID"))


class ClusterStore:
    """Serves as a StoreProcess does."""

    def __init__(self, folder: Path, *options: str, masters: int = 3, replica_of: int | None = None) -> None:
        self.nodes = [ClusterNode(folder / f"node-{i}", *options) for i in range(masters)]
        at_once = ("--repl-diskless-sync-delay", "0")
        self.replica = ClusterNode(folder / "replica", *options, *at_once)
        self._replica_of = replica_of

    @property
    def processes(self) -> list[StoreProcess]:
        """Its nodes, and the replica when there is one."""
        return [*self.nodes, *([] if self._replica_of is None else [self.replica])]

    @property
    def url(self) -> str:
        """Where the nodes listen."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes)}"

    def client(self) -> RedisCluster:
        """A blocking client of the whole."""
        return RedisCluster(host="127.0.0.1", port=self.nodes[0].port, decode_responses=True, protocol=2)

    def start(self) -> None:
        """Returns when every node sees all slots served; after a stop with the slots that there were."""
        fresh = not any(node.port for node in self.nodes)
        for node in self.nodes:
            if not node.running:
                node.start()
        if fresh:
            share = -(-REDIS_CLUSTER_HASH_SLOTS // len(self.nodes))
            for i, node in enumerate(self.nodes):
                slots = range(i * share, min((i + 1) * share, REDIS_CLUSTER_HASH_SLOTS))
                node.ask("CLUSTER ADDSLOTS", *slots)
                node.ask("CLUSTER SET-CONFIG-EPOCH", i + 1)
            for node in self.nodes[1:]:
                node.ask("CLUSTER MEET", "127.0.0.1", self.nodes[0].port)
        self.until_served()
        if fresh and self._replica_of is not None:
            self._follow(self.replica, self.nodes[self._replica_of])

    def _follow(self, replica: ClusterNode, master: ClusterNode) -> None:
        replica.start()
        replica.ask("CLUSTER MEET", "127.0.0.1", master.port)
        name = master.node_id
        wait_for(lambda: name in str(replica.ask("CLUSTER NODES")), "acquaintance")
        replica.ask("CLUSTER REPLICATE", name)
        wait_for(lambda: "link_status:up" in _lines(replica.ask("INFO", "replication")), "replica in step")

    def until_served(self) -> None:
        """Returns when every node sees all slots served."""
        wait_for(lambda: all(self._whole(node) for node in self.nodes), "whole Cluster")

    def stop(self) -> None:
        """Ends all that run."""
        for node in (self.replica, *self.nodes):
            node.kill()

    kill = stop

    def resume(self) -> None:
        """Nothing of it is paused."""

    def owner(self, key: str) -> ClusterNode:
        """The master of a key's slot, as the first node sees it."""
        slot = key_slot(key.encode())
        for start, end, (_, port, *_), *_ in self.nodes[0].ask("CLUSTER SLOTS"):
            if start <= slot <= end:
                return next(node for node in self.nodes if node.port == int(port))
        raise RuntimeError(f"slot {slot} has no master")

    def move(self, key: str, to: ClusterNode) -> Iterator[int]:
        """Moves a key's slot as redis-cli does, and is over when the move is; yields how many keys have gone so far."""
        slot, source, moved = key_slot(key.encode()), self.owner(key), 0
        to.ask("CLUSTER SETSLOT", slot, "IMPORTING", source.node_id)
        source.ask("CLUSTER SETSLOT", slot, "MIGRATING", to.node_id)
        yield moved
        while names := source.ask("CLUSTER GETKEYSINSLOT", slot, KEYS_AT_ONCE):
            source.ask("MIGRATE", "127.0.0.1", to.port, "", 0, MIGRATE_TIMEOUT_MS, "KEYS", *names)
            moved += len(names)
            yield moved
        for node in (to, source, *(n for n in self.nodes if n not in (to, source))):
            node.ask("CLUSTER SETSLOT", slot, "NODE", to.node_id)

    @staticmethod
    def _whole(node: ClusterNode) -> bool:
        info = dict(node.ask("CLUSTER INFO"))
        return info["cluster_state"] == "ok" and int(info["cluster_slots_ok"]) == REDIS_CLUSTER_HASH_SLOTS


def _lines(info: object) -> str:
    return "\n".join(f"{k.removeprefix('master_')}:{v}" for k, v in dict(info).items())


def _is_free(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) != 0
