"""What the store says of devices that their own failures took out of service."""

from __future__ import annotations

import json
from typing import Any

from tests.chaos import stores
from tests.chaos.workload import DEVICES

DEVICE_KEY = "qg:f:{fleet}:dv:"
Found = dict[str, tuple[int, int, str]]
"""By device: since when, until when (ms by the store), and why."""


async def read(redis: Any) -> Found | None:
    """All of the lab's devices that are quarantined now; None when the store is away."""
    found = {}
    try:
        for device_id in DEVICES:
            record = json.loads(await redis.hget(f"{DEVICE_KEY}{device_id}", "record") or "{}")
            if "q" in record:
                since, until, reason = record["q"]
                found[device_id] = (since, until, reason)
    except stores.AWAY:
        return None
    return found
