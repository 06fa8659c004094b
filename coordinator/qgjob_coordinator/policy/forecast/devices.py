"""Who drains: the devices of this coordinator, and those of others as far as the store tells of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

from qgjob_coordinator.policy.forecast.expected import RUNNING_SHARE
from qgjob_coordinator.policy.snapshot import DeviceView, Snapshot


def all_devices(snapshot: Snapshot) -> list[DeviceView]:
    """All that there is: those that hold something first, since they have their places in groups."""
    known = {d.device_id: d for d in chain(snapshot.busy, snapshot.devices)}
    away = {d.device_id: d for d in _away(snapshot) if d.device_id not in known}
    return sorted(chain(known.values(), away.values()), key=lambda d: (not d.held, d.device_id))


def _away(snapshot: Snapshot) -> Iterator[DeviceView]:
    """Devices of other coordinators that serve groups: how far they are is not known, nor what else they may serve."""
    for group in snapshot.groups:
        for device_id, held in group.serving.items():
            seconds = (held - 1 + RUNNING_SHARE / 2) * group.typical_seconds
            yield DeviceView(
                device_id,
                "",
                group.target,
                installed=(group.org_id, group.app_version_id),
                held=held,
                holds_for=(group.org_id, group.gid),
                free_at=snapshot.now + round(1000 * seconds),
            )


def most_devices(snapshot: Snapshot) -> Mapping[str, int]:
    """How many devices may work for each org: each holds an attempt, and no more are to be held."""
    most = dict(snapshot.room)
    for group in snapshot.groups:
        if group.org_id in most:
            most[group.org_id] += sum(group.serving.values())
    return most
