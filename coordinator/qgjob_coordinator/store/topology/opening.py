"""Which topology a REDIS_URL asks for."""

from __future__ import annotations

from qgjob_coordinator.store.address import Kind, parse
from qgjob_coordinator.store.topology.cluster import ClusterTopology
from qgjob_coordinator.store.topology.node import Topology
from qgjob_coordinator.store.topology.sentinel import SentinelTopology
from qgjob_coordinator.store.topology.single import Single


def open_topology(url: str, pool_size: int) -> Topology:
    """The topology of a URL; nothing connects yet. Raises ValueError."""
    address = parse(url)
    match address.kind:
        case Kind.SENTINEL:
            return SentinelTopology(address, pool_size)
        case Kind.CLUSTER:
            return ClusterTopology(address, pool_size)
        case Kind.SINGLE:
            return Single(url, pool_size)
