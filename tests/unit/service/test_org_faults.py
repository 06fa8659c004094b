"""What one org's data lead to: whose fault it is, how long the org rests, and what is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

import pytest
from structlog.testing import capture_logs

from qgjob_coordinator.errors import BlobsUnavailableError, OrgDamagedError, StoreUnavailableError
from qgjob_coordinator.policy.diagnosis import orgs
from qgjob_coordinator.policy.diagnosis.facts import Damaged
from qgjob_coordinator.service.org_faults import (
    FIRST_PAUSE_SECONDS,
    FIRST_TOLD_SECONDS,
    LONGEST_PAUSE_SECONDS,
    REMEMBERED_SECONDS,
    OrgFaults,
)
from qgjob_coordinator.telemetry import Telemetry


class Scene:
    """An account of faults with a clock of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.telemetry = Telemetry()
        self.faults = OrgFaults(self.telemetry, lambda: self.now)

    async def meet(self, error: BaseException | None, part: str = "timers", org_id: str = "acme") -> float:
        """The pause that is to be made after work that ended so; 0 after one that went well."""

        async def work() -> None:
            if error is not None:
                raise error

        try:
            await self.faults.guard(part, org_id, work())
        except OrgDamagedError as e:
            return e.again_in_seconds
        return 0.0


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize(
    "error", [StoreUnavailableError("away"), BlobsUnavailableError("away"), asyncio.CancelledError()]
)
async def test_what_is_nobody_s_fault_passes(scene: Scene, error: BaseException) -> None:
    with pytest.raises(type(error)):
        await scene.meet(error)
    assert (scene.telemetry.org_faults, scene.faults.damaged()) == ({}, [])


async def test_a_search_for_damaged_jobs_that_fails_is_told_beside_what_was_met() -> None:
    now, answers = 1000.0, iter([["acme~1"], KeyError("i"), ["acme~2"]])

    async def search(_org_id: str) -> Sequence[str]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def fails(words: str) -> None:
        raise ValueError(words)

    faults, found = OrgFaults(Telemetry(), lambda: now, damaged_jobs=search), []
    with capture_logs() as lines:
        for words in ("first", "second", "third"):
            with pytest.raises(OrgDamagedError):
                await faults.guard("timers", "acme", fails(words))
            found.append([d.jobs for d in faults.damaged()])
            now += 10
    assert found == [[("acme~1",)], [()], [("acme~2",)]]
    told = [(line["error"], line["jobs"], line.get("jobs_not_looked_for")) for line in lines]
    assert told == [
        ("ValueError: first", ["acme~1"], None),
        ("ValueError: second", [], "KeyError: 'i'"),
        ("ValueError: third", ["acme~2"], None),
    ]


async def test_the_pauses_grow_and_begin_anew_when_the_org_was_served(scene: Scene) -> None:
    pauses = []
    for _ in range(8):
        pauses.append(await scene.meet(KeyError("s")))
        assert scene.faults.resting("timers", "acme")
        assert scene.faults.resting("timers", "globex") is None
        assert scene.faults.resting("reaper", "acme") is None
        scene.now += pauses[-1]
        assert scene.faults.resting("timers", "acme") is None
    assert pauses == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]
    assert await scene.meet(None) == 0
    assert await scene.meet(KeyError("s")) == FIRST_PAUSE_SECONDS


async def test_several_that_meet_it_at_once_count_as_one_try(scene: Scene) -> None:
    assert [await scene.meet(KeyError("s")) for _ in range(3)] == [FIRST_PAUSE_SECONDS] * 3
    assert scene.telemetry.org_faults == {"timers": 3}


async def test_it_is_told_once_for_each_error_and_again_after_a_while(scene: Scene) -> None:
    async def told(*errors: Exception | None) -> list[str]:
        with capture_logs() as lines:
            for error in errors:
                await scene.meet(error)
        return [line["event"] for line in lines]

    assert await told(KeyError("s"), KeyError("s")) == ["org_damaged"]
    assert await told(ValueError("i")) == ["org_damaged"]
    assert await told(ValueError("i")) == []
    scene.now += 2 * FIRST_TOLD_SECONDS
    assert await told(ValueError("i"), ValueError("i")) == ["org_damaged"]
    assert await told(None, None) == ["org_mended"]
    assert await told(ValueError("i"), None, ValueError("i"), None) == [], "a record that is met in some tries only"


@pytest.mark.parametrize("fails_with", [2, 0])
async def test_an_error_that_comes_of_no_org_alone_is_raised_as_it_is(scene: Scene, fails_with: int) -> None:
    class Seen:
        def __init__(self, org_id: str) -> None:
            self.org_id = org_id

    def work(some: object) -> int:
        if isinstance(some, list) and len(some) >= fails_with:
            raise KeyError("a bug")
        return 1

    with pytest.raises(KeyError):
        scene.faults.computed("plans", [Seen("acme"), Seen("globex")], work)
    assert scene.faults.damaged() == []


async def test_halves_are_tried_until_those_are_found_with_which_it_fails(scene: Scene) -> None:
    done: list[int] = []

    async def work(some: object) -> None:
        assert isinstance(some, range)
        if 37 in some or 60 in some:
            raise KeyError("s")
        done.extend(some)

    left, error = await scene.faults.halved("reports", "acme", range(100), work)
    assert (left, sorted(done)) == ([37, 60], [n for n in range(100) if n not in (37, 60)])
    assert error is not None
    assert isinstance(error.__cause__, KeyError)
    assert scene.telemetry.org_faults == {"reports": 1}


async def test_those_that_are_known_to_be_unusable_are_left_at_once(scene: Scene) -> None:
    """Fifty of a hundred, with two calls and a question."""
    items = [f"j{n}" for n in range(100)]
    broken = set(items[::2])
    calls: list[Sequence[str]] = []
    asked: list[Sequence[str]] = []

    async def work(some: Sequence[str]) -> None:
        calls.append(some)
        if not broken.isdisjoint(some):
            raise KeyError("s")

    async def unusable(some: Sequence[str]) -> list[str]:
        asked.append(some)
        return [name for name in some if name in broken]

    left, error = await scene.faults.halved("reports", "acme", items, work, unusable)
    assert (set(left), calls, asked) == (broken, [items, items[1::2]], [items])
    assert error is not None
    assert scene.telemetry.org_faults == {"reports": 1}


async def test_where_all_are_unusable_nothing_more_is_tried_and_where_none_is_it_is_halved(scene: Scene) -> None:
    calls: list[Sequence[str]] = []
    known: list[str] = ["a", "b"]

    async def work(some: Sequence[str]) -> None:
        calls.append(some)
        if "a" in some:
            raise KeyError("s")

    async def unusable(_some: Sequence[str]) -> list[str]:
        return known

    left, _ = await scene.faults.halved("reports", "acme", known, work, unusable)
    assert (left, calls) == (["a", "b"], [["a", "b"]])
    items, known = known, []
    calls.clear()
    left, _ = await scene.faults.halved("reports", "acme", items, work, unusable)
    assert (left, calls) == (["a"], [["a", "b"], ["a"], ["b"]])


async def test_where_too_many_are_left_those_come_first_that_were_not_tried_alone(scene: Scene) -> None:
    """Else the same ones would be found each time, and those behind them never tried."""

    async def work(some: Sequence[int]) -> None:
        if any(n % 2 == 0 for n in some):
            raise KeyError("s")

    items: Sequence[int] = range(100)
    for _ in range(10):
        items, error = await scene.faults.halved("reports", "acme", items, work)
        assert error is not None
    assert [n for n in items if n % 2] == []


async def test_what_is_set_aside_is_told_by_org_until_nobody_met_it_for_long(scene: Scene) -> None:
    work: list[Awaitable[float]] = [scene.meet(KeyError("s"), p, o) for p, o in (("timers", "b"), ("claims", "b"))]
    work.append(scene.meet(KeyError("x"), "retention", "a"))
    for each in work:
        await each
    scene.now += 30
    assert scene.faults.damaged() == [
        Damaged("a", ("retention",), "KeyError: 'x'", 30.0),
        Damaged("b", ("claims", "timers"), "KeyError: 's'", 30.0),
    ]
    assert scene.faults.keeps_waiting("a", for_its_time=True) is None, "its jobs are given out"
    waits = scene.faults.keeps_waiting("b", for_its_time=False)
    assert waits is not None
    assert "can't be used (KeyError: 's')" in waits
    (first, second) = orgs.judge(scene.faults.damaged())
    assert (first.subject, second.subject, second.level) == ("a", "b", "problem")
    assert "claims, timers" in second.found
    scene.now += REMEMBERED_SECONDS
    assert scene.faults.damaged() == []
    (fine,) = orgs.judge([])
    assert fine.level == "ok"


async def test_damaged_jobs_are_told_with_the_error_and_looked_for_once_a_try() -> None:
    now, asked, names = [1000.0], [0], ["acme~01"]

    async def damaged_jobs(org_id: str) -> list[str]:
        asked[0] += 1
        assert org_id == "acme"
        return list(names)

    faults = OrgFaults(None, lambda: now[0], damaged_jobs=damaged_jobs)

    async def fail(*_: object) -> None:
        raise KeyError("i")

    async def meet() -> list[object]:
        with capture_logs() as lines, pytest.raises(OrgDamagedError):
            await faults.guard("statistics", "acme", fail())
        return [line["jobs"] for line in lines]

    assert await meet() == [["acme~01"]]
    assert await meet() == []
    assert asked == [1], "they were looked for twice in one try"
    names[:] = ["acme~02"]
    now[0] += FIRST_PAUSE_SECONDS
    assert await meet() == []
    await faults.halved("reports", "acme", [1], fail)
    (aside,) = faults.damaged()
    assert (aside.jobs, asked) == (("acme~02",), [3])
    (finding,) = orgs.judge([aside])
    assert "KeyError: 'i'; jobs that can't be used: acme~02" in finding.found
    assert "take_out.lua" in finding.advice


async def test_where_no_job_can_be_looked_for_the_error_is_told_alone() -> None:
    async def damaged_jobs(_org_id: str) -> list[str]:
        raise StoreUnavailableError("away")

    async def fail() -> None:
        raise KeyError("i")

    faults = OrgFaults(damaged_jobs=damaged_jobs)
    with pytest.raises(OrgDamagedError, match="KeyError: 'i'"):
        await faults.guard("statistics", "acme", fail())
    (aside,) = faults.damaged()
    assert aside.jobs == ()
    assert "org_damaged" in orgs.judge([aside])[0].advice
