"""Takes away the empty cgroups of trees whose supervisors were killed with all that knew of them."""

from __future__ import annotations

import time
from pathlib import Path

from qgjob_agent.executions import names
from qgjob_agent.host.process_tree import own_cgroup

YOUNG_SECONDS = 60.0
"""A supervisor that has made its cgroup starts the command in it within that time."""


def sweep() -> int:
    """Removes what is empty and not young, of other agents beside this one too. How many went.

    The kernel removes none that has a process in it.
    """
    own, removed = own_cgroup(), 0
    if own is None:
        return 0
    for each in Path(own).glob(f"{names.CGROUP_PREFIX}*"):
        try:
            if time.time() - each.stat().st_mtime > YOUNG_SECONDS:
                each.rmdir()
                removed += 1
        except OSError:  # in use, not ours, or gone meanwhile
            continue
    return removed
