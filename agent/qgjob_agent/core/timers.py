"""What happens by time alone: heartbeats, the end of a silent session, the end of the leases, retries of the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob_agent.core.attempts import give_back_unstarted, kill, start_all
from qgjob_agent.core.instructions import CloseSession, Persist, SendBye, SendInventory, Stop, WakeAt
from qgjob_agent.core.sessions import heartbeat
from qgjob_agent.core.state import Link, State
from qgjob_agent.core.values import DeathCause, Phase

if TYPE_CHECKING:
    from qgjob_agent.core.events import SpoolFailed, SpoolRecovered, Woken


def woken(state: State, _event: Woken) -> None:
    """Does whatever is due now."""
    state.wake_at = None
    state.timers_changed = True
    session = state.session
    if session.link is Link.OPEN:
        if state.now >= session.last_heard_at + session.timeout_seconds:
            state.warn("coordinator_silent", epoch=session.epoch, seconds=state.now - session.last_heard_at)
            session.link = Link.CLOSED
            state.out.append(CloseSession(session.epoch, "the coordinator is silent"))
        elif state.now >= session.next_heartbeat_at:
            heartbeat(state)
    _end_leases(state)
    if state.spool_error is not None and state.now >= state.spool_retry_at:
        state.spool_retry_at = state.now + state.limits.spool_retry_seconds
        state.out.append(Persist(state.outbox.take_to_persist()))
    kill_at = state.shutdown.kill_at
    if kill_at is not None and state.now >= kill_at:
        kill_everything(state, state.kill_grace_seconds)


def _end_leases(state: State) -> None:
    """The lease is over: what runs is killed here too, for runners that have no supervisor of their own."""
    if state.lease_end_done or state.clock.confirmed_at is None or state.clock.fresh(state.now):
        return
    state.lease_end_done = True
    living = [lease for lease in state.leases.values() if lease.phase is Phase.RUNNING]
    state.warn("lease_over", running=len(living))
    for lease in living:
        kill(
            state,
            lease,
            DeathCause.LEASE_LOST,
            state.clock.window / state.limits.lease_window * state.limits.lease_grace,
        )


def kill_everything(state: State, grace_seconds: float) -> None:
    """The drain is over: ends whatever lives."""
    state.shutdown.kill_at = None
    for lease in list(state.leases.values()):
        kill(state, lease, DeathCause.SHUTDOWN, grace_seconds)


def spool_failed(state: State, event: SpoolFailed) -> None:
    """The disk refuses: takes no new work and gives back what has not begun; what runs and what is known is kept."""
    first = state.spool_error is None
    state.spool_error = event.error
    state.spool_retry_at = state.now + state.limits.spool_retry_seconds
    state.timers_changed = True
    if not first:
        return
    state.warn("spool_failed", error=event.error)
    for device in state.devices.values():
        give_back_unstarted(state, device, DeathCause.SHUTDOWN)
    _tell_devices(state)


def spool_recovered(state: State, _event: SpoolRecovered) -> None:
    """The disk takes writes again, and so does the agent take work."""
    if state.spool_error is None:
        return
    state.spool_error = None
    state.note("spool_recovered")
    _tell_devices(state)
    start_all(state)


def _tell_devices(state: State) -> None:
    if state.session_open:
        state.out.append(SendInventory(state.session.epoch, state.views()))


def next_wake(state: State) -> float | None:
    """The earliest time at which something is due, or None."""
    times: list[float] = []
    session, shutdown = state.session, state.shutdown
    if session.link is Link.OPEN:
        times += [session.next_heartbeat_at, session.last_heard_at + session.timeout_seconds]
    ends_at = state.clock.ends_at
    if ends_at is not None and not state.lease_end_done:
        times.append(ends_at)
    if state.spool_error is not None:
        times.append(state.spool_retry_at)
    times += [at for at in (shutdown.kill_at, shutdown.leave_at) if at is not None]
    return min(times, default=None)


def set_timer(state: State) -> None:
    """Asks to be woken when the next thing is due."""
    state.timers_changed = False
    at = next_wake(state)
    if at is not None and at != state.wake_at:
        state.wake_at = at
        state.out.append(WakeAt(at))


def shutdown_progress(state: State) -> None:
    """Leaves when nothing lives and everything is told, or when the coordinator does not answer in time."""
    shutdown = state.shutdown
    if shutdown.stopped or any(lease.alive for lease in state.leases.values()):
        return
    if shutdown.leave_at is None:
        shutdown.leave_at = state.now + state.limits.farewell_seconds
        state.timers_changed = True
    if state.outbox.empty or not state.session_open or state.now >= shutdown.leave_at:
        shutdown.stopped = True
        if state.session_open:
            state.out.append(SendBye(state.session.epoch, "the agent shuts down"))
        state.out.append(Stop())
