"""From a lone submission on an idle system to the moment the agent starts it; and the floor for such a figure."""

from __future__ import annotations

import json

from bench.processes import Child, free_port, module
from bench.sizes import DEVICES, Sizes
from bench.stack import START_SECONDS, Stack, wait_until
from bench.statistics import quantiles
from bench.store import PrivateStore

RUN_SECONDS = 120.0
_PERCENTILES = (50, 99)


def measure_submit_to_start(sizes: Sizes) -> dict[str, object]:
    """Milliseconds from the call of `AsyncClient.submit` to the start at the agent."""
    with Stack() as stack:
        starts = stack.folder / "starts.sock"
        load = stack.start_lone("submit", stack.address, sizes, starts)
        wait_until("the submitter listens for starts", starts.exists, START_SECONDS)
        stack.start_agent(DEVICES, program="bench.watched_agent", env={"BENCH_STARTS": str(starts)})
        load.say_go()
        return {"submit_to_start_ms": _quantiles(load)}
