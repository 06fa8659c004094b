"""The agent's own end: give back, finish or kill, tell, leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob_agent.core.attempts import give_back_unstarted
from qgjob_agent.core.instructions import Kill, SendInventory
from qgjob_agent.core.reporting import flush
from qgjob_agent.core.timers import kill_everything
from qgjob_agent.core.values import DeathCause, Phase

if TYPE_CHECKING:
    from qgjob_agent.core.events import ShutdownRequested
    from qgjob_agent.core.state import State


def requested(state: State, event: ShutdownRequested) -> None:
    """Takes nothing new, gives back what has not begun, and kills what runs when the time to drain is over.

    Asked again, it kills at once and without grace.
    """
    shutdown = state.shutdown
    again = shutdown.requested
    shutdown.requested = True
    state.timers_changed = True
    if not again:
        for device in state.devices.values():
            give_back_unstarted(state, device, DeathCause.SHUTDOWN)
        if state.session_open:
            state.out.append(SendInventory(state.session.epoch, state.views()))
        shutdown.kill_at = state.now + event.drain_seconds
    if again:
        _kill_the_dying(state)
        kill_everything(state, 0.0)
    elif event.drain_seconds <= 0:
        kill_everything(state, state.kill_grace_seconds)
    flush(state)


def _kill_the_dying(state: State) -> None:
    """Those that got a grace lose it."""
    for lease in state.leases.values():
        if lease.phase is Phase.DYING:
            cause = lease.cause or DeathCause.SHUTDOWN
            state.out.append(Kill(lease.assignment.device_id, lease.token, cause, 0.0, lease.installing))
