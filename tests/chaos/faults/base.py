"""What all faults share: a kind's function, and waiting for a recovery."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.chaos import clock
from tests.chaos.bounds import Bound
from tests.chaos.history import Recovery
from tests.chaos.lab import Lab
from tests.chaos.schedule import Fault
from tests.chaos.sessions import Session

Inject = Callable[[Lab, Fault], Awaitable["Outcome"]]
News = Callable[[Session | None], bool]
"""Whether a record of a session serves and is of after a fault; see `sessions`."""
LOOK_EVERY_SECONDS = 0.05
GIVE_UP_SECONDS = 60.0
"""Nothing is waited for longer beyond its bound: whether there was time enough for it is counted then."""


class Outcome:
    """What a fault's function tells: recoveries that it saw or missed, a figure in words, and what a program grew."""

    def __init__(self, *recoveries: Recovery, note: str = "", grown_mib: float | None = None) -> None:
        self.recoveries = recoveries
        self.note = note
        self.grown_mib = grown_mib


async def recovery(
    bound: Bound, lab: Lab, since: float, needs: tuple[str, ...], look: Callable[[], Awaitable[Any]]
) -> Recovery:
    """Waits until `look` answers something true, and says when that was."""
    seconds = bound.seconds(lab.scale)
    while clock.now() < since + seconds + GIVE_UP_SECONDS:
        if await look():
            return Recovery(bound.what, since, clock.now(), seconds, needs)
        await asyncio.sleep(LOOK_EVERY_SECONDS)
    return Recovery(bound.what, since, None, seconds, needs, until=clock.now())
