"""A recorder ends when it is told to, whatever the store does meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos import clock
from tests.chaos.history import Master, Opened
from tests.chaos.lab import Lab
from tests.chaos.recorder import Recorder, by_masters, place
from tests.fakes.store_sentinel import SentinelStore


class _Redis:
    async def xrange(self, *_: object) -> list[object]:
        return []

    async def hget(self, *_: object) -> None:
        """There is no such field."""


class _Lab:
    """One whose first look takes a cancel for a timeout of its own, as clients of stores do now and then."""

    store = SentinelStore(Path("unused"))  # has no servers yet
    redis = _Redis()

    def __init__(self) -> None:
        self.looking = asyncio.Event()

    async def records(self) -> None:
        if not self.looking.is_set():
            self.looking.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    async def look_for_ended(self) -> None:
        """Nothing did."""

    async def look_for_switch(self) -> None:
        """There was none."""


@pytest.mark.asyncio
async def test_a_cancel_that_a_look_into_the_store_took_for_its_own_ends_the_recorder() -> None:
    lab: Any = _Lab()
    following = asyncio.create_task(Recorder(lab).follow())
    await lab.looking.wait()
    following.cancel()
    async with asyncio.timeout(5.0):
        await asyncio.wait([following])
    assert following.cancelled()


class _Streams:
    """What a store has of one org's events, by id."""

    def __init__(self, *entries: tuple[int, str]) -> None:
        self.entries = entries

    async def xrange(self, name: str, first: str, *_: object) -> list[tuple[str, dict[str, str]]]:
        if ":{acme}:" not in name:
            return []
        least, after = place("0-0" if first == "-" else first.lstrip("(")), first.startswith("(")
        found = [(f"{ms}-0", {"e": f"01 {line} 1 - - -"}) for ms, line in self.entries]
        return [(i, fields) for i, fields in found if (place(i) > least if after else place(i) >= least)]


@pytest.mark.asyncio
async def test_events_that_another_server_numbered_before_the_last_one_read_are_not_missed() -> None:
    now = int(clock.wall(clock.now()) * 1000)
    lab: Any = _Lab()
    lab.redis = _Streams((now, "1 q"), (now + 5000, "2 s"), (now + 5001, "3 r"))
    recorder = Recorder(lab)
    await recorder.read()
    lab.redis = _Streams((now, "1 q"), (now + 3000, "2 x"), (now + 6000, "3 q"))
    await recorder.read()
    await lab.on_went_back(clock.of_wall((now + 1000) / 1000))
    await recorder.read()
    assert [(e.version, e.letter) for _, e in recorder._events] == [(1, "q"), (2, "x"), (3, "q")]


@pytest.mark.asyncio
async def test_events_that_were_not_read_yet_when_the_store_went_back_are_not_missed() -> None:
    """It keeps what was before, and the recorder may be late with that."""
    now = int(clock.wall(clock.now()) * 1000)
    lab: Any = _Lab()
    lab.redis = _Streams((now, "1 q"))
    recorder = Recorder(lab)
    await recorder.read()
    lab.redis = _Streams((now, "1 q"), (now + 1000, "2 s"), (now + 3000, "3 r"))
    await lab.on_went_back(clock.of_wall((now + 2000) / 1000))
    await recorder.read()
    assert [(e.version, e.letter) for _, e in recorder._events] == [(1, "q"), (2, "s"), (3, "r")]


def test_what_a_server_does_counts_while_it_is_the_master() -> None:
    at_first, late = Opened(1.0, "cmd-1", 1), Opened(9.0, "cmd-1", 2)
    promoted, early = Opened(9.5, "cmd-1", 3), Opened(7.0, "cmd-1", 4)
    seen = [(1, at_first), (1, late), (2, promoted), (2, early)]
    masters = [Master(2.0, 1), Master(8.0, 2)]
    assert by_masters(seen, masters) == [at_first, promoted]
    assert by_masters(seen, []) == [at_first, late, promoted, early]


@pytest.mark.asyncio
async def test_of_two_masters_only_what_the_other_one_took_is_gone() -> None:
    """Since the other one was there; what the master itself may lose by a switch is written down with that."""
    lab: Any = SimpleNamespace(cuts=[])
    for told in (True, False):
        begin = clock.now()
        async with Lab.two_masters(lab, told=told):
            assert (lab._told_to_switch is not None) is told
        cut = lab.cuts.pop()
        assert cut.by_another
        assert begin <= cut.back_to <= cut.at <= cut.latest
