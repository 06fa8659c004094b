"""What the machine of crashes consists of: coordinators and agents beside a store, and what can be done with them.

The rules of the machine, which say when, are in crash_rules*.py, and what must hold in promises.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant
from redis import Redis

from qgjob_coordinator.policy.proposals import Assignment
from qgjob_coordinator.service.agents.messages import Hello, ReportAck
from qgjob_coordinator.service.agents.session import Session
from tests.fakes.jobs import NOW, spec, ulid
from tests.fakes.lab_agent import LabAgent
from tests.fakes.store_model import ModelJob, gid_of
from tests.fakes.store_process import StoreProcess
from tests.integration.store import promises
from tests.integration.store.lab_clocks import Clocks
from tests.integration.store.side_by_side import SideBySide
from tests.integration.store.stepped_coordinator import ANNOUNCING, Coordinator, Stream
from tests.integration.store.stepped_store import Fate
from tests.integration.store.steps import Steps

ORGS = ("acme", "globex")
AGENTS = ("agent-1", "agent-2")
NAMES = ("c-1", "c-2")


class CrashLab(RuleBasedStateMachine):
    """See the module."""

    process: ClassVar[StoreProcess]
    runner: ClassVar[asyncio.Runner]
    raw: ClassVar[Redis]
    clocks: ClassVar[Clocks]
    steps: ClassVar = Steps()

    def __init__(self) -> None:
        super().__init__()
        self.both = SideBySide(self.runner, self.process.url, self.raw, ORGS)
        self.clocks.wall = NOW
        self.acknowledged: set[tuple[str, str]] = set()
        self.lives = 1
        self.coordinators = {name: self._made(name) for name in NAMES}
        self.agents = {a: LabAgent(a) for a in AGENTS}
        self.seen = promises.Seen()
        self.known = False
        self.sound = True
        self._ids = 0

    def _made(self, name: str) -> Coordinator:
        return Coordinator(name, self.both, self.clocks, self.acknowledged)

    def born(self, name: str) -> Coordinator:
        """A coordinator serves when it has met the store."""
        c = self.coordinators[name] = self._made(name)
        self.to_the_end(c, c.check(self.life))
        self.run(c.begin("unbooked", c.compare_books()))
        return c

    @initialize()
    def all_are_known(self) -> None:
        """The beginning: agents and orgs that any older state knows, too."""
        for name in NAMES:
            c = self.born(name)
        for org_id in ORGS:
            self.to_the_end(c, c.submit(org_id, self.specs(org_id, [0, 1, 2])))
        for agent in self.agents.values():
            self.to_the_end(c, c.connect(agent, self.hello(agent)))
            self.deliver(agent.agent_id)

    # What must hold after each step, and between the calls of a step.

    @invariant()
    def a_step_was_taken(self) -> None:
        self.steps.taken += self.known  # the beginning is none
        self.known = True
        self.check()

    def check(self) -> None:
        """The store is as the model, and what was promised holds."""
        self.sound = False
        self.both.check()
        coordinators = self.coordinators.values()
        promises.check_fence(self.both, self.agents.values(), self.seen)
        promises.check_verdicts(self.both, self.seen)
        promises.check_sessions(self.agents, coordinators)
        promises.check_booked(self.both, self.agents, coordinators, self.seen)
        if not self.seen.unannounced:
            promises.check_announced(self.both, coordinators)
        self.sound = True

    # Steps of coordinators.

    @property
    def life(self) -> str:
        """The store's, by name."""
        return f"life-{self.lives}"

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs what the event loop is needed for."""
        self.sound = False
        self.runner.get_loop().run_until_complete(work)  # `run` watches for signals, which costs more than a step
        for c in self.coordinators.values():
            if set(c.in_doubt) & set(ANNOUNCING):
                self.seen.losses += 1
            c.in_doubt.clear()

    def begin(self, name: str, what: str, work: Coroutine[Any, Any, None]) -> None:
        """A coordinator begins something."""
        self.run(self.coordinators[name].begin(what, work))

    def to_the_end(self, c: Coordinator, work: Coroutine[Any, Any, None]) -> None:
        """A coordinator does something, and whatever else it was doing, as if in one step."""
        self.run(c.begin("ending", work))
        self.run(c.finish())

    def go_on(self, c: Coordinator, n: int, fate: Fate) -> None:
        """One call, if one waits."""
        if c.waits:
            self.run(c.go_on(n, fate))
            self.check()

    def finish(self, name: str, n: int = 0, fate: Fate = Fate.ONCE) -> None:
        """All calls, one after the other: what must hold must hold in between, too."""
        while self.coordinators[name].waits:
            self.go_on(self.coordinators[name], n, fate)

    def time_passes(self, seconds: float) -> None:
        """For everybody."""
        self.clocks.monotonic += seconds
        self.clocks.wall += round(1000 * seconds)
        for agent in self.agents.values():
            agent.time_passed(self.clocks.monotonic)
        self.run(self._wake())

    async def _wake(self) -> None:
        for c in self.coordinators.values():
            await c.goes_on_in_time()

    def dies(self, name: str) -> None:
        """With all that it was doing; another one of its name comes after it."""
        c = self.coordinators[name]
        if set(c.doing()) & set(ANNOUNCING):
            self.seen.losses += 1
        self.run(c.die())
        self.born(name)

    async def repair(self, c: Coordinator) -> None:
        """It finds the work that nobody announced before it began."""
        before = self.seen.losses
        await c.repair()
        self.seen.repaired = max(before, self.seen.repaired)

    # What there is to choose from.

    def stream(self, session: Session | None) -> tuple[Coordinator, Stream] | None:
        """Who has the other end of a session's stream."""
        for c in self.coordinators.values():
            if session in c.streams:
                return c, c.streams[session]
        return None

    def live(self, agent_id: str) -> tuple[Coordinator, Stream] | None:
        """Where what the agent says goes."""
        return self.stream(self.agents[agent_id].session)

    def hello(self, agent: LabAgent) -> Hello:
        return agent.says_hello(self.clocks.monotonic)

    def job(self, org_id: str, n: int) -> ModelJob | None:
        jobs = list(self.both.orgs[org_id].jobs.values())
        return jobs[n % len(jobs)] if jobs else None

    def specs(self, org_id: str, tests: list[int]) -> list[Any]:
        made = []
        for n in tests:
            self._ids += 1
            path = f"tests/t{n}.spec.ts"
            made.append(spec(self._ids, org_id, ulid=ulid(self._ids), test_path=path, max_retries=1))
        return made

    def claimers(self, agent_id: str) -> list[Coordinator]:
        """Coordinators that take the agent's session for their own, and are in no round."""
        sessions = [(c, c.sessions.get(agent_id)) for c in self.coordinators.values() if "claim" not in c.doing()]
        return [c for c, live in sessions if live is not None and live.session.live()]

    def claim(self, org_id: str, n: int, agent_id: str, device: int, count: int) -> Coordinator | None:
        """A round begins, of any of these; which one's it is. More often that of the one that the agent listens to."""
        ready = [j for j in self.both.orgs[org_id].jobs.values() if j.ready]
        there = self.claimers(agent_id)
        found = self.live(agent_id)
        if found and found[0] in there:
            there += [found[0]] * 2
        if not ready or not there:
            return None
        c = there[n % len(there)]
        group = ready[n % len(ready)].group
        ulids = tuple([j.spec.ulid for j in ready if j.group == group][:count])
        zeros = (0,) * len(ulids)
        row = Assignment(f"{agent_id}.d{device}", agent_id, org_id, gid_of(group), ulids, None, (1.0,) * len(ulids))
        self.begin(c.name, "claim", c.claim([row._replace(scores=zeros)]))
        return c

    # What agents say and hear.

    def connect(self, agent_id: str, name: str) -> None:
        agent, c = self.agents[agent_id], self.coordinators[name]
        self.begin(name, "connect", c.connect(agent, self.hello(agent)))

    def connect_and_hear(self, agent_id: str, name: str) -> None:
        self.connect(agent_id, name)
        self.finish(name)
        self.deliver(agent_id)

    def beat(self, agent_id: str, *, held_up: bool = False) -> None:
        if self.live(agent_id):
            self.agents[agent_id].beats(self.clocks.monotonic)
            if not held_up:
                self.read(agent_id)

    def beat_and_hear(self, agent_id: str) -> None:
        if found := self.live(agent_id):
            self.beat(agent_id)
            self.finish(found[0].name)
            self.deliver(agent_id)

    def read(self, agent_id: str) -> None:
        """What the agent has said arrives."""
        if found := self.live(agent_id):
            c, stream = found
            self.begin(c.name, "read", c.read(stream))

    def report(self, agent_id: str, n: int, *, held_up: bool) -> None:
        if self.live(agent_id):
            self.agents[agent_id].reports(n, self.clocks.wall)
            if not held_up:
                self.read(agent_id)

    def end_and_report(self, agent_id: str, n: int, outcome: Any, *, hears: bool = False) -> None:
        """It may hear what there is to hear before its report is written."""
        self.agents[agent_id].ends(n, outcome)
        self.report(agent_id, n, held_up=False)
        if hears:
            self.deliver(agent_id)
        if found := self.live(agent_id):
            self.finish(found[0].name)
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
                promises.check_written(self.both, agent, message, self.seen)
            agent.hears(message, self.clocks.monotonic)
        if session.refused is not None:
            self.stream_breaks(agent_id)

    def stream_breaks(self, agent_id: str) -> None:
        if found := self.live(agent_id):
            self.begin(found[0].name, "detach", found[0].detach(found[1]))
        self.agents[agent_id].leaves()
