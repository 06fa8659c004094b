"""Which function carries out which kind, and what this machine can't have."""

from __future__ import annotations

from tests.chaos import net_space, small_disks
from tests.chaos.faults import agents, cluster, coordinators, devices, disks, failover, links, store, watchers
from tests.chaos.faults.base import Inject
from tests.chaos.schedule import Kind

_MODULES = (agents, coordinators, links, store, disks, failover, cluster, watchers, devices)

INJECT: dict[Kind, Inject] = {
    kind: getattr(module, kind.value) for kind in Kind for module in _MODULES if hasattr(module, kind.value)
}
"""Every kind has its function."""


def left_out() -> dict[Kind, str]:
    """Kinds that this machine can't have, and why."""
    disk, network = small_disks.missing(), net_space.missing()
    found = {Kind.SPOOL_FULL: disk, Kind.STORE_DISK: disk, Kind.NET_HOLE: network}
    return {kind: why for kind, why in found.items() if why is not None}
