"""When another session of a plan may begin, whoever else uses it."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgjob_agent.devices.browserstack import gate as gate_module
from qgjob_agent.devices.browserstack.errors import AccountRefusedError, CloudAwayError
from qgjob_agent.devices.browserstack.gate import Gate, NoTurnError, Start
from qgjob_agent.devices.browserstack.plan import Plan, Starts, Turn
from tests.fakes.waiting import DEADLINE_SECONDS


async def passes() -> None:
    """What can go on goes on until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


@dataclass
class World:
    """A plan that others use too, on a clock of its own. Its count of what runs lags by up to `lag` seconds."""

    random: random.Random
    most: int = 4
    lag: float = 0.9
    now: float = 1_000.0
    foreign: int = 0
    ours: list[tuple[float, float]] = field(default_factory=list)  # begun, ends
    told: Plan | None = None
    since: int = 0  # starts since the last answer
    looks: int = 0

    def begin(self) -> None:
        """A session of ours begins. Asserts what is promised."""
        assert self.told is not None
        assert self.told.running < self.told.most, "the last look showed a full plan"
        assert self.told.queued == 0
        assert self.since < self.told.most - self.told.running, "more were begun than the last look had free"
        self.since += 1
        heapq.heappush(self.ours, (self.now, self.now + self.random.uniform(0.5, 30.0)))

    async def ask(self) -> Plan:
        self.looks += 1
        self.now += self.random.uniform(0.0, 0.3)
        self.foreign = min(max(self.foreign + self.random.randint(-2, 2), 0), self.most)
        self.ours = [each for each in self.ours if each[1] > self.now]
        seen = sum(begun + self.random.uniform(0.0, self.lag) <= self.now for begun, _ in self.ours)
        queued = self.random.choice((0, 0, 0, 0, 1)) if self.foreign + seen >= self.most else 0
        self.told, self.since = Plan(min(self.foreign + seen, self.most), self.most, queued), 0
        return self.told

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("at_once", [1, 8])
async def test_10_000_starts_beside_a_foreign_user_and_none_against_a_full_plan(at_once: int) -> None:
    """By one device, and by several of one agent."""
    world = World(random.Random(7))  # noqa: S311
    gate = Gate(world.ask, Starts(), lambda: world.now, 2.0, world.sleep)
    begun = 0

    async def device(name: str) -> None:
        nonlocal begun
        for number in range(10_000 // at_once):
            start = await gate.enter(f"{name}-{number}", 36_000.0)
            assert start.may_go()
            start.sent()
            world.begin()
            begun += 1
            world.now += world.random.choice((0.0, 0.0, 0.1, 1.0, 5.0))
            for _ in range(world.random.choice((0, 1, 5))):  # others come to their turn before it is answered
                await asyncio.sleep(0)
            start.answered()

    await asyncio.gather(*(device(f"d{n}") for n in range(at_once)))
    assert begun == 10_000
    assert world.looks > 1_000


async def test_a_start_and_a_look_of_the_same_agent_never_overtake_each_other() -> None:
    """The agent also looks to tell its coordinator which devices are free, whoever is about to begin a session."""
    dice = random.Random(7)  # noqa: S311
    full, begun = False, 0

    async def travels() -> None:
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)

    async def ask() -> Plan:
        nonlocal full
        await travels()
        full = dice.random() < 0.5
        plan = Plan(int(full), 1)
        await travels()
        return plan

    gate = Gate(ask, Starts(fresh_seconds=5.0, settle_seconds=0.0), iter(range(1 << 30)).__next__, 0.0)

    async def looks() -> None:
        while True:
            await gate.look()
            await travels()

    looking = asyncio.create_task(looks())
    for number in range(500):
        start = await gate.enter(f"s{number}", 60.0)
        await travels()  # it is connected
        assert start.may_go()
        assert not full, "the last look showed a full plan"
        begun += 1
        start.sent()
        await travels()
        start.answered()
    looking.cancel()
    assert begun == 500


async def test_a_start_that_does_not_go_out_keeps_nobody_out_for_long_and_may_not_go_after_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A look may have shown a full plan by then."""
    monkeypatch.setattr(gate_module, "SEND_SECONDS", 0.01)

    async def ask() -> Plan:
        return Plan(0, 2)

    gate = Gate(ask, Starts(), lambda: 0.0, 0.0)
    late = await gate.enter("hangs", 60.0)
    assert late.may_go()
    monkeypatch.setattr(gate_module, "SEND_SECONDS", 600.0)
    async with asyncio.timeout(DEADLINE_SECONDS):
        await gate.enter("next", 60.0)
    assert not late.may_go()
    late.sent()  # late: the turn is another one's
    looking = asyncio.create_task(gate.look())
    await passes()
    assert not looking.done()
    looking.cancel()


@pytest.mark.parametrize("ends", [Start.answered, Start.full, Start.sent])
async def test_a_start_that_has_ended_however_that_was_keeps_nobody_out(ends: Callable[[Start], None]) -> None:
    async def ask() -> Plan:
        return Plan(0, 3)

    gate = Gate(ask, Starts(), lambda: 0.0, 0.0)
    ends(await gate.enter("a", 60.0))
    looking = asyncio.create_task(gate.look())
    await passes()
    assert looking.done()


async def test_a_look_whose_answer_is_lost_keeps_starts_out_for_moments_and_is_believed_by_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may have shown a full plan, so there is another one, though the one before is fresh still."""
    monkeypatch.setattr(gate_module, "LOOK_SECONDS", 0.01)
    looks = 0

    async def ask() -> Plan:
        nonlocal looks
        looks += 1
        if looks == 2:
            await asyncio.Event().wait()
        return Plan(0, 5)

    gate = Gate(ask, Starts(), lambda: 0.0, 0.0)
    await gate.look()
    lost = asyncio.create_task(gate.look())
    await passes()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await gate.enter("a", 60.0)
    assert looks == 3
    with pytest.raises(CloudAwayError, match=r"does not say within 0\.01 s what the plan has free"):
        await lost


async def test_a_look_that_nobody_waits_for_any_more_is_believed_by_nobody() -> None:
    looks = 0

    async def ask() -> Plan:
        nonlocal looks
        looks += 1
        if looks == 2:
            await asyncio.Event().wait()
        return Plan(0, 5)

    gate = Gate(ask, Starts(), lambda: 0.0, 0.0)
    await gate.look()
    gone = asyncio.create_task(gate.look())
    await passes()
    gone.cancel()
    await gate.enter("a", 60.0)
    assert looks == 3


async def test_looks_that_wait_together_are_one_and_nobody_has_the_answer_of_one_before_his() -> None:
    """Each device is probed by itself, and a look of each would keep starts out for as many times as one takes."""
    answers, asked = asyncio.Event(), 0

    async def ask() -> Plan:
        nonlocal asked
        asked += 1
        plan = Plan(asked, 5)
        await answers.wait()
        if asked >= 3:
            raise CloudAwayError("away")
        return plan

    gate = Gate(ask, Starts(), lambda: 0.0, 0.0)
    first = asyncio.create_task(gate.look())
    await passes()
    others = [asyncio.create_task(gate.look()) for _ in range(20)]
    await passes()
    answers.set()
    assert (await first).running == 1
    told = await asyncio.gather(*others, return_exceptions=True)
    assert {str(each) for each in told} == {str(Plan(2, 5))}
    answers.clear()
    others = [asyncio.create_task(gate.look()) for _ in range(20)]
    await passes()
    answers.set()
    told = await asyncio.gather(*others, return_exceptions=True)
    assert {str(each) for each in told} == {"away"}
    assert asked == 4, "one was under way when the others came"


async def test_who_may_not_ask_at_all_asks_nothing_and_begins_nothing_until_he_may() -> None:
    calm, looks = asyncio.Event(), 0

    async def ask() -> Plan:
        nonlocal looks
        looks += 1
        return Plan(0, 5)

    async def waits() -> None:
        await calm.wait()

    gate = Gate(ask, Starts(), lambda: 0.0, 0.0, calm=waits)
    calm.set()
    await gate.look()
    calm.clear()
    tasks: list[asyncio.Task[Any]] = [
        asyncio.create_task(gate.enter("a", 60.0)),
        asyncio.create_task(gate.look()),
    ]
    await passes()
    assert (looks, [task.done() for task in tasks]) == (1, [False, False])
    calm.set()
    (await tasks[0]).sent()
    await tasks[1]


async def test_several_who_wait_are_let_in_one_by_one_in_order() -> None:
    world = World(random.Random(1), most=1)  # noqa: S311
    gate = Gate(world.ask, Starts(), lambda: world.now, 2.0, world.sleep)
    order: list[int] = []

    async def one(number: int) -> None:
        start = await gate.enter(f"s{number}", 3_600.0)
        start.sent()
        world.begin()
        order.append(number)
        start.answered()

    await asyncio.gather(*(one(number) for number in range(20)))
    assert order == list(range(20))


async def test_answers_that_take_long_are_believed_all_the_same() -> None:
    now = 0.0

    async def slow() -> Plan:
        nonlocal now
        now += 30.0
        return Plan(0, 1)

    gate = Gate(slow, Starts(fresh_seconds=2.0), lambda: now, 2.0)
    await gate.enter("s", 5.0)
    assert now == 30.0


async def test_a_plan_that_stays_full_is_waited_for_so_long_and_told() -> None:
    """Also by who stops waiting in the middle of a look, when the one before is no longer fresh."""
    now = 0.0

    async def full() -> Plan:
        nonlocal now
        now += 60.0
        if now > 60.0:
            await asyncio.Event().wait()
        return Plan(5, 5, 1)

    gate = Gate(full, Starts(), lambda: now, 0.0)
    with pytest.raises(NoTurnError, match=r"no free session for 0.05 s \(5 of 5 run, 1 are queued\)"):
        await gate.enter("s", 0.05)
    assert gate.starts.room == 0


async def test_a_plan_that_nobody_can_look_at_is_told_as_that_and_not_as_a_full_one() -> None:
    """However much was free when it was seen last."""
    now, error = 0.0, asyncio.Event()

    async def ask() -> Plan:
        if now == 0.0:
            return Plan(0, 5)
        if error.is_set():
            raise CloudAwayError("BrowserStack does not answer for the plan: ReadTimeout")
        await asyncio.Event().wait()
        raise AssertionError

    gate = Gate(ask, Starts(), lambda: now, 0.0)
    await gate.look()
    now = 100.0
    with pytest.raises(NoTurnError, match=r"not said what the plan has free; no session could begin for 3\.05 s$"):
        await gate.enter("a", 0.05, 3.0)
    error.set()
    with pytest.raises(NoTurnError, match=r"for the plan: ReadTimeout; no session could begin for 0\.05 s$"):
        await gate.enter("b", 0.05)


async def test_who_is_not_served_for_those_before_him_is_told_of_no_full_plan() -> None:
    async def ask() -> Plan:
        return Plan(0, 5)

    gate = Gate(ask, Starts(), lambda: 0.0, 0.0)
    await gate.enter("hangs", 60.0)
    with pytest.raises(NoTurnError, match=r"other sessions of this agent were before this one for 0\.05 s"):
        await gate.enter("b", 0.05)


async def test_who_was_alone_is_told_of_no_others_before_him() -> None:
    """Another look shows room in the moment in which he stops waiting."""
    plan = Plan(5, 5)

    async def ask() -> Plan:
        return plan

    async def pause(_: float) -> None:
        nonlocal plan
        plan = Plan(4, 5)
        await gate.look()
        await asyncio.Event().wait()

    gate = Gate(ask, Starts(), lambda: 0.0, 0.0, pause)
    with pytest.raises(NoTurnError, match=r"had a free session only at the end of 0\.05 s$") as refused:
        await gate.enter("a", 0.05)
    assert refused.value.room


async def test_who_waits_for_another_one_in_its_pause_is_told_so() -> None:
    plan = Plan(5, 5)

    async def ask() -> Plan:
        return plan

    async def pause(_: float) -> None:
        await asyncio.Event().wait()

    gate = Gate(ask, Starts(), lambda: 0.0, 0.0, pause)
    first = asyncio.create_task(gate.enter("a", 60.0))
    await passes()
    plan = Plan(4, 5)
    await gate.look()
    with pytest.raises(NoTurnError, match=r"other sessions of this agent were before this one") as refused:
        await gate.enter("b", 0.05)
    assert not refused.value.room
    first.cancel()


async def test_nobody_is_told_to_end_what_others_run_where_the_plan_showed_free_sessions() -> None:
    """What was begun here, and not answered, keeps them."""

    async def ask() -> Plan:
        return Plan(0, 2)

    gate = Gate(ask, Starts(), lambda: 0.0, 0.0)
    for key in ("a", "b"):
        (await gate.enter(key, 60.0)).sent()
    with pytest.raises(NoTurnError) as refused:
        await gate.enter("c", 0.05)
    assert str(refused.value) == (
        "no session could begin for 0.05 s: the BrowserStack plan shows 0 of 2 that run, and 2 more that were begun "
        "here, whose beginning was not answered, are counted still"
    )


async def test_what_will_not_pass_is_not_waited_for() -> None:
    async def ask() -> Plan:
        raise AccountRefusedError("the key is wrong")

    gate = Gate(ask, Starts(), lambda: 0.0, 0.0)
    with pytest.raises(AccountRefusedError):
        await gate.enter("a", 60.0)


def test_a_look_that_is_old_counts_for_nothing() -> None:
    starts = Starts(fresh_seconds=2.0)
    assert starts.turn(0.0) is Turn.LOOK
    starts.looked(Plan(0, 1), 0.0)
    assert starts.turn(2.0) is Turn.BEGIN
    assert starts.turn(2.1) is Turn.LOOK


def test_a_start_counts_until_a_look_that_must_have_seen_it() -> None:
    starts = Starts(settle_seconds=1.0)
    starts.looked(Plan(0, 2), 0.0)
    starts.allowed("a", 0.0)
    assert starts.room == 1
    starts.looked(Plan(0, 2), 5.0)
    assert starts.room == 1, "nobody has answered for it"
    starts.answered("a", 6.0)
    starts.looked(Plan(1, 2), 6.5)
    assert starts.room == 0, "the look may have been before it"
    starts.looked(Plan(1, 2), 7.0)
    assert starts.room == 1


def test_a_start_that_nobody_answered_for_is_none_after_a_while() -> None:
    starts = Starts(start_seconds=600.0)
    starts.looked(Plan(0, 1), 0.0)
    starts.allowed("a", 0.0)
    starts.looked(Plan(0, 1), 599.0)
    assert starts.room == 0
    starts.looked(Plan(0, 1), 600.0)
    assert starts.room == 1


def test_who_is_queued_there_comes_first() -> None:
    starts = Starts()
    starts.looked(Plan(1, 5, queued=1), 0.0)
    assert starts.turn(0.0) is Turn.WAIT


def test_a_plan_that_had_no_room_after_all_is_full_until_the_next_look() -> None:
    starts = Starts()
    starts.looked(Plan(0, 2), 0.0)
    starts.full(1.0)
    assert starts.turn(1.0) is Turn.WAIT
    starts.looked(Plan(0, 2), 0.5)  # asked before
    assert starts.turn(1.0) is Turn.WAIT
    starts.looked(Plan(0, 2), 1.5)
    assert starts.turn(1.5) is Turn.BEGIN


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("look"), st.integers(0, 4), st.integers(0, 1)),
        st.tuples(st.just("begin"), st.just(0), st.just(0)),
        st.tuples(st.just("answer"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("wait"), st.integers(0, 30), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS)
def test_no_more_begin_than_the_last_look_had_free(steps: list[tuple[str, int, int]]) -> None:
    starts, now, free, since, keys = Starts(), 0.0, 0, 0, 0
    for what, number, queued in steps:
        if what == "look":
            starts.looked(Plan(number, 4, queued), now)
            free, since = (0 if queued else 4 - number), 0
        elif what == "answer":
            starts.answered(str(number), now)
        elif what == "wait":
            now += number / 10
        elif starts.turn(now) is Turn.BEGIN:
            starts.allowed(str(keys), now)
            keys, since = keys + 1, since + 1
        assert since <= free
