"""A child outlives its parent for a while only, and is never ended by a clock while that lives."""

from __future__ import annotations

import asyncio
import faulthandler
import socket

import pytest

from qgjob_coordinator.processes.member import LAST_RESORT_BEATS, Handed, Member
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes.waiting import until

BEAT_SECONDS = 0.01


async def test_the_last_resort_is_armed_when_the_parent_is_gone_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    monkeypatch.setattr(
        faulthandler,
        "dump_traceback_later",
        lambda seconds, *, exit: done.append((seconds, exit)),  # noqa: A006
    )
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: done.append("cancelled"))
    ours, theirs = socket.socketpair()
    member = Member(Handed(1, theirs.detach(), (), "127.0.0.1", 0, BEAT_SECONDS), Telemetry())
    await member.open()
    beats = asyncio.create_task(member.beat())
    with ours:
        heard = 0
        while heard < 5:
            heard += (await asyncio.to_thread(ours.recv, 65536)).count(b"\n")
        assert done == []
    await until(lambda: done, "it is not armed")
    beats.cancel()
    await member.close()
    assert done == [(LAST_RESORT_BEATS * BEAT_SECONDS, True), "cancelled"]
