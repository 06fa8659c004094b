"""An agent with only those rules that its leases rest on: epochs, 48 s since a sending, one tree on a device.

The real one is `qgjob_agent.core`, which has a machine of its own. This one stands beside coordinators that die and
come late, where what matters is when its trees live. What it says waits in `up`, in order, until somebody reads it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from qgjob_coordinator.model.enums import DeathCause, Outcome, Phase, Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.service.agents.messages import (
    PROTOCOL_VERSION,
    Assign,
    DeadReport,
    Down,
    FinishedReport,
    HeartbeatAck,
    Held,
    Hello,
    Recall,
    Report,
    ReportAck,
    Revoke,
    StartedReport,
    Welcome,
)
from qgjob_coordinator.service.agents.session import Session

WINDOW_SECONDS = 48.0
DEVICES = 2
CREDIT = 1000


@dataclass(frozen=True)
class Beat:
    """A heartbeat, with what was held when it was sent."""

    seq: int
    held: tuple[Held, ...]


@dataclass(frozen=True)
class Answer:
    """To a recall: what is given back."""

    recall_id: int
    released: tuple[str, ...]


Up = Beat | Answer | Report


@dataclass
class Attempt:
    """What the agent holds of one attempt. `outcome` None in the spool: its tree was killed, or never began."""

    org_id: str
    ulid: str
    token: str
    number: int
    device_id: str
    phase: Phase = Phase.UNSTARTED
    began: bool = False
    told: bool = False  # its start was reported
    outcome: Outcome | None = None
    cause: DeathCause = DeathCause.LEASE_LOST


@dataclass
class LabAgent:
    """See the module. `now` is in seconds of a clock that all share: what drift may do is what the 14 s are for."""

    agent_id: str
    epoch: int = 0
    session: Session | None = None  # the stream that it listens to
    open: bool = False  # it was welcomed
    held: dict[str, Attempt] = field(default_factory=dict)
    up: deque[Up] = field(default_factory=deque)  # of its newest stream
    last_reports: dict[int, str] = field(default_factory=dict)  # of its newest stream, by id: of which attempt
    given_back: set[str] = field(default_factory=set)
    confirmed_at: float | None = None
    hello_sent_at: float = 0.0
    sent_at: dict[int, float] = field(default_factory=dict)
    seq: int = 0
    report_id: int = 0

    @property
    def devices(self) -> tuple[DeviceInfo, ...]:
        names = [f"{self.agent_id}.d{n}" for n in range(1, DEVICES + 1)]
        return tuple(DeviceInfo(name, name, Target.EMULATOR) for name in names)

    def fresh(self, now: float) -> bool:
        return self.confirmed_at is not None and now < self.confirmed_at + WINDOW_SECONDS

    def living(self) -> list[Attempt]:
        """Attempts with a tree."""
        return [a for a in self.held.values() if a.phase is Phase.RUNNING]

    def shown(self) -> tuple[Held, ...]:
        return tuple(Held(a.org_id, a.ulid, a.token, a.number, a.phase, a.device_id) for a in self.held.values())

    # What it says.

    def says_hello(self, now: float) -> Hello:
        """The first message of its next stream."""
        self.epoch += 1
        self.hello_sent_at, self.sent_at = now, {}
        self.leaves()
        self.up, self.last_reports = deque(), {}
        instance = f"{self.agent_id}.1"
        return Hello(
            PROTOCOL_VERSION, self.agent_id, instance, self.epoch, "v", "h", self.devices, self.shown(), CREDIT
        )

    def leaves(self) -> None:
        """Its stream is gone."""
        self.session, self.open = None, False

    def beats(self, now: float) -> None:
        """Sends a heartbeat."""
        self.seq += 1
        self.sent_at[self.seq] = now
        self.up.append(Beat(self.seq, self.shown()))

    def reports(self, n: int, now_ms: int) -> None:
        """Of one attempt, as it stands: it runs, or it ended. It may say so again until that is acknowledged."""
        known = [a for a in self.held.values() if a.phase is not Phase.UNSTARTED]
        if not (known and self.open):
            return
        a = known[n % len(known)]
        self.report_id += 1
        what = (self.report_id, a.org_id, a.ulid, a.token)
        if a.phase is Phase.RUNNING:
            a.told = True
            self.up.append(StartedReport(*what, now_ms))
            return
        self.last_reports[self.report_id] = a.token
        if a.outcome is None:
            self.up.append(DeadReport(*what, a.cause, now_ms, a.began))
        else:
            rest = (None, None, None, False)  # nothing installed, no result, no error, a build that is there
            self.up.append(FinishedReport(*what, a.outcome, now_ms, now_ms, 1000, *rest, begun=not a.told))

    # What it hears.

    def hears(self, message: Down, now: float) -> None:
        """A message of its session, in order."""
        if isinstance(message, Welcome):
            self._welcomed(message, now)
        elif isinstance(message, HeartbeatAck):
            self._confirmed(self.sent_at.pop(message.seq, float("-inf")), now)
            self._settle(message.revoked, message.released)
        elif isinstance(message, Assign):
            for batch in message.batches:
                for g in batch.grants:
                    attempt = Attempt(batch.org_id, g.ulid, g.token, g.attempt, batch.device_id)
                    self.held.setdefault(g.token, attempt)
        elif isinstance(message, ReportAck):
            for report_id, _ in message.entries:
                self.held.pop(self.last_reports.pop(report_id, ""), None)
        elif isinstance(message, Recall):
            self._recalled(message)
        elif isinstance(message, Revoke):
            self._end(message.token)

    def _welcomed(self, message: Welcome, now: float) -> None:
        self.open = True
        self._confirmed(self.hello_sent_at, now)
        self._settle(message.revoked, set(self.held) - set(message.adopted))

    def _recalled(self, message: Recall) -> None:
        """What is not begun never will be; only the answer releases it."""
        asked = [self.held[token] for token in message.tokens if token in self.held]
        back = tuple(a.token for a in asked if a.phase is Phase.UNSTARTED)
        for token in back:
            del self.held[token]
        self.given_back.update(back)
        self.up.append(Answer(message.recall_id, back))

    def _settle(self, revoked: Iterable[str], gone: Iterable[str]) -> None:
        for token in revoked:
            self._end(token)
        for token in gone:
            self._lose(token)

    def _confirmed(self, sent_at: float, now: float) -> None:
        if now - sent_at < WINDOW_SECONDS and sent_at > (self.confirmed_at or float("-inf")):
            self.confirmed_at = sent_at

    def _end(self, token: str) -> None:
        """Killed, and to be told."""
        a = self.held.get(token)
        if a is not None and a.phase is not Phase.SPOOLED:
            a.phase, a.cause = Phase.SPOOLED, DeathCause.REVOKED

    def _lose(self, token: str) -> None:
        """Not its own any more."""
        a = self.held.get(token)
        if a is None:
            return
        if a.phase is Phase.UNSTARTED:
            del self.held[token]
        else:
            self._end(token)

    # What happens to it.

    def begins(self, n: int, now: float) -> None:
        """One that is unstarted begins, if its device is free and the lease is fresh."""
        busy = {a.device_id for a in self.living()}
        ready = [a for a in self.held.values() if a.phase is Phase.UNSTARTED and a.device_id not in busy]
        if ready and self.fresh(now):
            one = ready[n % len(ready)]
            one.phase, one.began = Phase.RUNNING, True

    def ends(self, n: int, outcome: Outcome) -> None:
        """A tree ends by itself."""
        if living := self.living():
            one = living[n % len(living)]
            one.phase, one.outcome = Phase.SPOOLED, outcome

    def time_passed(self, now: float) -> None:
        """The supervisors kill what the lease no longer covers."""
        if not self.fresh(now):
            for a in self.living():
                a.phase = Phase.SPOOLED

    def host_dies(self) -> None:
        """With all that lives on it; the spool is on its disk."""
        self.held = {t: a for t, a in self.held.items() if a.phase is Phase.SPOOLED}
        self.confirmed_at = None
        self.leaves()
        self.up, self.last_reports = deque(), {}
