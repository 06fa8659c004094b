"""What the coordinator asks for: assignments, recalls, revocations, drains, probes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob_agent.core.attempts import drop, end, give_back_unstarted, start_next
from qgjob_agent.core.device import Device
from qgjob_agent.core.instructions import Probe, SendRecallAnswer
from qgjob_agent.core.leases import Lease
from qgjob_agent.core.reporting import report
from qgjob_agent.core.values import Assignment, DeathCause, DeviceFacts, Health, Phase, Target, TreeDead

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgjob_agent.core.events import (
        Assigned,
        DrainDevice,
        ProbeDevice,
        Recalled,
        ResumeDevice,
        Revoked,
    )
    from qgjob_agent.core.state import State


def assigned(state: State, event: Assigned) -> None:
    """Queues attempts on their devices. What can't be served is given back at once, as never begun."""
    leases, devices = state.leases, state.devices
    room = state.limits.credit * state.limits.overcommit - len(leases)
    touched: dict[str, Device] = {}
    for assignment in event.assignments:
        token = assignment.token
        if token in leases:
            continue  # a repeated claim repeats its token
        device = devices.get(assignment.device_id)
        cause = _refusal(state, device, room)
        lease = Lease(assignment)
        leases[token] = lease
        room -= 1
        if device is None or cause is not None:
            _refuse(state, lease, cause or DeathCause.DEVICE_LOST)
            continue
        device.queue.append(lease)
        touched[assignment.device_id] = device
    for device in touched.values():
        start_next(state, device)


def _refusal(state: State, device: Device | None, room: int) -> DeathCause | None:
    if device is None or device.gone:
        return DeathCause.DEVICE_LOST
    if device.draining or state.shutdown.requested or room <= 0:
        return DeathCause.SHUTDOWN
    return None if state.disk.problem is None else DeathCause.DISK_FULL


def _refuse(state: State, lease: Lease, cause: DeathCause) -> None:
    lease.phase = Phase.SPOOLED
    state.warn("assignment_refused", token=lease.token, device_id=lease.assignment.device_id, cause=cause.value)
    if lease.assignment.device_id not in state.devices:
        adopt_device(state, lease.assignment)
    report(state, lease, TreeDead(cause, state.wall_ms, started=False))


def adopt_device(state: State, assignment: Assignment) -> Device:
    """A place for leases of a device that this agent no longer has: it serves nothing and is shown to nobody."""
    facts = DeviceFacts(
        assignment.device_id, assignment.device_id, assignment.target or Target.DEVICE, health=Health.UNKNOWN
    )
    device = state.devices[assignment.device_id] = Device(facts, gone=True)
    return device


def recalled(state: State, event: Recalled) -> None:
    """Gives back what is unstarted, never to be begun. Only this answer releases it."""
    released: list[str] = []
    kept: list[str] = []
    for token in event.tokens:
        lease = state.leases.get(token)
        if lease is not None and lease.phase is Phase.UNSTARTED:
            drop(state, lease, None)
            released.append(token)
        else:
            kept.append(token)
    state.out.append(SendRecallAnswer(event.epoch, event.recall_id, released, kept))


def revoked(state: State, event: Revoked) -> None:
    """Kills one attempt; its end is reported when its tree is dead."""
    grace = event.grace_ms / 1000 if event.grace_ms > 0 else state.kill_grace_seconds
    end(state, event.token, DeathCause.REVOKED, grace)


def drained(state: State, event: DrainDevice) -> None:
    """What runs is finished; what has not begun is given back."""

    def drain(device: Device) -> None:
        device.draining = True
        give_back_unstarted(state, device, DeathCause.SHUTDOWN)

    _with_device(state, event.device_id, drain)


def resumed(state: State, event: ResumeDevice) -> None:
    """The device takes work again."""

    def resume(device: Device) -> None:
        device.draining = False

    _with_device(state, event.device_id, resume)


def probe_asked(state: State, event: ProbeDevice) -> None:
    """Has the provider look at the device."""
    _with_device(state, event.device_id, lambda device: state.out.append(Probe(device.facts.device_id)))


def _with_device(state: State, device_id: str, do: Callable[[Device], None]) -> None:
    device = state.devices.get(device_id)
    if device is None:
        state.warn("command_for_unknown_device", device_id=device_id)
        return
    do(device)
