"""When another session of a plan may begin, whoever else uses it."""

from __future__ import annotations

import asyncio
import heapq
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgjob_agent.devices.browserstack import gate as gate_module
from qgjob_agent.devices.browserstack.gate import Gate, PlanFullError
from qgjob_agent.devices.browserstack.plan import Plan, Starts, Turn


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
            await gate.enter(f"{name}-{number}", 36_000.0)
            gate.sent(f"{name}-{number}")
            world.begin()
            begun += 1
            world.now += world.random.choice((0.0, 0.0, 0.1, 1.0, 5.0))
            for _ in range(world.random.choice((0, 1, 5))):  # others come to their turn before it is answered
                await asyncio.sleep(0)
            gate.answered(f"{name}-{number}")

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
        await gate.enter(f"s{number}", 60.0)
        await travels()  # it is connected
        assert not full, "the last look showed a full plan"
        begun += 1
        gate.sent(f"s{number}")
        await travels()
        gate.answered(f"s{number}")
    looking.cancel()
    assert begun == 500


async def test_a_start_that_is_never_sent_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "SEND_SECONDS", 0.01)

    async def ask() -> Plan:
        return Plan(0, 2)

    gate = Gate(ask, Starts(), lambda: 0.0, 0.0)
    await gate.enter("hangs", 60.0)
    async with asyncio.timeout(10):
        await gate.enter("next", 60.0)
        gate.sent("hangs")  # late: it holds nothing any more
        gate.answered("next")
        await gate.look()


async def test_several_who_wait_are_let_in_one_by_one_in_order() -> None:
    world = World(random.Random(1), most=1)  # noqa: S311
    gate = Gate(world.ask, Starts(), lambda: world.now, 2.0, world.sleep)
    order: list[int] = []

    async def one(number: int) -> None:
        await gate.enter(f"s{number}", 3_600.0)
        gate.sent(f"s{number}")
        world.begin()
        order.append(number)
        gate.answered(f"s{number}")

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
    async def full() -> Plan:
        await asyncio.sleep(0)
        return Plan(5, 5, 1)

    gate = Gate(full, Starts(), lambda: 0.0, 0.0)
    with pytest.raises(PlanFullError, match=r"no free session for 0.05 s \(5 of 5 run, 1 are queued\)"):
        await gate.enter("s", 0.05)
    assert gate.starts.room == 0


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
