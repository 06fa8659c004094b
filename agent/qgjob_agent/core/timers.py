"""What happens by time alone: heartbeats, the end of a silent session, the end of the leases, retries of the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob_agent.core import disk
from qgjob_agent.core.attempts import kill
from qgjob_agent.core.instructions import CloseSession, SendBye, Stop, WakeAt
from qgjob_agent.core.sessions import heartbeat
from qgjob_agent.core.state import Link, State
from qgjob_agent.core.values import DeathCause, Phase

if TYPE_CHECKING:
    from qgjob_agent.core.events import Woken
    from qgjob_agent.core.leases import Lease


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
    disk.retry(state)
    kill_at = state.shutdown.kill_at
    if kill_at is not None and state.now >= kill_at:
        kill_everything(state, state.kill_grace_seconds)


def _end_leases(state: State) -> None:
    """The lease is over: what runs is killed here too, for runners that have no supervisor of their own."""
    if state.lease_end_done or state.clock.confirmed_at is None or state.clock.fresh(state.now):
        return
    state.lease_end_done = True
    living = [lease for lease in state.leases.values() if lease.phase is Phase.RUNNING]
    cause = state.lease_end_cause
    state.warn("lease_over", running=len(living), stood_still_seconds=round(state.late_seconds, 1))
    for lease in living:
        kill(
            state,
            lease,
            cause,
            state.clock.window / state.limits.lease_window * state.limits.lease_grace,
        )


def kill_everything(state: State, grace_seconds: float) -> None:
    """The drain is over: ends whatever lives."""
    state.shutdown.kill_at = None
    state.shutdown.give_up_at = state.now + grace_seconds + state.limits.give_up_seconds
    for lease in list(state.leases.values()):
        kill(state, lease, DeathCause.SHUTDOWN, grace_seconds)


def next_wake(state: State) -> float | None:
    """The earliest time at which something is due, or None."""
    times: list[float] = []
    session, shutdown = state.session, state.shutdown
    if session.link is Link.OPEN:
        times += [session.next_heartbeat_at, session.last_heard_at + session.timeout_seconds]
    ends_at = state.clock.ends_at
    if ends_at is not None and not state.lease_end_done:
        times.append(ends_at)
    if state.disk.refused is not None:
        times.append(state.disk.retry_at)
    times += [at for at in (shutdown.kill_at, shutdown.leave_at) if at is not None]
    if shutdown.give_up_at is not None and shutdown.give_up_at > state.now:
        times.append(shutdown.give_up_at)
    return min(times, default=None)


def set_timer(state: State) -> None:
    """Asks to be woken when the next thing is due."""
    state.timers_changed = False
    at = next_wake(state)
    if at is not None and at != state.wake_at:
        state.wake_at = at
        state.out.append(WakeAt(at))


def shutdown_progress(state: State) -> None:
    """Leaves when nothing lives and everything is told, or when there is nothing left to wait for.

    Results that nobody acknowledged are in the spool. While the disk refuses them, a session is waited for too. Trees
    that do not die are left to their supervisors, for the next daemon to find.
    """
    shutdown = state.shutdown
    if shutdown.stopped:
        return
    left = [lease for lease in state.leases.values() if lease.alive]
    if left and (shutdown.give_up_at is None or state.now < shutdown.give_up_at):
        return
    if shutdown.leave_at is None:
        shutdown.leave_at = state.now + state.limits.farewell_seconds
        state.timers_changed = True
    kept = not state.session_open and state.disk.refused is None
    if state.outbox.empty or kept or state.now >= shutdown.leave_at:
        _leave(state, left)


def _leave(state: State, left: list[Lease]) -> None:
    state.shutdown.stopped = True
    results = state.outbox.unacknowledged
    if results:
        state.note("results_kept", count=results)
    for lease in left:
        what = lease.assignment
        state.warn("tree_left", job_id=what.job_id, attempt=what.attempt, device_id=what.device_id)
    if state.session_open:
        state.out.append(SendBye(state.session.epoch, "the agent shuts down"))
    state.out.append(Stop(trees_left=len(left)))
