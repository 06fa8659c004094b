"""Which function carries out which kind, and what this machine can't have."""

from __future__ import annotations

from tests.chaos.faults import agents, coordinators, disks, links, store, watchers
from tests.chaos.faults.base import Inject
from tests.chaos.schedule import Kind
from tests.chaos.small_disks import missing

_MODULES = (agents, coordinators, links, store, disks, watchers)

INJECT: dict[Kind, Inject] = {
    kind: getattr(module, kind.value) for kind in Kind for module in _MODULES if hasattr(module, kind.value)
}
"""Every kind has its function."""


def left_out() -> dict[Kind, str]:
    """Kinds that this machine can't have, and why."""
    why = missing()
    return {} if why is None else {Kind.SPOOL_FULL: why, Kind.STORE_DISK: why}
