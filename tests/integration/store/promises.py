"""What must hold beside coordinators that die, stand still and come late; see test_crashes.py."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qgjob_coordinator.service.agents.live import NOT_SHOWN
from qgjob_coordinator.service.agents.messages import ReportAck
from qgjob_coordinator.service.agents.reporting import NOT_WRITTEN
from qgjob_coordinator.service.agents.sessions import OVERTAKEN
from tests.fakes.lab_agent import LabAgent
from tests.fakes.store_model import Lease
from tests.integration.store.side_by_side import SideBySide
from tests.integration.store.stepped_coordinator import ANNOUNCING, Coordinator

Verdicts = dict[tuple[str, str, int], Any]


@dataclass
class Kept:
    """What was known in the state that the store may go back to."""

    granted: frozenset[str]
    verdicts: Verdicts
    announced: bool


@dataclass
class Seen:
    """What was seen so far, by which later states are judged. Tokens say which attempts are meant."""

    verdicts: Verdicts = field(default_factory=dict)
    losses: int = 0  # of what was to put an org on the active set
    repaired: int = 0  # up to which of these somebody has looked for what they left
    grants_forgotten: set[str] = field(default_factory=set)  # by a store that went back
    ends_forgotten: set[str] = field(default_factory=set)
    came_late: set[str] = field(default_factory=set)  # leases by a claim that nobody waited for
    kept: Kept | None = None

    @property
    def unannounced(self) -> bool:
        """Some org may have work that nobody was told of."""
        return self.losses > self.repaired

    @staticmethod
    def leases(both: SideBySide) -> set[str]:
        """Those of now."""
        return {j.lease.token for org in both.orgs.values() for j in org.jobs.values() if j.lease is not None}

    def keep(self, both: SideBySide, coordinators: Iterable[Coordinator]) -> None:
        """The store may go back to what it is now."""
        announced = not (self.unannounced or _announcing(coordinators))
        self.kept = Kept(frozenset(both.granted), dict(self.verdicts), announced)

    def go_back(self, both: SideBySide, leases_before: Collection[str]) -> None:
        """It did: of what happened since it knows nothing."""
        assert self.kept is not None
        self.grants_forgotten |= both.granted - self.kept.granted
        self.ends_forgotten |= self.leases(both) - set(leases_before)
        self.verdicts = dict(self.kept.verdicts)
        if not self.kept.announced:
            self.losses += 1


def check_fence(both: SideBySide, agents: Iterable[LabAgent], seen: Seen) -> None:
    """FENCE: while a tree lives, its token is the lease of its job."""
    for agent in agents:
        for a in agent.living():
            lease = _lease(both, a.org_id, a.ulid)
            held = lease is not None and lease.token == a.token
            excused = held or a.token in seen.grants_forgotten
            assert excused, f"FENCE: {a} lives on {agent.agent_id}, and its job has {lease}"


def check_verdicts(both: SideBySide, seen: Seen) -> None:
    """VERDICT: a round's verdict never changes."""
    for org_id, org in both.orgs.items():
        for job in org.jobs.values():
            if job.status.final:
                verdict = (job.status, job.outcome)
                first = seen.verdicts.setdefault((org_id, job.spec.ulid, job.round), verdict)
                assert first == verdict, f"VERDICT: round {job.round} of {job.spec.ulid} had {first}, has {verdict}"


def check_booked(
    both: SideBySide, agents: Mapping[str, LabAgent], coordinators: Iterable[Coordinator], seen: Seen
) -> None:
    """BOOKED: a session that goes on knows its leases, unless a claim is under way, or nobody waits for it any more.

    What its agent gave back the store may be told later; and that the store went back is not noticed at once.
    """
    for c in coordinators:
        if c.met != both.went_back or "claim" in c.doing():
            continue
        for session in c.streams:
            known = session.leases.keys() | agents[session.agent_id].given_back | seen.came_late
            for job in (j for org in both.orgs.values() for j in org.jobs.values()):
                lease = job.lease
                if session.refused is None and lease is not None:
                    own = (lease.agent_id, lease.epoch) == (session.agent_id, session.epoch)
                    assert not own or lease.token in known, f"BOOKED: {c.name} knows nothing of {lease}"


def came_late(both: SideBySide, seen: Seen) -> bool:
    """Whether a claim that nobody waited for has left leases."""
    return not seen.came_late.isdisjoint(seen.leases(both))


def check_announced(both: SideBySide, coordinators: Iterable[Coordinator]) -> None:
    """ANNOUNCED: an org with unfinished jobs is on the active set, unless somebody is about to put it there."""
    if _announcing(coordinators):
        return
    waiting = {org_id for org_id, org in both.orgs.items() if org.unfinished()}
    assert waiting <= both.fleet.active, f"ANNOUNCED: {waiting} have work, {both.fleet.active} are active"


def check_sessions(agents: Mapping[str, LabAgent], coordinators: Iterable[Coordinator]) -> None:
    """REACHED: claims and revocations find every session that goes on. ENDED: none ends for what did not happen."""
    for c in coordinators:
        for session, stream in c.streams.items():
            where = f"epoch {session.epoch} of {session.agent_id} at {c.name}"
            if session.refused is None:
                assert c.sessions.get(session.agent_id) is stream.live, f"REACHED: {where} goes on, and is not found"
                continue
            wrong = {NOT_SHOWN, NOT_WRITTEN}
            if session.epoch == agents[session.agent_id].epoch:
                wrong.add(OVERTAKEN)
            assert session.refused.message not in wrong, f"ENDED: {where}, since {session.refused.message}"


def check_written(both: SideBySide, agent: LabAgent, ack: ReportAck, seen: Seen) -> None:
    """WRITTEN: the lease of an attempt whose end is acknowledged is over."""
    excused = seen.grants_forgotten | seen.ends_forgotten | seen.came_late
    for report_id, _ in ack.entries:
        a = agent.held.get(agent.last_reports.get(report_id, ""))
        if a is not None and a.token not in excused:
            lease = _lease(both, a.org_id, a.ulid)
            assert lease is None or lease.token != a.token, f"WRITTEN: {a} was acknowledged, and its job has {lease}"


def check_settled(both: SideBySide, agents: Iterable[LabAgent]) -> None:
    """SETTLED: what the store says that an agent holds, it holds, when it is connected and nothing is on its way.

    And each end that it reported is acknowledged.
    """
    for agent in agents:
        if agent.session is None or not agent.open:
            continue
        unheard = [token for token in agent.last_reports.values() if token in agent.held]
        assert unheard == [], f"SETTLED: {agent.agent_id} reported the ends of {unheard} and hears nothing"
        for org in both.orgs.values():
            for job in org.jobs.values():
                mine = job.lease is not None and job.lease.agent_id == agent.agent_id
                assert not mine or job.lease.token in agent.held, f"SETTLED: {agent.agent_id} knows nothing of {job}"


def check_ended(both: SideBySide, acknowledged: Collection[tuple[str, str]]) -> None:
    """ENDING, when all is over: no lease is left, and whoever has work is served. ACKNOWLEDGED: nothing is lost."""
    leases = [j.lease for org in both.orgs.values() for j in org.jobs.values() if j.lease is not None]
    assert leases == [], "ENDING: these are left, and nobody looks for them"
    assert both.fleet.to_sweep == set(), "ENDING: closed and never swept"
    waiting = {org_id for org_id, org in both.orgs.items() if org.unfinished()}
    assert waiting <= both.fleet.active, f"ENDING: {waiting} have work and are not served"
    lost = set(acknowledged) - {(org_id, u) for org_id, org in both.orgs.items() for u in org.jobs}
    assert lost == set(), f"ACKNOWLEDGED: {lost} are lost"


def _announcing(coordinators: Iterable[Coordinator]) -> bool:
    """Whether somebody is about to put an org with work on the active set."""
    return bool({what for c in coordinators for what in c.doing()} & set(ANNOUNCING))


def _lease(both: SideBySide, org_id: str, ulid: str) -> Lease | None:
    job = both.orgs[org_id].jobs.get(ulid)
    return job.lease if job is not None else None
