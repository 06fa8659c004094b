"""Simulators are booted a few at a time, again after a failure, and not at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import structlog

from qgjob_agent.devices.apple import power as power_module
from qgjob_agent.devices.apple.power import BOOTS_AT_A_TIME, Power
from qgjob_agent.devices.apple.settings import AppleSettings
from qgjob_agent.host.program import Ended
from tests.fakes.waiting import until


class Calls:
    """Stands for xcrun: calls that end when `ended` says so."""

    def __init__(self) -> None:
        self.now = self.most = self.calls = 0
        self.ended = asyncio.Event()
        self.code = 0

    async def simctl(self, *words: str, seconds: float) -> Ended:
        assert words[0] == "bootstatus"
        self.calls += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await self.ended.wait()
        self.now -= 1
        return Ended(self.code, "", "no memory" if self.code else "")


def power(calls: Any, folder: Path) -> Power:
    return Power(calls, AppleSettings("a1", folder, {}), structlog.get_logger())


async def test_many_boot_a_few_at_a_time(tmp_path: Path) -> None:
    calls = Calls()
    made = power(calls, tmp_path)
    boots = [asyncio.create_task(made.boot(f"u{n}")) for n in range(5)]
    await until(lambda: calls.now == BOOTS_AT_A_TIME, "nothing boots")
    assert all(made.booting(f"u{n}") for n in range(5))
    calls.ended.set()
    await asyncio.gather(*boots)
    assert (calls.calls, calls.most) == (5, BOOTS_AT_A_TIME)
    assert not any(made.booting(f"u{n}") for n in range(5))


async def test_a_failure_is_told_and_followed_by_a_longer_pause_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def paused(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(power_module.asyncio, "sleep", paused)
    calls = Calls()
    calls.ended.set()
    calls.code = 164
    made = power(calls, tmp_path)
    for _ in range(8):
        await made.boot("u1")
    assert pauses == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]
    assert made.failed == {"u1": "no memory"}
    calls.code = 0
    await made.boot("u1")
    assert made.failed == {}
    calls.code = 164
    await made.boot("u1")
    assert pauses[-1] == 5.0
