"""The coordinator, which tells at its end how long its latest rounds took: `python -m bench.watched_coordinator`.

Prints one line, a JSON object: `plan_ms`, what the coordinator itself measured of its plans, and `round_ms`, of rounds
that assigned something: from reading the snapshot to having claimed.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque

from qgjob_coordinator import logs
from qgjob_coordinator.app import Coordinator
from qgjob_coordinator.config import Settings
from qgjob_coordinator.telemetry import RECENT_PLANS

_MS = 1_000


async def run(settings: Settings) -> None:
    """One life of the coordinator."""
    coordinator = Coordinator(settings)
    scheduler = coordinator.scheduler
    plain_round = scheduler.round
    round_ms: deque[float] = deque(maxlen=RECENT_PLANS)

    async def timed_round() -> bool:
        begun = time.perf_counter()
        assigned = await plain_round()
        if assigned:
            round_ms.append((time.perf_counter() - begun) * _MS)
        return assigned

    scheduler.round = timed_round  # type: ignore[method-assign]
    await coordinator.run()
    print(json.dumps({"plan_ms": list(coordinator.telemetry.recent_plan_ms), "round_ms": list(round_ms)}))


if __name__ == "__main__":
    loaded = Settings.load()
    logs.configure(loaded.log_level, json=loaded.production)
    asyncio.run(run(loaded))
