"""An agent with only those rules that its leases rest on: epochs, 48 s since a sending, one tree on a device.

The real one is `qgjob_agent.core`, which has a machine of its own. This one stands beside coordinators that die and
come late, where what matters is when its trees live.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from qgjob_coordinator.model.enums import Outcome, Phase
from qgjob_coordinator.service.messages import Assign, Down, HeartbeatAck, Held, Welcome
from qgjob_coordinator.service.session import Session

WINDOW_SECONDS = 48.0


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
    outcome: Outcome | None = None


@dataclass
class LabAgent:
    """See the module. `now` is in seconds of a clock that all share: what drift may do is what the 14 s are for."""

    agent_id: str
    epoch: int = 0
    session: Session | None = None  # the stream that it listens to
    open: bool = False  # it was welcomed
    held: dict[str, Attempt] = field(default_factory=dict)
    confirmed_at: float | None = None
    hello_sent_at: float = 0.0
    sent_at: dict[int, float] = field(default_factory=dict)
    seq: int = 0

    def fresh(self, now: float) -> bool:
        return self.confirmed_at is not None and now < self.confirmed_at + WINDOW_SECONDS

    def living(self) -> list[Attempt]:
        """Attempts with a tree."""
        return [a for a in self.held.values() if a.phase is Phase.RUNNING]

    def shown(self) -> tuple[Held, ...]:
        return tuple(Held(a.org_id, a.ulid, a.token, a.number, a.phase, a.device_id) for a in self.held.values())

    def says_hello(self, now: float) -> int:
        """The epoch of its next session."""
        self.epoch += 1
        self.hello_sent_at, self.sent_at = now, {}
        self.leaves()
        return self.epoch

    def leaves(self) -> None:
        """Its stream is gone."""
        self.session, self.open = None, False

    def beats(self, now: float) -> int:
        """The number of a heartbeat that it sends."""
        self.seq += 1
        self.sent_at[self.seq] = now
        return self.seq

    def hears(self, message: Down, now: float) -> None:
        """A message of its session, in order."""
        if isinstance(message, Welcome):
            self.open = True
            self._confirmed(self.hello_sent_at, now)
            for token in set(self.held) - set(message.adopted):
                self._lose(token)
            for token in message.revoked:
                self._end(token)
        elif isinstance(message, HeartbeatAck):
            self._confirmed(self.sent_at.pop(message.seq, float("-inf")), now)
            for token in message.revoked:
                self._end(token)
            for token in message.released:
                self._lose(token)
        elif isinstance(message, Assign):
            for batch in message.batches:
                for g in batch.grants:
                    if g.token not in self.held:
                        self.held[g.token] = Attempt(batch.org_id, g.ulid, g.token, g.attempt, batch.device_id)

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

    def acknowledged(self, token: str) -> None:
        """A last report has done its work."""
        self.held.pop(token, None)

    def _confirmed(self, sent_at: float, now: float) -> None:
        if now - sent_at < WINDOW_SECONDS and sent_at > (self.confirmed_at or float("-inf")):
            self.confirmed_at = sent_at

    def _end(self, token: str) -> None:
        """Killed, and to be told."""
        if (a := self.held.get(token)) is not None:
            a.phase = Phase.SPOOLED

    def _lose(self, token: str) -> None:
        """Not its own any more."""
        a = self.held.get(token)
        if a is None:
            return
        if a.phase is Phase.UNSTARTED:
            del self.held[token]
        else:
            a.phase = Phase.SPOOLED
