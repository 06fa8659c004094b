"""The session: Hello and Welcome, heartbeats, its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob_agent.core.attempts import end, lose, start_all
from qgjob_agent.core.instructions import (
    RenewLease,
    SendHeartbeat,
    SendHello,
    SendInventory,
)
from qgjob_agent.core.reporting import flush, persist
from qgjob_agent.core.state import Link, State
from qgjob_agent.core.values import DeathCause

if TYPE_CHECKING:
    from qgjob_agent.core.events import HeartbeatConfirmed, SessionConnecting, SessionLost, Welcomed


def connecting(state: State, event: SessionConnecting) -> None:
    """Says Hello. Results are written down first, so that they are shown as spooled and are."""
    session = state.session
    session.link, session.epoch = Link.CONNECTING, event.epoch
    session.hello_sent_at = state.now
    session.seq, session.sent_at = 0, {}
    session.untold = {}  # the Hello has all
    persist(state)
    held = state.held()
    session.shown = [shown.token for shown in held]
    state.out.append(SendHello(event.epoch, state.agent, state.views(), held, state.limits.credit))


def welcomed(state: State, event: Welcomed) -> None:
    """The session is open: its times hold, what was shown is adopted or ends here, the outbox is sent anew."""
    session = state.session
    if session.link is not Link.CONNECTING:
        state.warn("welcome_out_of_turn", epoch=event.epoch, link=session.link.value)
        return
    session.link = Link.OPEN
    session.heartbeat_seconds = event.heartbeat_ms / 1000
    session.timeout_seconds = event.session_timeout_ms / 1000
    session.next_heartbeat_at = state.now + session.heartbeat_seconds
    session.last_heard_at = state.now
    session.joined_reports = event.joined_reports
    state.clock.window = state.limits.lease_window * event.lease_ms / 1000
    state.kill_grace_seconds = event.kill_grace_ms / 1000 or state.limits.kill_grace_seconds
    state.timers_changed = True
    _confirm(state, session.hello_sent_at)
    _settle_shown(state, event)
    state.outbox.resend()
    _send_pending(state)
    start_all(state)


def _settle_shown(state: State, event: Welcomed) -> None:
    """What was shown and is not adopted is not this session's, listed as released or not."""
    adopted = set(event.adopted)
    for token in {*event.released, *state.session.shown} - adopted:
        lose(state, token)
    for token in event.revoked:
        end(state, token, DeathCause.REVOKED, state.kill_grace_seconds)


def _send_pending(state: State) -> None:
    untold = [state.devices[device_id] for device_id in state.session.untold]
    changed = [state.view(device) for device in untold if not device.gone]
    if state.shutdown.requested or state.disk.problem is not None:
        changed = state.views()
    gone = [device.facts.device_id for device in untold if device.gone]
    if changed or gone:
        state.out.append(SendInventory(state.session.epoch, changed, gone))
    flush(state)


def _confirm(state: State, sent_at: float) -> None:
    """Counts a confirmation, and tells the supervisors of it."""
    if not state.clock.confirm(sent_at, state.now):
        return
    state.late_seconds = 0.0
    window = state.clock.window
    grace = min(state.kill_grace_seconds, window / state.limits.lease_window * state.limits.lease_grace)
    state.out.append(RenewLease(sent_at, window, grace))
    state.lease_end_done = False
    state.timers_changed = True


def heartbeat(state: State) -> None:
    """Sends a heartbeat that shows all leases, results being written down first."""
    session = state.session
    flush(state)
    session.seq += 1
    session.sent_at[session.seq] = state.now
    session.next_heartbeat_at = state.now + session.heartbeat_seconds
    state.out.append(SendHeartbeat(session.epoch, session.seq, state.held()))


def confirmed(state: State, event: HeartbeatConfirmed) -> None:
    """The leases shown in this heartbeat are renewed from its sending on, except those listed."""
    session = state.session
    sent_at = session.sent_at.pop(event.seq, None)
    if sent_at is None:
        state.warn("unknown_heartbeat_confirmed", seq=event.seq, epoch=event.epoch)
        return
    for seq in [seq for seq in session.sent_at if seq < event.seq]:
        del session.sent_at[seq]
    _confirm(state, sent_at)
    for token in event.revoked:
        end(state, token, DeathCause.REVOKED, state.kill_grace_seconds)
    for token in event.released:
        lose(state, token)
    start_all(state)


def lost(state: State, event: SessionLost) -> None:
    """The stream is gone. What runs goes on, and what is unstarted may still begin while the lease is fresh."""
    if event.epoch == state.session.epoch:
        state.session.link = Link.CLOSED
        state.timers_changed = True
