"""Sessions that may have begun though nobody was told: until when they are looked for, and what is said of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qgjob_agent.devices.browserstack import unheard as unheard_module
from qgjob_agent.devices.browserstack.errors import CloudAwayError
from qgjob_agent.devices.browserstack.unheard import Unheard
from tests.fakes import waiting


class Scene:
    """Sessions are `found`, or that is raised. To end them takes `end_seconds`."""

    def __init__(self, seconds: float, found: list[str] | Exception, end_seconds: float = 0.0) -> None:
        self.found = found
        self.end_seconds = end_seconds
        self.over = asyncio.Event()
        self.ended: list[str] = []
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.unheard = Unheard(self, self.end, 0.001, seconds, self)  # type: ignore[arg-type]
        self.unheard.seek("a build", "a name", self.over.set)

    async def running_sessions(self, _build: str, _name: str) -> list[str]:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    async def end(self, session_ids: list[str]) -> None:
        await asyncio.sleep(self.end_seconds)
        assert not self.over.is_set(), "its place is not free before it has ended"
        self.ended += session_ids

    def info(self, event: str, **fields: Any) -> None:
        self.told.append((event, fields))

    error = info

    async def all_over(self) -> None:
        async with asyncio.timeout(waiting.DEADLINE_SECONDS):
            await self.over.wait()


async def test_the_end_of_one_that_was_found_may_take_longer_than_it_was_looked_for() -> None:
    scene = Scene(0.02, ["a1"], end_seconds=0.2)
    await scene.all_over()
    assert scene.ended == ["a1"]
    told = {"session": "a name", "session_ids": ["a1"], "error": ""}
    assert scene.told == [("browserstack_session_unheard", told)]


async def test_what_does_not_show_is_looked_for_so_long_and_told_with_the_reason() -> None:
    for found, why in (([], "none showed in 0.02 s"), (CloudAwayError("away"), "away")):
        scene = Scene(0.02, found)  # type: ignore[arg-type]
        await scene.all_over()
        assert [fields["error"] for _, fields in scene.told] == [why]


async def test_one_that_does_not_show_soon_is_looked_for_still_and_has_no_place_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unheard_module, "UNHEARD_COUNT_SECONDS", 0.01)
    scene = Scene(60.0, [])
    await scene.all_over()
    assert scene.told == [], "the search goes on"
    scene.over.clear()
    scene.found = ["a1"]
    await scene.all_over()
    assert scene.ended == ["a1"]


async def test_a_fault_of_the_agents_is_told_and_keeps_no_place() -> None:
    scene = Scene(60.0, ZeroDivisionError())
    await scene.all_over()
    assert [event for event, _ in scene.told] == ["browserstack_task_failed"]


async def test_who_ends_looks_for_none_any_more() -> None:
    scene = Scene(60.0, [])
    await asyncio.sleep(0)
    await scene.unheard.close()
    await scene.all_over()
    assert scene.told == []
