"""The core in a world of faults: broken streams, late and repeated messages, dead daemons, a reaper. Hypothesis plays.

The world is a small, honest coordinator and store, the supervisors (which end their trees in time, whatever the daemon
does) and the disk. What must hold at every step:

P4      at most one tree lives on a device
FENCE   a living tree's token is a lease in the store
TIME    nothing is begun when the last confirmed message was sent 48 s ago or more
SPOOL   a last report is on the disk before it is sent, unless the disk refuses it
RECALL  what was given back is never begun
RESULT  a new session releases no lease whose result is spooled
DISK    nothing is begun while the disk refuses writes, or has little room
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from qgjob_agent.core import events, instructions
from qgjob_agent.core.disk import READMIT_FACTOR
from qgjob_agent.core.machine import Machine
from qgjob_agent.core.values import (
    AgentFacts,
    App,
    Assignment,
    DeathCause,
    DeviceFacts,
    Finished,
    Limits,
    Outcome,
    Progress,
    SpooledReport,
    Started,
    Target,
    Verdict,
)
from tests.fakes.agent_core import assignment

DEVICES = ("d1", "d2")
LEASE_SECONDS = 60.0
WINDOW_SECONDS = 48.0
GIVE_UP_SECONDS = 62.0
MIN_FREE_BYTES = 100


@dataclass
class Stream:
    """One session as the coordinator has it; messages travel in order, and may stop anywhere."""

    epoch: int
    up: list[Any] = field(default_factory=list)
    down: list[Any] = field(default_factory=list)
    welcomed: bool = False


@dataclass
class StoredLease:
    epoch: int
    device: str
    revoked: bool = False


class World(RuleBasedStateMachine):
    """The rules are what may happen next."""

    @initialize()
    def begin(self) -> None:
        self.now = 1_000.0
        self.epoch = 0  # the agent's epoch file
        self.stored_epoch = 0
        self.open = False
        self.renewed_at = self.now
        self.leases: dict[str, StoredLease] = {}
        self.tokens = 0
        self.given_back: set[str] = set()
        self.trees: dict[str, str] = {}  # token -> device
        self.results: dict[str, Finished | DeathCause] = {}  # of supervisors, until the spool has them
        self.assigned: dict[str, Assignment] = {}
        self.spool: dict[int, SpooledReport] = {}
        self.unwritten: dict[int, SpooledReport] = {}  # what the disk refused, in the daemon's memory
        self.disk_refuses = False
        self.told_refused = self.told_short = False  # what the daemon knows of it
        self.free_bytes = 1_000
        self.lease_ends_at = 0.0  # the small file for the supervisors
        self.stream: Stream | None = None
        self.late: list[Any] = []
        self.start_daemon()

    # ---- the agent's host ----

    def start_daemon(self) -> None:
        facts = [DeviceFacts(device, device, Target.EMULATOR) for device in DEVICES]
        self.machine = Machine(AgentFacts("a", "i", "0", "h"), facts, Limits(credit=100, min_free_bytes=MIN_FREE_BYTES))
        self.unwritten, self.unremoved, self.queued = {}, [], []
        self.told_refused = self.told_short = False
        self.the_disk_is_measured(self.free_bytes)
        for device in self.machine.state.devices.values():
            device.installed = App("acme", "v1")
        known = {report.token for report in self.spool.values()}
        left = [token for token in [*self.trees, *self.results] if token not in known]
        running = [events.RunningAttempt(self.assigned[token], 1) for token in left]
        self.tell(events.Recovered(list(self.spool.values()), running))
        for token in list(self.results):
            if token in known:
                del self.results[token]
            else:
                self.tell_result(token)

    def tell(self, event: events.Event) -> None:
        for told in self.machine.handle(event, self.now, int(self.now * 1000)):
            self.carry_out(told)
        while self.queued:
            self.tell(self.queued.pop(0))

    def carry_out(self, told: instructions.Instruction) -> None:  # noqa: C901 - a table
        match told:
            case instructions.Start(device_id=device, assignments=assignments):
                for item in assignments:
                    self.start_tree(item.token, device)
            case instructions.Kill(token=token):
                assert token in self.trees or token in self.results
            case instructions.Persist(reports=reports):
                self.persist([report.spooled() for report in reports])
            case instructions.Unspool(report_ids=report_ids):
                self.unspool(report_ids)
            case instructions.RenewLease(confirmed_at=at, window_seconds=window):
                assert at + window >= self.lease_ends_at
                self.lease_ends_at = at + window
            case instructions.SendReports(reports=reports):
                for report in reports:
                    if not isinstance(report.body, Started | Progress):
                        kept = {**self.spool, **self.unwritten}
                        assert report.report_id in kept, "SPOOL: sent and not written down"
                self.send(told)
            case instructions.CloseSession():
                self.break_stream()
            case instructions.FlushAt():
                self.flush_wanted = True
            case instructions.SendHello() | instructions.SendHeartbeat() | instructions.SendRecallAnswer():
                self.send(told)

    def unspool(self, report_ids: list[int]) -> None:
        for report_id in report_ids:
            self.unwritten.pop(report_id, None)
        if self.disk_refuses and any(report_id in self.spool for report_id in report_ids):
            self.unremoved += report_ids
            self.told_refused = True
            self.queued.append(events.SpoolFailed("No space left on device"))
            return
        for report_id in report_ids:
            self.spool.pop(report_id, None)

    def persist(self, reports: list[SpooledReport]) -> None:
        self.unwritten |= {report.report_id: report for report in reports}
        if self.disk_refuses:
            self.told_refused = True
            self.queued.append(events.SpoolFailed("No space left on device"))
            return
        for report in self.unwritten.values():
            self.spool[report.report_id] = report
            self.results.pop(report.token, None)
        self.unwritten = {}
        if self.told_refused:
            for report_id in self.unremoved:
                self.spool.pop(report_id, None)
            self.unremoved = []
            self.told_refused = False
            self.queued.append(events.SpoolRecovered())

    def start_tree(self, token: str, device: str) -> None:
        assert not self.told_refused, "DISK"
        assert not self.told_short, "DISK"
        assert self.now < self.lease_ends_at, "TIME"
        assert token not in self.given_back, "RECALL"
        assert device not in self.trees.values(), "P4"
        self.trees[token] = device

    def send(self, told: Any) -> None:
        if self.stream is not None and self.stream.epoch == told.epoch:
            self.stream.up.append(told)

    def tell_result(self, token: str) -> None:
        result, at = self.results[token], int(self.now * 1000)
        if isinstance(result, DeathCause):
            self.tell(events.RunnerReported([events.AttemptKilled(token, at, result)]))
        else:
            self.tell(events.RunnerReported([events.AttemptFinished(token, result)]))

    def end_tree(self, token: str, result: Finished | DeathCause) -> None:
        del self.trees[token]
        self.results[token] = result
        self.tell_result(token)

    def end_leases(self) -> None:
        """What the supervisors do by themselves."""
        if self.now >= self.lease_ends_at:
            for token in list(self.trees):
                self.end_tree(token, DeathCause.LEASE_LOST)

    def break_stream(self) -> None:
        if self.stream is not None:
            self.late += self.stream.down
            lost, self.stream = self.stream, None
            self.tell(events.SessionLost(lost.epoch))

    # ---- what may happen at the host ----

    @rule(seconds=st.sampled_from([0.001, 1.0, 5.0, 14.0, 30.0, 48.0, 62.0]))
    def time_passes(self, seconds: float) -> None:
        """In steps that miss no deadline."""
        end = self.now + seconds
        while self.now < end:
            deadlines = [self.lease_ends_at, self.renewed_at + GIVE_UP_SECONDS, self.machine.state.wake_at or end]
            self.now = min([end, *(at for at in deadlines if at > self.now)])
            self.end_leases()
            self.tell(events.Woken())
            if self.now >= self.renewed_at + GIVE_UP_SECONDS:
                self.reap()

    @rule()
    def flush(self) -> None:
        self.tell(events.FlushDue())

    @precondition(lambda self: self.trees)
    @rule(data=st.data(), outcome=st.sampled_from([Outcome.PASSED, Outcome.TEST_FAILED]))
    def tree_ends_by_itself(self, data: st.DataObject, outcome: Outcome) -> None:
        token = data.draw(st.sampled_from(sorted(self.trees)))
        self.end_tree(token, Finished(outcome, 1, 2, 1))

    @rule(refuses=st.booleans())
    def the_disk_changes_its_mind(self, *, refuses: bool) -> None:
        self.disk_refuses = refuses

    @rule(free=st.sampled_from([MIN_FREE_BYTES // 2, MIN_FREE_BYTES, 2 * MIN_FREE_BYTES]))
    def the_disk_is_measured(self, free: int) -> None:
        self.free_bytes = free
        if free < MIN_FREE_BYTES:
            self.told_short = True
        elif free > MIN_FREE_BYTES * READMIT_FACTOR:
            self.told_short = False
        self.tell(events.DiskMeasured(free))

    @precondition(lambda self: any(lease.cause for lease in self.machine.state.leases.values()))
    @rule()
    def killed_trees_die(self) -> None:
        for token in list(self.trees):
            cause = self.machine.state.leases[token].cause
            if cause is not None:
                self.end_tree(token, cause)

    @rule()
    def daemon_dies_and_returns(self) -> None:
        self.break_stream_silently()
        self.start_daemon()

    def break_stream_silently(self) -> None:
        if self.stream is not None:
            self.late += self.stream.down
            self.stream = None

    @rule()
    def stream_breaks(self) -> None:
        self.break_stream()

    @precondition(lambda self: self.stream is None)
    @rule()
    def connect(self) -> None:
        self.epoch += 1
        self.stream = Stream(self.epoch)
        self.tell(events.SessionConnecting(self.epoch))

    @rule(seconds=st.sampled_from([0.1, 47.0, 49.0, 63.0]))
    def the_coordinator_is_away_for_a_while(self, seconds: float) -> None:
        self.break_stream()
        self.time_passes(seconds)
        self.connect()
        self.everything_is_delivered()

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def a_message_of_an_old_stream_comes_late(self, data: st.DataObject) -> None:
        self.tell(self.late.pop(data.draw(st.integers(0, len(self.late) - 1))))

    # ---- the coordinator ----

    @precondition(lambda self: self.stream and self.stream.up)
    @rule()
    def coordinator_takes_one(self) -> None:
        assert self.stream is not None
        stream, told = self.stream, self.stream.up.pop(0)
        match told:
            case instructions.SendHello(epoch=epoch, held=held):
                self.take_hello(stream, epoch, {shown.token for shown in held})
            case instructions.SendHeartbeat(seq=seq, held=held):
                self.take_heartbeat(stream, seq, [shown.token for shown in held])
            case instructions.SendReports(reports=reports):
                self.take_reports(stream, reports)
            case instructions.SendRecallAnswer(released=released):
                for token in released:
                    self.given_back.add(token)
                    self.leases.pop(token, None)

    def take_hello(self, stream: Stream, epoch: int, shown: set[str]) -> None:
        assert epoch > self.stored_epoch
        self.stored_epoch, self.open, self.renewed_at = epoch, True, self.now
        adopted = [token for token in sorted(shown) if token in self.leases]
        for token in adopted:
            self.leases[token].epoch = epoch
        spooled = {report.token for report in self.spool.values()}
        for token in [token for token, lease in self.leases.items() if lease.epoch < epoch]:
            assert token not in spooled, "RESULT"
            del self.leases[token]
        released = sorted(shown - set(adopted))
        revoked = [token for token in adopted if self.leases[token].revoked]
        stream.welcomed = True
        times = (5_000, 15_000, int(LEASE_SECONDS * 1000), 10_000)
        # Every other coordinator is an older one, which takes no start for told by a result.
        stream.down.append(events.Welcomed(epoch, *times, adopted, released, revoked, joined_reports=epoch % 2 == 0))

    def take_heartbeat(self, stream: Stream, seq: int, shown: list[str]) -> None:
        if not self.open or stream.epoch != self.stored_epoch:
            self.break_stream()
            return
        self.renewed_at = self.now
        revoked = [token for token in shown if token in self.leases and self.leases[token].revoked]
        released = [token for token in shown if token not in self.leases]
        stream.down.append(events.HeartbeatConfirmed(stream.epoch, seq, revoked, released))

    def take_reports(self, stream: Stream, reports: list[Any]) -> None:
        entries = []
        for report in reports:
            token = report.lease.token
            applied = token in self.leases
            if isinstance(report.body, Finished):
                assert report.body.begun, "only a Started would tell that the test began"
            if applied and report.final:
                assert token not in self.trees, "a death is told before it"
                del self.leases[token]
            entries.append((report.report_id, Verdict.APPLIED if applied else Verdict.STALE))
        stream.down.append(events.ReportsAcknowledged(stream.epoch, entries))

    @precondition(lambda self: self.stream and self.stream.down)
    @rule()
    def agent_hears_one(self) -> None:
        assert self.stream is not None
        self.tell(self.stream.down.pop(0))

    @precondition(lambda self: self.stream)
    @rule()
    def everything_is_delivered(self) -> None:
        self.tell(events.FlushDue())
        messages = 0
        while self.stream is not None and (self.stream.up or self.stream.down):
            messages += 1
            assert messages < 1_000, "they talk for ever"
            if self.stream.up:
                self.coordinator_takes_one()
            else:
                self.agent_hears_one()

    @precondition(lambda self: self.serving)
    @rule(device=st.sampled_from(DEVICES), count=st.integers(1, 3))
    def assign(self, device: str, count: int) -> None:
        assert self.stream is not None
        batch = []
        for _ in range(count):
            self.tokens += 1
            what = assignment(f"t{self.tokens}", device)
            self.assigned[what.token] = what
            self.leases[what.token] = StoredLease(self.stream.epoch, device)
            batch.append(what)
        self.stream.down.append(events.Assigned(self.stream.epoch, batch))

    @property
    def serving(self) -> bool:
        """True while the coordinator may claim for this session."""
        return self.stream is not None and self.stream.welcomed and self.open and self.stream.epoch == self.stored_epoch

    @precondition(lambda self: self.serving and self.leases)
    @rule(data=st.data())
    def recall(self, data: st.DataObject) -> None:
        assert self.stream is not None
        tokens = data.draw(st.lists(st.sampled_from(sorted(self.leases)), unique=True, max_size=3))
        self.stream.down.append(events.Recalled(self.stream.epoch, 1, tokens))

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), hint=st.booleans())
    def cancel(self, data: st.DataObject, *, hint: bool) -> None:
        """The lease stays on the job until the tree is dead; the hint to the agent may be lost."""
        token = data.draw(st.sampled_from(sorted(self.leases)))
        self.leases[token].revoked = True
        if hint and self.serving:
            assert self.stream is not None
            self.stream.down.append(events.Revoked(self.stream.epoch, token, "cancelled", 0))

    def reap(self) -> None:
        """The session was silent for a lease and two seconds: it is closed, and its leases are given up."""
        self.open = False
        self.renewed_at = float("inf")
        self.leases = {token: lease for token, lease in self.leases.items() if lease.epoch > self.stored_epoch}

    # ---- what must hold ----

    @invariant()
    def one_tree_on_a_device(self) -> None:
        living = list(getattr(self, "trees", {}).values())
        assert len(living) == len(set(living)), "P4"

    @invariant()
    def a_living_tree_has_its_lease(self) -> None:
        for token in getattr(self, "trees", {}):
            lease = self.machine.state.leases[token]
            dying = lease.cause is not None
            assert token in self.leases or dying or self.loss_under_way(token), f"FENCE: {token}"

    def loss_under_way(self, token: str) -> bool:
        """A Welcome that takes the lease away is on its way, as when a result was shown by nobody."""
        down = self.stream.down if self.stream is not None else []
        return any(isinstance(told, events.Welcomed) and token not in told.adopted for told in down)

    def teardown(self) -> None:
        """Without further faults everything ends: nothing lives, nothing is held, the spool is empty."""
        if not hasattr(self, "trees"):
            return
        self.late.clear()
        self.disk_refuses = False
        self.the_disk_is_measured(2 * MIN_FREE_BYTES)
        for _ in range(6 + len(self.machine.state.leases) + len(self.leases)):
            if self.stream is None:
                self.connect()
            self.settle()
            for token in list(self.trees):
                self.end_tree(token, Finished(Outcome.PASSED, 1, 2, 1))
            self.now += 5
            self.tell(events.Woken())
        self.settle()
        assert self.trees == {}
        assert self.machine.state.leases == {}
        assert self.leases == {}
        assert self.spool == {}

    def settle(self) -> None:
        while self.stream is not None and (self.stream.up or self.stream.down):
            self.everything_is_delivered()
            for token in list(self.trees):
                self.end_tree(token, Finished(Outcome.PASSED, 1, 2, 1))


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
