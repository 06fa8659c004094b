"""A full disk under an agent's state: what it has it keeps, and it refuses new work until there is room again."""

from __future__ import annotations

import asyncio
import contextlib

from tests.chaos import clock
from tests.chaos.faults.base import Outcome, recovery
from tests.chaos.lab import Lab
from tests.chaos.schedule import Fault

_FILLER = "filler"


async def spool_full(lab: Lab, fault: Fault) -> Outcome:
    """Fills the disk, then makes room."""
    state = lab.folder / fault.target / "state"
    filler = state / _FILLER
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 65_536)
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        filler.unlink()

    async def look() -> bool:
        sessions = await lab.sessions()
        return sessions is not None and fault.target in sessions

    return Outcome(
        await recovery("it has a session", clock.now(), lab.scale.session, lab.others, look),
    )
