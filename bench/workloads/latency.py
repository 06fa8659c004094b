"""From a lone submission on an idle system to the moment the agent starts it; and the floor for such a figure."""

from __future__ import annotations

import json
import time

from bench.figures import Figure, p50_p99
from bench.processes import Child, free_port, module
from bench.sizes import DEVICES, Sizes
from bench.stack import Stack
from bench.store import PrivateStore
from bench.watched_agent import STARTS_VARIABLE

RUN_SECONDS = 120.0
SETTLE_SECONDS = 1.0


def _lone(sizes: Sizes, *how: str) -> list[str]:
    counts = ("--calls", str(sizes.lone_jobs), "--warm-up", str(sizes.warm_up_jobs))
    return module("bench.lone", *counts, *how)


def measure_submit_to_start(sizes: Sizes) -> dict[str, Figure]:
    """Milliseconds from the call of `AsyncClient.submit` to the start at the agent."""
    with Stack() as stack:
        starts = str(stack.folder / "starts.sock")
        stack.start_agent(DEVICES, program="bench.watched_agent", env={STARTS_VARIABLE: starts})
        time.sleep(SETTLE_SECONDS)
        with Child("lone", _lone(sizes, "--address", stack.address, "--starts", starts), stack.folder) as lone:
            return {"submit_to_start_ms": p50_p99(json.loads(lone.wait(RUN_SECONDS)))}


def measure_floor(sizes: Sizes) -> dict[str, Figure]:
    """Milliseconds of a unary call whose server makes two Redis round trips, one after the other."""
    with PrivateStore() as store:
        port = free_port()
        command = module("bench.echo_server", "--port", str(port), "--redis-url", store.url)
        with (
            Child("echo", command, store.folder),
            Child("lone", _lone(sizes, "--address", f"127.0.0.1:{port}"), store.folder) as lone,
        ):
            return {"echo_plus_two_redis_hops_ms": p50_p99(json.loads(lone.wait(RUN_SECONDS)))}
