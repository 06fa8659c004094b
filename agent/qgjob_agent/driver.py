"""The shell around the core: feeds it events, one at a time, and carries out its instructions in order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from qgjob_agent.clock import monotonic_seconds, wall_ms
from qgjob_agent.core import instructions as do
from qgjob_agent.core.events import (
    AttemptEvent,
    DeviceLost,
    DeviceProbed,
    DeviceSeen,
    Event,
    FlushDue,
    InstallEnded,
    LaunchRefused,
    RunnerReported,
    SpoolFailed,
    SpoolRecovered,
    Woken,
)
from qgjob_agent.errors import TreesLeftError
from qgjob_agent.executions.lease_file import LeaseFile, LeaseTime

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgjob_agent.core.machine import Machine
    from qgjob_agent.core.outbox import Report
    from qgjob_agent.core.values import DeviceFacts
    from qgjob_agent.devices.base import DeviceProvider
    from qgjob_agent.runners.base import Runner
    from qgjob_agent.spool import Spool
    from qgjob_agent.transitions import Transitions


class Upstream(Protocol):
    """The way to the coordinator."""

    def send(self, told: Any) -> None:
        """Queues one Send instruction; what belongs to an epoch that is over is dropped."""

    def send_log(self, job_id: str, token: str, offset: int, data: bytes) -> None:
        """Queues a piece of a log; may drop it."""

    def end_session(self, epoch: int, reason: str) -> None:
        """Ends the stream of this epoch; a new one follows."""


class Driver:
    """Runs the machine. All methods belong to the event loop; `connect` wires the shells in before the first event."""

    def __init__(self, spool: Spool, lease_file: LeaseFile, transitions: Transitions) -> None:
        self._spool = spool
        self._lease_file = lease_file
        self._transitions = transitions
        self._events: deque[Event] = deque()
        self._handling = False
        self._unwritten: list[Report] = []
        self._unremoved: list[int] = []  # acknowledged, and the disk refused to forget them
        self._disk_refuses = False
        self._lease = LeaseTime(0.0, 0.0, 0.0)  # over, until a first confirmation
        self._wake: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.stopped = asyncio.Event()
        self.failure: Exception | None = None
        self._do: dict[type[Any], Callable[[Any], None]] = {
            do.Install: self._install,
            do.Start: self._start,
            do.Kill: self._kill,
            do.Probe: self._probe,
            do.Persist: self._persist,
            do.Unspool: self._unspool,
            do.RenewLease: self._renew_lease,
            do.FlushAt: self._flush_at,
            do.WakeAt: self._wake_at,
            do.CloseSession: self._close_session,
            do.Note: self._note,
            do.Stop: self._stop,
        }

    def connect(
        self,
        machine: Machine,
        runner: Runner,
        provider: DeviceProvider,
        upstream: Upstream,
        look_at_disk: Callable[[], None] = lambda: None,
    ) -> None:
        """Wires the shells in. `look_at_disk` tells at once what is free."""
        self._look_at_disk = look_at_disk
        self._machine = machine
        self._runner = runner
        self._provider = provider
        self._upstream = upstream
        for kind in (
            do.SendHello,
            do.SendHeartbeat,
            do.SendReports,
            do.SendInstalled,
            do.SendRecallAnswer,
            do.SendInventory,
            do.SendProbeResult,
            do.SendBye,
        ):
            self._do[kind] = upstream.send

    def dispatch(self, event: Event) -> None:
        """Takes an event. What the shells say while instructions are carried out waits its turn.

        An error here is a fault of the program, and after it nobody knows what was done: the agent ends, its
        supervisors go on, and the next daemon finds them.
        """
        events = self._events
        events.append(event)
        if self._handling:
            return
        self._handling = True
        table, transitions = self._do, self._transitions
        try:
            while events:
                current = events.popleft()
                if transitions.enabled:
                    transitions.event(current)
                for instruction in self._machine.handle(current, monotonic_seconds(), wall_ms()):
                    if transitions.enabled:
                        transitions.instruction(instruction)
                    table[type(instruction)](instruction)
        except Exception as error:
            self.failed(error)
            raise
        finally:
            self._handling = False

    def failed(self, error: Exception) -> None:
        """A fault of the program ends the agent; of several the first is told, which the others may come of."""
        if self.failure is None:
            self.failure = error
        self.stopped.set()

    # ---- what runners and providers tell ----

    def report(self, events: list[AttemptEvent]) -> None:
        """Events of attempts; see runners.base.Sink."""
        self.dispatch(RunnerReported(events))

    def log(self, job_id: str, token: str, offset: int, data: bytes) -> None:
        """A piece of a log; see runners.base.Sink."""
        self._upstream.send_log(job_id, token, offset, data)

    def not_begun(self, token: str, error: str) -> None:
        """The disk refused an attempt's files; see runners.base.Sink."""
        self._disk_refuses = True
        self.dispatch(LaunchRefused(token, error))

    def device(self, event: InstallEnded | DeviceSeen | DeviceLost | DeviceProbed) -> None:
        """An event of a device; see devices.base.DeviceSink."""
        self.dispatch(event)
        if isinstance(event, DeviceLost):
            self._runner.lost(event.device_id)

    # ---- instructions ----

    def _install(self, told: do.Install) -> None:
        self._provider.install(told.assignment)

    def _start(self, told: do.Start) -> None:
        self._runner.start(self._facts(told.device_id), told.assignments)

    def _facts(self, device_id: str) -> DeviceFacts:
        return self._machine.state.devices[device_id].facts

    def _kill(self, told: do.Kill) -> None:
        if told.installing:
            self._provider.cancel_install(told.token)
        else:
            self._runner.kill(told.token, told.cause, told.grace_seconds)

    def _probe(self, told: do.Probe) -> None:
        self._provider.probe(told.device_id)

    def _persist(self, told: do.Persist) -> None:
        if self._unwritten:
            self._unwritten += told.reports
        else:
            self._unwritten = told.reports
        try:
            if self._unwritten:
                self._write_down()
            if self._disk_refuses:
                self._spool.remove(self._unremoved)
                self._unremoved = []
                self._spool.prove_room()
                self._runner.prove_room()
        except OSError as error:
            self._spool_failed(error)
            return
        if self._disk_refuses:
            self._disk_refuses = False
            self._look_at_disk()  # first: what it takes may be little
            self.dispatch(SpoolRecovered())

    def _write_down(self) -> None:
        reports = self._unwritten
        self._spool.append([report.spooled() for report in reports])
        self._unwritten = []
        for report in reports:
            self._runner.settled(report.lease.assignment.token)

    def _spool_failed(self, error: OSError) -> None:
        self._disk_refuses = True
        self.dispatch(SpoolFailed(error.strerror or str(error)))

    def _unspool(self, told: do.Unspool) -> None:
        """What is kept of the attempts goes first: found without a report, it would count as an unreported end."""
        for token in told.tokens:
            self._runner.told(token)
        if self._unwritten:
            gone = set(told.report_ids)
            self._unwritten = [report for report in self._unwritten if report.report_id not in gone]
        try:
            self._spool.remove(told.report_ids)
        except OSError as error:
            self._unremoved += told.report_ids
            self._spool_failed(error)

    def _renew_lease(self, told: do.RenewLease) -> None:
        self._lease = LeaseTime(told.confirmed_at, told.window_seconds, told.grace_seconds)
        try:
            self._lease_file.write(self._lease)
        except OSError as error:  # the supervisors go by what they know, and end their trees too early at worst
            self._transitions.note(do.Note(do.Level.WARNING, "lease_not_written", {"error": str(error)}))

    def lease_time(self) -> LeaseTime:
        """Until when trees may live, as the supervisors are told."""
        return self._lease

    def _flush_at(self, told: do.FlushAt) -> None:
        delay = told.at - monotonic_seconds()
        if delay <= 0:
            self._loop.call_soon(self.dispatch, FlushDue())
        else:
            self._loop.call_later(delay, self.dispatch, FlushDue())

    def _wake_at(self, told: do.WakeAt) -> None:
        if self._wake is not None:
            self._wake.cancel()
        self._wake = self._loop.call_later(max(told.at - monotonic_seconds(), 0), self.dispatch, Woken())

    def _close_session(self, told: do.CloseSession) -> None:
        self._upstream.end_session(told.epoch, told.reason)

    def _note(self, told: do.Note) -> None:
        self._transitions.note(told)

    def _stop(self, told: do.Stop) -> None:
        if self._unwritten:
            self._transitions.note(do.Note(do.Level.WARNING, "results_not_written", {"count": len(self._unwritten)}))
        if told.trees_left:
            self.failure = TreesLeftError(told.trees_left)
        self.stopped.set()

    def close(self) -> None:
        """Stops the timers."""
        if self._wake is not None:
            self._wake.cancel()
