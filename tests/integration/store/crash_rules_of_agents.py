"""When agents do what, in the machine of crashes: its rules."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from qgjob_coordinator.model.enums import Outcome
from qgjob_coordinator.service.agents.live import UNSEEN_BEATS
from tests.integration.store.crash_ends import CrashEnds
from tests.integration.store.crash_rules import agents, names, orgs, pick
from tests.integration.store.stepped_store import Fate

outcomes = st.sampled_from((Outcome.PASSED, Outcome.PASSED, Outcome.TEST_FAILED, Outcome.DEVICE_ERROR))
held_up = st.sampled_from((False, False, True))


class CrashRulesOfAgents(CrashEnds):
    """See the module."""

    @rule(agent_id=agents, name=names)
    def an_agent_connects(self, agent_id: str, name: str) -> None:
        self.connect(agent_id, name)

    @rule(agent_id=agents, name=names)
    def an_agent_connects_and_hears(self, agent_id: str, name: str) -> None:
        self.connect_and_hear(agent_id, name)

    @rule(agent_id=agents, name=names, steps=st.integers(1, 8))
    def an_agent_connects_and_again(self, agent_id: str, name: str, steps: int) -> None:
        """The stream breaks while its session is opened."""
        self.connect(agent_id, name)
        for _ in range(steps):
            self.go_on(self.coordinators[name], -1, Fate.ONCE)
        self.connect(agent_id, name)

    @precondition(lambda self: any(a.session for a in self.agents.values()))
    @rule(agent_id=agents, held_up=held_up)
    def an_agent_beats(self, agent_id: str, held_up: bool) -> None:
        self.beat(agent_id, held_up=held_up)

    @precondition(lambda self: any(a.session for a in self.agents.values()))
    @rule(agent_id=agents)
    def an_agent_beats_and_hears(self, agent_id: str) -> None:
        self.beat_and_hear(agent_id)

    @rule(org_id=orgs, n=pick, agent_id=agents, device=st.integers(1, 2))
    def beats_are_held_up(self, org_id: str, n: int, agent_id: str, device: int) -> None:
        """They come together, behind an assignment that the agent had not heard of when it sent them."""
        for _ in range(2 * UNSEEN_BEATS):
            self.beat(agent_id, held_up=True)
        if claimer := self.claim(org_id, n, agent_id, device, 1):
            self.finish(claimer.name)
        if found := self.live(agent_id):
            self.read(agent_id)
            self.finish(found[0].name)

    @rule(name=names, n=pick, breaks=st.booleans())
    def an_old_stream_is_read_or_breaks(self, name: str, n: int, breaks: bool) -> None:
        """One that its agent has left: its coordinator does not know that yet."""
        c = self.coordinators[name]
        old = [s for s in c.streams.values() if all(s.live.session is not a.session for a in self.agents.values())]
        if old:
            stream = old[n % len(old)]
            self.begin(name, "detach" if breaks else "read", c.detach(stream) if breaks else c.read(stream))

    @precondition(lambda self: any(a.session for a in self.agents.values()))
    @rule(agent_id=agents)
    def an_agent_hears(self, agent_id: str) -> None:
        self.deliver(agent_id)

    @precondition(lambda self: any(a.held for a in self.agents.values()))
    @rule(agent_id=agents, n=pick)
    def a_tree_begins(self, agent_id: str, n: int) -> None:
        self.deliver(agent_id)
        self.agents[agent_id].begins(n, self.clocks.monotonic)

    @precondition(lambda self: any(a.living() for a in self.agents.values()))
    @rule(agent_id=agents, n=pick, outcome=outcomes)
    def a_tree_ends(self, agent_id: str, n: int, outcome: Outcome) -> None:
        self.agents[agent_id].ends(n, outcome)

    @precondition(lambda self: any(a.held for a in self.agents.values()))
    @rule(agent_id=agents, n=pick, held_up=held_up)
    def an_agent_reports(self, agent_id: str, n: int, held_up: bool) -> None:
        self.report(agent_id, n, held_up=held_up)

    @precondition(lambda self: any(a.held for a in self.agents.values()))
    @rule(agent_id=agents, n=pick, outcome=outcomes, hears=st.booleans())
    def a_tree_ends_and_is_reported(self, agent_id: str, n: int, outcome: Outcome, hears: bool) -> None:
        self.end_and_report(agent_id, n, outcome, hears=hears)

    @precondition(lambda self: any(a.session for a in self.agents.values()))
    @rule(agent_id=agents)
    def a_stream_breaks(self, agent_id: str) -> None:
        self.stream_breaks(agent_id)

    @precondition(lambda self: any(a.held for a in self.agents.values()))
    @rule(agent_id=agents)
    def a_host_dies(self, agent_id: str) -> None:
        self.agents[agent_id].host_dies()
