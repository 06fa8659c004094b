"""Schema 5: a hold of each kind has a field of its own.

A coordinator of schema 4 writes those fields only, and moves what it finds in the old one as this does: its late write
does no harm.
"""

from __future__ import annotations

from qgjob_coordinator.store import keys
from qgjob_coordinator.store.migrations.work import Work

AGENTS_AT_ONCE = 16
"""With at most 1,000 devices each."""


async def move(work: Work) -> int:
    """Moves the holds of all agents and devices; how many there were."""
    agents = sorted(await work.call("SMEMBERS", f"{keys.FLEET}agents"))
    moved = 0
    for first in range(0, len(agents), AGENTS_AT_ONCE):
        moved += await work.step("migrate_holds", agents[first : first + AGENTS_AT_ONCE])
    return moved
