"""A machine of coordinators that die, stand still and come late: after each step the store is as the model says.

The other machine (test_machine.py) calls single operations, careless of order. Here the coordinators' own code calls
them, and the machine decides when each call happens. So more can be asked than that model and store agree:

- FENCE: while a tree lives, its token is the lease of its job; WRITTEN: not any more when its end is acknowledged;
- VERDICT: a round's verdict never changes; ACKNOWLEDGED: what a caller was told is there;
- ANNOUNCED: an org with unfinished jobs is on the active set, unless somebody died who was about to put it there;
- LIFE: no session is served that was opened in two lives of the store; REACHED: one that goes on is found by claims;
  ENDED: none ends for an attempt that its agent shows, a newer session that is none, or a fault in a round of reports;
- SETTLED: when all goes on and nothing is on its way, an agent holds what the store says, and its reports are answered;
- ENDING: when all is over, one coordinator that goes on finds every lease and every org with work.

A store that goes back loses what it lost, and what was granted then is excused from FENCE and WRITTEN.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from redis import Redis

from qgjob_coordinator.model.enums import HoldKind, HoldSlot, Outcome
from qgjob_coordinator.model.fleet import Hold
from qgjob_coordinator.service.live import UNSEEN_BEATS
from qgjob_coordinator.service.messages import Hello, ReportAck
from qgjob_coordinator.service.session import Session
from qgjob_coordinator.store.types import DeviceClaim
from tests.fakes.jobs import NOW, spec, ulid
from tests.fakes.lab_agent import LabAgent
from tests.fakes.store_model import ModelJob, gid_of
from tests.fakes.store_process import StoreProcess
from tests.integration.store import promises
from tests.integration.store.side_by_side import Call, SideBySide
from tests.integration.store.stepped_coordinator import ANNOUNCING, Clocks, Coordinator, Stream
from tests.integration.store.steps import LEAST, NIGHTLY, Steps, examples

ORGS = ("acme", "globex")
AGENTS = ("agent-1", "agent-2")
NAMES = ("c-1", "c-2")
JOBS = 30
GIVE_UP_SECONDS = 63.0
ANSWER_SECONDS = 2.0
"""So long a coordinator waits for what a recall asks for."""
LATE = {
    "start",
    "finish",
    "release",
    "inventory",
    "confirm_holds",
    "cancel",
    "retry",
    "submit",
    "open",
    "observe",
    "admit",
    "sweep",
    "swept",
    "adopt",
}
"""Calls that may arrive once more, however late. A claim is none of them (docs/model says why), nor is `spare`."""

pick = st.integers(0, 20)
orgs = st.sampled_from(("acme", "acme", "globex"))
agents = st.sampled_from(AGENTS)
names = st.sampled_from(NAMES)
outcomes = st.sampled_from((Outcome.PASSED, Outcome.PASSED, Outcome.TEST_FAILED, Outcome.DEVICE_ERROR))

how_far = st.sampled_from((False, True, True, Outcome.PASSED, Outcome.TEST_FAILED))
"""Whether an attempt begins, or with what it ends."""


class CrashMachine(RuleBasedStateMachine):
    """See the module."""

    process: ClassVar[StoreProcess]
    runner: ClassVar[asyncio.Runner]
    raw: ClassVar[Redis]
    clocks: ClassVar[Clocks]
    steps: ClassVar = Steps()

    def __init__(self) -> None:
        super().__init__()
        self.both = SideBySide(self.runner, self.process.url, self.raw, ORGS)
        self.clocks.wall, self.clocks.monotonic = NOW, 1000.0
        self.acknowledged: set[tuple[str, str]] = set()
        self.lives = 1
        self.coordinators = {name: Coordinator(name, self.both, self.clocks, self.acknowledged) for name in NAMES}
        self.agents = {a: LabAgent(a) for a in AGENTS}
        self.excused: set[str] = set()
        self.unannounced = False
        self.verdicts: dict[tuple[str, str, int], Any] = {}
        self.sound = True
        self._tokens = self._ids = 0

    def teardown(self) -> None:
        try:
            if self.sound:
                self.it_settles()
                self.it_ends()
                self.both.check_all()
        finally:
            for c in self.coordinators.values():
                self.runner.run(c.die())
            self.both.close()

    def _born(self, name: str) -> Coordinator:
        """A coordinator serves when it has met the store."""
        c = self.coordinators[name] = Coordinator(name, self.both, self.clocks, self.acknowledged)
        self._to_the_end(c, c.check(f"life-{self.lives}"))
        return c

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self.sound = False
        self.runner.run(work)

    def _begin(self, name: str, what: str, work: Coroutine[Any, Any, None]) -> None:
        self._run(self.coordinators[name].begin(what, work))

    # What must hold.

    @invariant()
    def the_store_is_as_the_model(self) -> None:
        self.steps.taken += 1
        self.sound = False
        self.both.check()
        agents, coordinators = self.agents, self.coordinators.values()
        promises.check_fence(self.both, agents.values(), self.excused)
        promises.check_verdicts(self.both, self.verdicts)
        promises.check_sessions(agents, coordinators)
        if not self.unannounced:
            promises.check_announced(self.both, coordinators)
        self.sound = True

    def it_settles(self) -> None:
        """Nobody dies, whoever does something does it to the end, and agents that are not connected connect."""
        for c in self.coordinators.values():
            self._to_the_end(c, c.check(f"life-{self.lives}"))
        for _ in range(4):
            for agent_id, agent in self.agents.items():
                self.deliver(agent_id)
                if self._live(agent_id) is None:
                    self._begin("c-1", "connect", self.coordinators["c-1"].connect(agent, self._hello(agent)))
                self._beat(agent_id)
            for c in self.coordinators.values():
                self._run(c.finish())
        for agent_id in self.agents:
            self.deliver(agent_id)
        promises.check_settled(self.both, self.agents.values())

    def it_ends(self) -> None:
        """Everybody dies; the agents connect once more and are lost; one coordinator looks for as long as it takes."""
        for c in self.coordinators.values():
            self._run(c.die())
        last = self._born("c-1")
        for agent in self.agents.values():
            for _ in range(2):  # the first may be told of a higher epoch
                if agent.session is None or agent.session.refused is not None:
                    self._to_the_end(last, last.connect(agent, self._hello(agent)))
            agent.host_dies()
        for _ in range(3):
            self._to_the_end(last, last.reap())
            for _ in range(20):  # reapers look far more often than they give up
                self.clocks.monotonic += GIVE_UP_SECONDS / 20
                self._to_the_end(last, last.reap())
        self._to_the_end(last, last.repair())
        promises.check_ended(self.both, self.acknowledged)

    def _to_the_end(self, c: Coordinator, work: Coroutine[Any, Any, None]) -> None:
        self._run(c.begin("ending", work))
        self._run(c.finish())

    # Who is there.

    def _stream(self, session: Session | None) -> tuple[Coordinator, Stream] | None:
        """Who has the other end of a session's stream."""
        for c in self.coordinators.values():
            if session in c.streams:
                return c, c.streams[session]
        return None

    def _live(self, agent_id: str) -> tuple[Coordinator, Stream] | None:
        """Where what the agent says goes."""
        return self._stream(self.agents[agent_id].session)

    def _hello(self, agent: LabAgent) -> Hello:
        return agent.says_hello(self.clocks.monotonic)

    def _job(self, org_id: str, n: int) -> ModelJob | None:
        jobs = list(self.both.orgs[org_id].jobs.values())
        return jobs[n % len(jobs)] if jobs else None

    def _token(self) -> str:
        self._tokens += 1
        return f"t{self._tokens}"

    # The beginning: agents and orgs that any older state knows, too.

    @initialize()
    def all_are_known(self) -> None:
        for name in NAMES:
            c = self._born(name)
        for org_id in ORGS:
            self._to_the_end(c, c.submit(org_id, self._specs(org_id, [0, 1, 2])))
        for agent in self.agents.values():
            self._to_the_end(c, c.connect(agent, self._hello(agent)))
            self.deliver(agent.agent_id)

    def _specs(self, org_id: str, tests: list[int]) -> list[Any]:
        made = []
        for n in tests:
            self._ids += 1
            path = f"tests/t{n}.spec.ts"
            made.append(spec(self._ids, org_id, ulid=ulid(self._ids), test_path=path, max_retries=1))
        return made

    # Callers.

    @rule(name=names, org_id=orgs, tests=st.lists(st.integers(0, 5), min_size=1, max_size=2))
    def submit(self, name: str, org_id: str, tests: list[int]) -> None:
        if len(self.both.orgs[org_id].jobs) < JOBS:
            c = self.coordinators[name]
            self._begin(name, "submit", c.submit(org_id, self._specs(org_id, tests)))

    @rule(org_id=orgs, n=pick, change=st.sampled_from((0, 0, 0, -1)))
    def cancel(self, org_id: str, n: int, change: int) -> None:
        if job := self._job(org_id, n):
            meant = [(job.spec.ulid, job.round + change)]
            self.both.do(Call(org_id, "cancel", (meant, self.clocks.wall), (("reason", "by hand"),)))

    @rule(name=names, org_id=orgs, n=pick, change=st.sampled_from((0, 0, 0, -1)))
    def retry(self, name: str, org_id: str, n: int, change: int) -> None:
        over = [j for j in self.both.orgs[org_id].jobs.values() if j.status.final]
        if over:
            job = over[n % len(over)]
            c = self.coordinators[name]
            self._begin(name, "retry", c.retry(org_id, job.spec.ulid, job.round + change))

    # Coordinators.

    @precondition(lambda self: any(c.sessions._live for c in self.coordinators.values()))
    @rule(org_id=orgs, n=pick, agent_id=agents, device=st.integers(1, 2), count=st.integers(1, 2))
    def claim(self, org_id: str, n: int, agent_id: str, device: int, count: int) -> None:
        self._claim(org_id, n, agent_id, device, count)

    def _claim(self, org_id: str, n: int, agent_id: str, device: int, count: int) -> str:
        """By any coordinator that takes the agent's session for its own; which one it is."""
        ready = [j for j in self.both.orgs[org_id].jobs.values() if j.ready]
        there = [c for c in self.coordinators.values() if c.sessions.get(agent_id) is not None]
        if found := self._live(agent_id):
            there += [found[0]] * 3
        if not ready or not there:
            return ""
        c = there[n % len(there)]
        live = c.sessions.get(agent_id)
        assert live is not None
        group = ready[n % len(ready)].group
        jobs = [(j.spec.ulid, self._token()) for j in ready if j.group == group][:count]
        what = DeviceClaim(agent_id, live.session.epoch, f"{agent_id}.d{device}", gid_of(group), None, jobs)
        self._begin(c.name, "claim", c.claim(live, org_id, what))
        return c.name

    @rule(org_id=orgs, n=pick, agent_id=agents, name=names, device=st.integers(1, 2), how=how_far)
    def work(self, org_id: str, n: int, agent_id: str, name: str, device: int, how: Outcome | bool) -> None:
        """As it goes when nobody dies."""
        if self._live(agent_id) is None:
            self.connect_and_hear(agent_id=agent_id, name=name)
        if all(not j.ready for j in self.both.orgs[org_id].jobs.values()):
            self.submit(name=name, org_id=org_id, tests=[n % 6])
            self.finish(name=name)
        claimer = self._claim(org_id, n, agent_id, device, 1 + n % 2)
        if claimer:
            self.finish(name=claimer)
        self.deliver(agent_id)
        if how:
            self.agents[agent_id].begins(n, self.clocks.monotonic)
        if isinstance(how, Outcome):
            self.end_and_report(agent_id=agent_id, n=n, outcome=how)

    @rule(name=names)
    def reap(self, name: str) -> None:
        if "reap" not in self.coordinators[name].doing():  # one look at a time
            self._begin(name, "reap", self.coordinators[name].reap())

    @rule(name=names, seconds=st.sampled_from((16.0, 63.0)), dies=st.booleans())
    def reap_for(self, name: str, seconds: float, dies: bool) -> None:
        """Looks as often as reapers do, and may die before what it found is done."""
        c = self.coordinators[name]
        if "reap" in c.doing():
            self.finish(name=name)
        for _ in range(round(seconds / 3)):
            self.time_passes(seconds=3.0)
            self._begin(name, "reap", c.reap())
            self._run(c.go_on())  # the look; what is closed and swept comes with other steps
            while c.waits and not dies:
                self._run(c.go_on())
                self.the_store_is_as_the_model()
        if dies:
            self.die(name=name)

    @rule(name=names)
    def prune(self, name: str) -> None:
        self._begin(name, "prune", self.coordinators[name].prune(ORGS))

    @rule(name=names)
    def repair(self, name: str) -> None:
        self._begin(name, "repair", self.coordinators[name].repair())

    @rule(name=names)
    def check(self, name: str) -> None:
        self._begin(name, "check", self.coordinators[name].check(f"life-{self.lives}"))

    @precondition(lambda self: any(c.waits for c in self.coordinators.values()))
    @rule(name=names, n=pick, steps=st.integers(1, 4), twice=st.sampled_from((False, False, True)))
    def go_on(self, name: str, n: int, steps: int, twice: bool) -> None:
        c = self.coordinators[name]
        for _ in range(steps):
            if c.waits:
                self._run(c.go_on(n, twice=twice))
                self.the_store_is_as_the_model()

    @precondition(lambda self: any(c.waits for c in self.coordinators.values()))
    @rule(name=names, newest_first=st.booleans())
    def finish(self, name: str, newest_first: bool = False) -> None:
        """Not by one more step: what must hold must hold in between, too."""
        while self.coordinators[name].waits:
            self._run(self.coordinators[name].go_on(-1 if newest_first else 0))
            self.the_store_is_as_the_model()

    @rule(name=names)
    def die(self, name: str) -> None:
        c = self.coordinators[name]
        self.unannounced = self.unannounced or bool(set(c.doing()) & set(ANNOUNCING))
        self._run(c.die())
        self._born(name)

    # Agents.

    @rule(agent_id=agents, name=names)
    def connect(self, agent_id: str, name: str) -> None:
        agent, c = self.agents[agent_id], self.coordinators[name]
        self._begin(name, "connect", c.connect(agent, self._hello(agent)))

    @rule(agent_id=agents, name=names)
    def connect_and_hear(self, agent_id: str, name: str) -> None:
        self.connect(agent_id=agent_id, name=name)
        self.finish(name=name)
        self.deliver(agent_id)

    @rule(agent_id=agents, name=names, steps=st.integers(1, 8))
    def connect_and_again(self, agent_id: str, name: str, steps: int) -> None:
        """The stream breaks while its session is opened."""
        self.connect(agent_id=agent_id, name=name)
        self.go_on(name=name, n=-1, steps=steps, twice=False)
        self.connect(agent_id=agent_id, name=name)

    @rule(agent_id=agents)
    def beat_and_hear(self, agent_id: str) -> None:
        if found := self._live(agent_id):
            self._beat(agent_id)
            self.finish(name=found[0].name)
            self.deliver(agent_id)

    @rule(agent_id=agents, held_up=st.sampled_from((False, False, True)))
    def beat(self, agent_id: str, held_up: bool) -> None:
        self._beat(agent_id, held_up=held_up)

    def _beat(self, agent_id: str, *, held_up: bool = False) -> None:
        if self._live(agent_id):
            self.agents[agent_id].beats(self.clocks.monotonic)
            if not held_up:
                self._read(agent_id)

    def _read(self, agent_id: str) -> None:
        """What the agent has said arrives."""
        if found := self._live(agent_id):
            c, stream = found
            self._begin(c.name, "read", c.read(stream))

    @rule(name=names, n=pick, breaks=st.booleans())
    def an_old_stream_is_read_or_breaks(self, name: str, n: int, breaks: bool) -> None:
        """One that its agent has left: its coordinator does not know that yet."""
        c = self.coordinators[name]
        old = [s for s in c.streams.values() if all(s.live.session is not a.session for a in self.agents.values())]
        if old:
            stream = old[n % len(old)]
            self._begin(name, "detach" if breaks else "read", c.detach(stream) if breaks else c.read(stream))

    @precondition(lambda self: any(a.session for a in self.agents.values()))
    @rule(agent_id=agents)
    def hear(self, agent_id: str) -> None:
        self.deliver(agent_id)

    def deliver(self, agent_id: str) -> None:
        """What its coordinator said comes; a session that was ended is told last."""
        agent = self.agents[agent_id]
        session = agent.session
        if session is None:
            return
        while session.outbox:
            message = session.outbox.popleft()
            if isinstance(message, ReportAck):
                promises.check_written(self.both, agent, message, self.excused)
            agent.hears(message, self.clocks.monotonic)
        if session.refused is not None:
            self.stream_breaks(agent_id=agent_id)

    @precondition(lambda self: any(a.held for a in self.agents.values()))
    @rule(agent_id=agents, n=pick)
    def begin(self, agent_id: str, n: int) -> None:
        self.deliver(agent_id)
        self.agents[agent_id].begins(n, self.clocks.monotonic)

    @precondition(lambda self: any(a.living() for a in self.agents.values()))
    @rule(agent_id=agents, n=pick, outcome=outcomes)
    def tree_ends(self, agent_id: str, n: int, outcome: Outcome) -> None:
        self.agents[agent_id].ends(n, outcome)

    @precondition(lambda self: any(a.held for a in self.agents.values()))
    @rule(agent_id=agents, n=pick, held_up=st.sampled_from((False, False, True)))
    def report(self, agent_id: str, n: int, held_up: bool) -> None:
        if self._live(agent_id):
            self.agents[agent_id].reports(n, self.clocks.wall)
            if not held_up:
                self._read(agent_id)

    @precondition(lambda self: any(a.held for a in self.agents.values()))
    @rule(agent_id=agents, n=pick, outcome=outcomes, hears=st.booleans())
    def end_and_report(self, agent_id: str, n: int, outcome: Outcome, hears: bool = False) -> None:
        """It may hear what there is to hear before its report is written."""
        self.tree_ends(agent_id=agent_id, n=n, outcome=outcome)
        self.report(agent_id=agent_id, n=n, held_up=False)
        if hears:
            self.deliver(agent_id)
        if found := self._live(agent_id):
            self.finish(name=found[0].name)
        self.deliver(agent_id)

    @rule(agent_id=agents, device=st.integers(1, 2), ends=st.booleans())
    def hold(self, agent_id: str, device: int, ends: bool) -> None:
        """An operator drains a device, or lets it work again; who holds its session hears of it by a heartbeat."""
        hold = {HoldSlot.DRAINING: None if ends else Hold(HoldKind.DRAINING)}
        self.both.do(Call(None, "set_holds", ("dv", f"{agent_id}.d{device}", hold, self.clocks.wall, "")))

    @rule(org_id=orgs, n=pick, agent_id=agents, name=names, device=st.integers(1, 2), begins=st.booleans())
    def drain(self, org_id: str, n: int, agent_id: str, name: str, device: int, begins: bool) -> None:
        """As it goes when nobody dies; what has not begun is asked back, and may begin before the question comes."""
        self.work(org_id=org_id, n=n, agent_id=agent_id, name=name, device=device, how=False)
        self.hold(agent_id=agent_id, device=device, ends=False)
        if found := self._live(agent_id):
            self._beat(agent_id)
            self.finish(name=found[0].name)
            if begins:
                self.agents[agent_id].begins(n, self.clocks.monotonic)
            self.beat_and_hear(agent_id=agent_id)
            self._read(agent_id)
        self.hold(agent_id=agent_id, device=device, ends=True)

    @rule(org_id=orgs, n=pick, agent_id=agents, device=st.integers(1, 2))
    def beats_are_held_up(self, org_id: str, n: int, agent_id: str, device: int) -> None:
        """They come together, behind an assignment that the agent had not heard of when it sent them."""
        for _ in range(2 * UNSEEN_BEATS):
            self._beat(agent_id, held_up=True)
        if claimer := self._claim(org_id, n, agent_id, device, 1):
            self.finish(name=claimer)
        if found := self._live(agent_id):
            self._read(agent_id)
            self.finish(name=found[0].name)

    @rule(agent_id=agents)
    def stream_breaks(self, agent_id: str) -> None:
        if found := self._live(agent_id):
            self._begin(found[0].name, "detach", found[0].detach(found[1]))
        self.agents[agent_id].leaves()

    @precondition(lambda self: any(a.held for a in self.agents.values()))
    @rule(agent_id=agents)
    def host_dies(self, agent_id: str) -> None:
        self.agents[agent_id].host_dies()

    # Time, and the store.

    @rule(seconds=st.sampled_from((1.0, 1.0, 6.0, 6.0, 16.0, 40.0, 63.0)))
    def time_passes(self, seconds: float) -> None:
        self.clocks.monotonic += seconds
        self.clocks.wall += round(1000 * seconds)
        for agent in self.agents.values():
            agent.time_passed(self.clocks.monotonic)
        if seconds > ANSWER_SECONDS:
            for c in self.coordinators.values():
                self._run(c.gives_up_waiting())

    @rule(org_id=orgs)
    def promote(self, org_id: str) -> None:
        self.both.do(Call(org_id, "promote", (self.clocks.wall, 1000)))

    @rule()
    def keep(self) -> None:
        self.both.keep()

    @rule()
    def restart(self) -> None:
        """A store that comes back with all it had; who notices, and when, is another step."""
        self.lives += 1

    @rule()
    def go_back(self) -> None:
        """A failover to an older state; who notices, and when, is another step."""
        if self.both.go_back():
            self.lives += 1
            self.excused |= {f"t{n}" for n in range(1, self._tokens + 1)}
            self.unannounced = True
            self.verdicts.clear()
            there = {(org_id, u) for org_id, org in self.both.orgs.items() for u in org.jobs}
            self.acknowledged &= there

    @precondition(lambda self: self.both.calls)
    @rule(n=pick)
    def something_old_comes_again(self, n: int) -> None:
        """A message that was under way for long."""
        old = [c for c in self.both.calls[-20:] if c.name in LATE]
        if old:
            self.both.do(old[-1 - n % len(old)])


@pytest.fixture(scope="module")
def crashes_need(store_process: StoreProcess, request: pytest.FixtureRequest) -> Iterator[None]:
    """What all examples share."""
    with (
        asyncio.Runner() as runner,
        store_process.client() as raw,
        pytest.MonkeyPatch.context() as patch,
        CrashMachine.steps.at_least(LEAST, request),
    ):
        CrashMachine.clocks = Clocks(NOW)
        CrashMachine.clocks.install(patch)
        CrashMachine.process, CrashMachine.runner, CrashMachine.raw = store_process, runner, raw
        yield


class TestCrashMachine(CrashMachine.TestCase):
    """The machine as pytest runs it."""

    pytestmark: ClassVar = [pytest.mark.usefixtures("crashes_need"), pytest.mark.timeout(0 if NIGHTLY else 600)]
    settings = settings(
        max_examples=examples(15, 110, 1500),
        stateful_step_count=100 if NIGHTLY else 60,
        report_multiple_bugs=False,
    )
