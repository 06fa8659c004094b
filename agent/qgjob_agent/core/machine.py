"""The agent's state machine: `handle(event, now, wall_ms)` gives the instructions that the event leads to.

Rules that every handler keeps (docs/protocol.md gives the reasons):
- a message of another epoch than the session's is refused, whatever it says;
- nothing begins on a device while a tree lives there, whoever began it;
- nothing begins when the last confirmed message was *sent* 0.8 of a lease ago or more;
- an attempt that was asked back is released by the answer only;
- a last report is written to the spool before it is sent, and leaves it when it is acknowledged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgjob_agent.core import attempts, commands, disk, events, fleet, reporting, sessions, shutdown, timers
from qgjob_agent.core.state import Link, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgjob_agent.core.instructions import Instruction
    from qgjob_agent.core.values import AgentFacts, DeviceFacts, Limits

_HANDLERS: dict[type[Any], Callable[[State, Any], None]] = {
    events.SessionConnecting: sessions.connecting,
    events.SessionLost: sessions.lost,
    events.RunnerReported: attempts.runner_reported,
    events.InstallEnded: attempts.install_ended,
    events.DeviceSeen: fleet.seen,
    events.DeviceLost: fleet.lost,
    events.DeviceProbed: fleet.probed,
    events.Recovered: fleet.recovered,
    events.DiskMeasured: disk.measured,
    events.StateDirSeen: disk.state_dir_seen,
    events.LaunchRefused: disk.launch_refused,
    events.SpoolFailed: disk.spool_failed,
    events.SpoolRecovered: disk.spool_recovered,
    events.FlushDue: reporting.flush_due,
    events.Woken: timers.woken,
    events.ShutdownRequested: shutdown.requested,
}
# Messages of the coordinator; each of them carries the epoch of its session.
_MESSAGES: dict[type[Any], Callable[[State, Any], None]] = {
    events.Welcomed: sessions.welcomed,
    events.HeartbeatConfirmed: sessions.confirmed,
    events.Assigned: commands.assigned,
    events.ReportsAcknowledged: reporting.acknowledged,
    events.Recalled: commands.recalled,
    events.Revoked: commands.revoked,
    events.DrainDevice: commands.drained,
    events.ResumeDevice: commands.resumed,
    events.ProbeDevice: commands.probe_asked,
}


class Machine:
    """The only mutator of the agent's state. Not thread-safe; one event at a time."""

    __slots__ = ("_state",)

    def __init__(self, agent: AgentFacts, devices: list[DeviceFacts], limits: Limits) -> None:
        self._state = State(agent, devices, limits)

    @property
    def state(self) -> State:
        """The state, to look at."""
        return self._state

    def handle(self, event: events.Event, now: float, wall_ms: int) -> list[Instruction]:
        """Takes one event and gives what is to be done, in order.

        `now` is in seconds of a monotonic clock that never goes back and includes suspended time; `wall_ms` is
        milliseconds since the epoch and is only reported, never compared.
        """
        state = self._state
        if state.wake_at is not None and now > state.wake_at:
            state.came_late(now)
        state.now, state.wall_ms, state.out = now, wall_ms, []
        kind = type(event)
        message = _MESSAGES.get(kind)
        if message is not None:
            if self._of_this_session(event):
                state.session.last_heard_at = now
                message(state, event)
        else:
            _HANDLERS[kind](state, event)
        if state.shutdown.requested:
            timers.shutdown_progress(state)
        if state.timers_changed:
            timers.set_timer(state)
        return state.out

    def _of_this_session(self, event: Any) -> bool:
        """True for messages of the open session, and for the Welcome of the one that connects."""
        session = self._state.session
        expected = Link.CONNECTING if type(event) is events.Welcomed else Link.OPEN
        if event.epoch == session.epoch and session.link is expected:
            return True
        self._state.warn(
            "message_of_another_session",
            message=type(event).__name__,
            epoch=event.epoch,
            session_epoch=session.epoch,
            link=session.link.value,
        )
        return False
