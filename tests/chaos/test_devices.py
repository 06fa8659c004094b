"""The fault of a broken device lasts until it is in service again, so that its quarantine is seen to its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import clock
from tests.chaos.faults.devices import device_breaks
from tests.chaos.lab import Lab
from tests.chaos.quarantines import DEVICE_KEY
from tests.chaos.scale import Scale
from tests.chaos.schedule import Fault, Kind

DEVICE = "cmd-1-1"
FAULT = Fault(1, Kind.DEVICE_BREAKS, 0.0, 0.0, DEVICE)
LOOKS = 3


class _Redis:
    """Has the device quarantined for some looks."""

    def __init__(self) -> None:
        self.left = LOOKS

    async def hget(self, key: str, _: str) -> str | None:
        if key != f"{DEVICE_KEY}{DEVICE}" or not self.left:
            return None
        self.left -= 1
        now = round(clock.wall(clock.now()) * 1000)
        return json.dumps({"n": 1, "g": 0, "q": [now, now + 1000, "it broke"]})


@pytest.mark.asyncio
async def test_it_ends_when_the_device_is_whole_and_in_service(tmp_path: Path) -> None:
    lab: Any = Lab(tmp_path, Scale())
    lab.redis = _Redis()
    await device_breaks(lab, FAULT)
    assert lab.redis.left == 0
    assert (tmp_path / "truth" / "shells" / DEVICE).exists()
