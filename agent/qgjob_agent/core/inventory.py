"""How devices are, as the coordinator is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob_agent.core.instructions import SendInventory

if TYPE_CHECKING:
    from qgjob_agent.core.device import Device
    from qgjob_agent.core.events import TreeStuck
    from qgjob_agent.core.state import State
    from qgjob_agent.core.values import LivingTree

_MOST_NAMED = 3


def tell_device(state: State, device: Device) -> None:
    """Tells the coordinator how a device is; one that is not there yet is told it when it welcomes."""
    device_id = device.facts.device_id
    if not state.session_open:
        state.session.untold[device_id] = None
    elif device.gone:
        state.out.append(SendInventory(state.session.epoch, [], [device_id]))
    else:
        state.out.append(SendInventory(state.session.epoch, [state.view(device)]))


def tree_stuck(state: State, event: TreeStuck) -> None:
    """SIGKILL does not end what lives on a device, which is busy meanwhile; or it is dead after all."""
    ids = {"job_id": event.job_id, "device_id": event.device_id}
    tree = event.tree
    if tree is None:
        state.note("tree_died", **ids)
    else:
        seconds = max(state.wall_ms - tree.since_ms, 0) // 1000
        said = ", ".join(f"{each.pid} {each.name} ({each.state})" for each in tree.processes)
        state.warn("tree_will_not_die", **ids, pids=[each.pid for each in tree.processes], living=said, seconds=seconds)
    device = state.devices.get(event.device_id)
    if device is not None:
        device.stuck = None if tree is None else _in_words(tree)
        tell_device(state, device)


def _in_words(tree: LivingTree) -> str:
    """For all who may want the device: what the programs of a test are called is no business of theirs."""
    named = ", ".join(f"{each.pid} (state {each.state})" for each in tree.processes[:_MOST_NAMED])
    more = len(tree.processes) - _MOST_NAMED
    said = f"{named} and {more} more" if more > 0 else named
    return f"what a test began there does not die: process {said}; restart the host"
