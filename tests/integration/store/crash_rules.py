"""When callers, coordinators and the store do what, in the machine of crashes: its rules."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from qgjob_coordinator.model.enums import HoldKind, HoldSlot, Outcome
from qgjob_coordinator.model.fleet import Hold
from tests.integration.store.crash_ends import CrashEnds
from tests.integration.store.crash_lab import AGENTS, NAMES, ORGS
from tests.integration.store.side_by_side import Call
from tests.integration.store.stepped_store import Fate

JOBS = 30
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
    "spare",
    "sweep",
    "swept",
    "adopt",
    "overtaken",
    "forget",
}
"""Calls that may arrive once more, however late. A claim is none of them (docs/model says why)."""

pick = st.integers(0, 20)
orgs = st.sampled_from(("acme", "acme", "globex"))
agents = st.sampled_from(AGENTS)
names = st.sampled_from(NAMES)
how_far = st.sampled_from((False, True, True, Outcome.PASSED, Outcome.TEST_FAILED))
"""Whether an attempt begins, or with what it ends."""
fates = st.sampled_from((*[Fate.ONCE] * 6, Fate.TWICE, Fate.TWICE, Fate.LOST, Fate.NEVER, Fate.LATE))
faults = st.sampled_from((Fate.LOST, Fate.NEVER, Fate.LATE))


class CrashRules(CrashEnds):
    """See the module."""

    # Callers.

    @rule(name=names, org_id=orgs, tests=st.lists(st.integers(0, 5), min_size=1, max_size=2))
    def somebody_submits(self, name: str, org_id: str, tests: list[int]) -> None:
        self._submit(name, org_id, tests)

    def _submit(self, name: str, org_id: str, tests: list[int]) -> None:
        if len(self.both.orgs[org_id].jobs) < JOBS:
            self.begin(name, "submit", self.coordinators[name].submit(org_id, self.specs(org_id, tests)))

    @rule(org_id=orgs, n=pick, change=st.sampled_from((0, 0, 0, -1)))
    def somebody_cancels(self, org_id: str, n: int, change: int) -> None:
        if job := self.job(org_id, n):
            meant = [(job.spec.ulid, job.round + change)]
            self.both.do(Call(org_id, "cancel", (meant, self.clocks.wall), (("reason", "by hand"),)))

    @precondition(lambda self: any(j.status.final for o in self.both.orgs.values() for j in o.jobs.values()))
    @rule(name=names, org_id=orgs, n=pick, change=st.sampled_from((0, 0, 0, -1)))
    def somebody_retries(self, name: str, org_id: str, n: int, change: int) -> None:
        over = [j for j in self.both.orgs[org_id].jobs.values() if j.status.final]
        if over:
            job = over[n % len(over)]
            self.begin(name, "retry", self.coordinators[name].retry(org_id, job.spec.ulid, job.round + change))

    @rule(agent_id=agents, device=st.integers(1, 2), ends=st.booleans())
    def an_operator_drains(self, agent_id: str, device: int, ends: bool) -> None:
        """A device, or lets it work again; who holds its session hears of it by a heartbeat."""
        self._hold(agent_id, device, ends=ends)

    def _hold(self, agent_id: str, device: int, *, ends: bool) -> None:
        hold = {HoldSlot.DRAINING: None if ends else Hold(HoldKind.DRAINING)}
        self.both.do(Call(None, "set_holds", ("dv", f"{agent_id}.d{device}", hold, self.clocks.wall, "")))

    @rule(agent_id=agents)
    def an_operator_has_an_agent_forgotten(self, agent_id: str) -> None:
        """It does not wait for long: as soon as nothing is known that it may hold."""
        self.both.do(Call(None, "forget", (agent_id, self.clocks.wall, None)))

    @rule(name=names, agent_id=agents, comes_back=st.booleans())
    def a_host_is_gone_for_long(self, name: str, agent_id: str, comes_back: bool) -> None:
        """It is given up, swept and forgotten, and may come back."""
        self.agents[agent_id].host_dies()
        self.reap_for(name, 63.0, dies=False)
        self.an_operator_has_an_agent_forgotten(agent_id)
        if comes_back:
            self.connect_and_hear(agent_id, name)

    # Coordinators.

    @precondition(lambda self: any(self.claimers(a) for a in AGENTS))
    @rule(org_id=orgs, n=pick, agent_id=agents, device=st.integers(1, 2), count=st.integers(1, 2))
    def a_round(self, org_id: str, n: int, agent_id: str, device: int, count: int) -> None:
        self.claim(org_id, n, agent_id, device, count)

    @precondition(lambda self: any(self.claimers(a) for a in AGENTS))
    @rule(org_id=orgs, n=pick, agent_id=agents, device=st.integers(1, 2), first=faults, again=faults | st.none())
    def a_claim_fails(self, org_id: str, n: int, agent_id: str, device: int, first: Fate, again: Fate | None) -> None:
        """And its second attempt may fail, too: nobody knows then whether it happened."""
        if (c := self.claim(org_id, n, agent_id, device, 2)) is None:
            return
        live = c.sessions.get(agent_id)
        if live is not None and org_id not in live.session.orgs:
            self.go_on(c, -1, Fate.ONCE)  # the org is noted first
        self.go_on(c, -1, first)
        self.go_on(c, -1, again or Fate.ONCE)

    @rule(org_id=orgs, n=pick, agent_id=agents, name=names, device=st.integers(1, 2), how=how_far)
    def work(self, org_id: str, n: int, agent_id: str, name: str, device: int, how: Outcome | bool) -> None:
        self._work(org_id, n, agent_id, name, device, how)

    def _work(self, org_id: str, n: int, agent_id: str, name: str, device: int, how: Outcome | bool) -> None:
        """As it goes when nobody dies."""
        if self.live(agent_id) is None:
            self.connect_and_hear(agent_id, name)
        if all(not j.ready for j in self.both.orgs[org_id].jobs.values()):
            self._submit(name, org_id, [n % 6])
            self.finish(name)
        if claimer := self.claim(org_id, n, agent_id, device, 1 + n % 2):
            self.finish(claimer.name)
        self.deliver(agent_id)
        if how:
            self.agents[agent_id].begins(n, self.clocks.monotonic)
        if isinstance(how, Outcome):
            self.end_and_report(agent_id, n, how)

    @rule(org_id=orgs, n=pick, agent_id=agents, name=names, device=st.integers(1, 2), begins=st.booleans())
    def drain(self, org_id: str, n: int, agent_id: str, name: str, device: int, begins: bool) -> None:
        """As it goes when nobody dies; what has not begun is asked back, and may begin before the question comes."""
        self._work(org_id, n, agent_id, name, device, how=False)
        self._hold(agent_id, device, ends=False)
        if found := self.live(agent_id):
            self.beat(agent_id)
            self.finish(found[0].name)
            if begins:
                self.agents[agent_id].begins(n, self.clocks.monotonic)
            self.beat_and_hear(agent_id)
            self.read(agent_id)
        self._hold(agent_id, device, ends=True)

    @precondition(lambda self: any("reap" not in c.doing() for c in self.coordinators.values()))
    @rule(name=names)
    def reap(self, name: str) -> None:
        if "reap" not in self.coordinators[name].doing():  # one look at a time
            self.begin(name, "reap", self.coordinators[name].reap())

    @rule(name=names, seconds=st.sampled_from((16.0, 63.0)), dies=st.booleans())
    def reap_for(self, name: str, seconds: float, dies: bool) -> None:
        """Looks as often as reapers do, and may die before what it found is done."""
        c = self.coordinators[name]
        if "reap" in c.doing():
            self.finish(name)
        for _ in range(round(seconds / 3)):
            self.time_passes(3.0)
            self.begin(name, "reap", c.reap())
            self.run(c.go_on(-1))  # the look; what is closed and swept comes with other steps
            if not dies:
                self.finish(name)
        if dies:
            self.dies(name)

    @rule(name=names)
    def prune(self, name: str) -> None:
        self.begin(name, "prune", self.coordinators[name].prune(ORGS))

    @rule(name=names)
    def look_for_what_is_left(self, name: str) -> None:
        if "repair" not in self.coordinators[name].doing():  # as above
            self.begin(name, "repair", self.repair(self.coordinators[name]))

    @rule(name=names)
    def meet_the_store(self, name: str) -> None:
        self.begin(name, "check", self.coordinators[name].check(self.life))

    @precondition(lambda self: any(c.waits for c in self.coordinators.values()))
    @rule(name=names, n=pick, steps=st.integers(1, 4), fate=fates)
    def some_calls(self, name: str, n: int, steps: int, fate: Fate) -> None:
        for _ in range(steps):
            self.go_on(self.coordinators[name], n, fate)

    @precondition(lambda self: any(c.waits for c in self.coordinators.values()))
    @rule(name=names, newest_first=st.booleans())
    def all_calls(self, name: str, newest_first: bool) -> None:
        self.finish(name, -1 if newest_first else 0)

    @precondition(lambda self: any(c.waits for c in self.coordinators.values()))
    @rule(name=names, fate=faults)
    def the_store_is_away(self, name: str, fate: Fate) -> None:
        """For one coordinator, until it tries nothing more for the moment."""
        self.finish(name, fate=fate)

    @rule(name=names)
    def die(self, name: str) -> None:
        self.dies(name)

    # Time, and the store.

    @rule(seconds=st.sampled_from((1.0, 1.0, 6.0, 6.0, 16.0, 40.0, 63.0)))
    def some_time(self, seconds: float) -> None:
        self.time_passes(seconds)

    @rule(org_id=orgs)
    def promote(self, org_id: str) -> None:
        self.both.do(Call(org_id, "promote", (self.clocks.wall, 1000)))

    @rule()
    def keep(self) -> None:
        self.both.keep()
        self.seen.keep(self.both, self.coordinators.values())

    @rule()
    def restart(self) -> None:
        """A store that comes back with all it had; who notices, and when, is another step."""
        self.lives += 1

    @precondition(lambda self: self.seen.kept is not None)
    @rule()
    def go_back(self) -> None:
        """A failover to an older state; who notices, and when, is another step."""
        before = self.seen.leases(self.both)
        self.both.go_back()
        self.lives += 1
        self.seen.go_back(self.both, before)
        self.acknowledged &= {(org_id, u) for org_id, org in self.both.orgs.items() for u in org.jobs}

    @precondition(lambda self: self.both.calls)
    @rule(n=pick)
    def something_old_comes_again(self, n: int) -> None:
        """A message that was under way for long."""
        old = [c for c in self.both.calls[-20:] if c.name in LATE]
        if old:
            self.both.do(old[-1 - n % len(old)])

    @precondition(lambda self: self.both.late)
    @rule(n=pick)
    def something_comes_late(self, n: int) -> None:
        """What nobody waits for any more."""
        before = self.seen.leases(self.both)
        late = self.both.late.pop(n % len(self.both.late))

        async def comes() -> None:
            await late()

        self.run(comes())
        self.seen.came_late |= self.seen.leases(self.both) - before
        self.seen.losses += 1  # it may have taken an org off the active set
