"""Devices that come and go, and what an earlier daemon left on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob_agent.core.attempts import give_back_unstarted, kill, start_next
from qgjob_agent.core.commands import adopt_device
from qgjob_agent.core.device import Device, Seen
from qgjob_agent.core.instructions import SendProbeResult
from qgjob_agent.core.inventory import tell_device
from qgjob_agent.core.leases import Lease
from qgjob_agent.core.reporting import report
from qgjob_agent.core.values import Assignment, DeathCause, Phase, SpooledReport, Started

if TYPE_CHECKING:
    from qgjob_agent.core.events import DeviceLost, DeviceProbed, DeviceSeen, Recovered
    from qgjob_agent.core.state import State


def seen(state: State, event: DeviceSeen) -> None:
    """A device appeared, came back or changed. Its provider knows what is installed; what lives there may be at it."""
    device = state.devices.get(event.facts.device_id)
    if device is None:
        device = state.devices[event.facts.device_id] = Device(event.facts, event.installed)
    elif device.gone or not device.living:
        device.installed, device.seen = event.installed, None
    else:
        device.seen = Seen(event.installed)
    device.facts, device.gone = event.facts, False
    tell_device(state, device)
    start_next(state, device)


def lost(state: State, event: DeviceLost) -> None:
    """A device went away: nothing more begins there, and what lives is killed and reported dead."""
    device = state.devices.get(event.device_id)
    if device is None or device.gone:
        return
    device.gone, device.seen = True, None
    give_back_unstarted(state, device, DeathCause.DEVICE_LOST)
    for token in list(device.living):
        kill(state, state.leases[token], DeathCause.DEVICE_LOST, state.kill_grace_seconds)
    tell_device(state, device)


def probed(state: State, event: DeviceProbed) -> None:
    """A probe has its answer."""
    if state.session_open:
        state.out.append(SendProbeResult(state.session.epoch, event.device_id, event.health, event.reason))


def recovered(state: State, event: Recovered) -> None:
    """Takes up what an earlier daemon left, before the first session: results to send, trees that may live."""
    for found in event.spooled:
        lease = Lease(_assignment_of(found), Phase.SPOOLED, test_begun=True)
        state.leases[found.token] = lease
        _device_of(state, lease.assignment)
        state.outbox.restore(found.report_id, lease, found.body)
    for running in event.running:
        if running.assignment.token in state.leases:
            continue  # its result is in the spool: the tree is dead
        what = running.assignment
        lease = Lease(what, Phase.RUNNING, begun_at_ms=running.started_at_ms, install_ms=what.install_ms)
        state.leases[lease.token] = lease
        _device_of(state, lease.assignment).living.add(lease.token)
        if running.started_at_ms:
            lease.test_begun = True
            report(state, lease, Started(running.started_at_ms))


def _device_of(state: State, assignment: Assignment) -> Device:
    return state.devices.get(assignment.device_id) or adopt_device(state, assignment)


def _assignment_of(found: SpooledReport) -> Assignment:
    return Assignment(found.job_id, found.token, found.attempt, 0, found.device_id, "", "", "")
