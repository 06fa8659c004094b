"""Schema 6: `*` in an agent's set stands for all orgs, and an org of which nothing is left leaves the registry.

Nothing that schema 5 wrote has another meaning now. But a coordinator of schema 5 takes `*` for an org and asks no
other, and does not look at orgs that are idle, so it has to be kept from reading those keys. Its late writes do no
harm: it adds orgs by name to an agent's set, which is more than needed, and registers an org as this version does. It
takes off by name what it swept, and `*` too if it read that; but in the life of the store only that it knows, and `*`
comes with a new one. (Or for an agent that the fleet has forgotten, and which had no lease then.)
"""

from __future__ import annotations

from qgjob_coordinator.store.migrations.work import Work


async def move(_work: Work) -> int:
    """Changes nothing but the number, which the migrator sees to."""
    return 0
