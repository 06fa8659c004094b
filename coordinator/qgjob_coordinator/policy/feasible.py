"""Which device may serve which job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from qgjob_coordinator.model.builds import slot_words
from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.failures import host_mark
from qgjob_coordinator.model.fleet import Device
from qgjob_coordinator.model.jobs import ANY_DEVICE, Requirements
from qgjob_coordinator.policy.snapshot import NO_BUILDS, DeviceView

BUILD = "build"
"""What a device lacks that can have no build of the app version."""


def view(device: Device) -> DeviceView:
    """A device as feasibility sees it."""
    return DeviceView(
        device.device_id,
        device.agent_id,
        device.target,
        device.platform,
        device.os_version,
        device.model,
        device.labels,
        build_slot=device.build_slot,
    )


def version_matches(wanted: str, actual: str | None) -> bool:
    """Equal, or a prefix by dots: "14" matches "14.1" and not "140"."""
    return actual is not None and (actual == wanted or actual.startswith(wanted + "."))


def missing_slot(device: DeviceView, pushed: frozenset[str]) -> str | None:
    """The slot for which an app version that has pushed builds for others lacks the one that a device needs.

    None where it lacks nothing, and where nothing was pushed at all: the version may come to devices in another way.
    """
    return None if not pushed or device.build_slot in pushed else device.build_slot


def mismatches(
    requirements: Requirements, device: DeviceView, pushed: frozenset[str] = NO_BUILDS
) -> Iterator[tuple[str, str]]:
    """What a device lacks: the requirement's name (`labels.KEY` for a label, `build` for a build of an app version with
    the `pushed` ones), and words for people."""
    r = requirements
    missing = missing_slot(device, pushed)
    if missing is not None:
        yield BUILD, f"there is no build for {slot_words(missing)}: push one"
    if r == ANY_DEVICE:
        return
    if r.device_id is not None and r.device_id != device.device_id:
        yield "device_id", f"is not {r.device_id}"
    if r.platform is not None and r.platform != device.platform:
        yield "platform", f"platform is {device.platform or 'unknown'}, not {r.platform}"
    if r.os_version is not None and not version_matches(r.os_version, device.os_version):
        yield "os_version", f"os_version is {device.os_version or 'unknown'}, not {r.os_version}"
    if r.device_model is not None and r.device_model != device.model:
        yield "device_model", f"model is {device.model or 'unknown'}, not {r.device_model}"
    for name, value in r.labels:
        if device.labels.get(name) != value:
            yield f"labels.{name}", f"label {name} is {device.labels.get(name, 'not set')}, not {value}"


def meets(requirements: Requirements, device: DeviceView, pushed: frozenset[str] = NO_BUILDS) -> bool:
    """Whether a device meets the requirements, and can have a build of an app version with the `pushed` ones."""
    return next(mismatches(requirements, device, pushed), None) is None


def suspicion(avoid: tuple[str, ...], device: DeviceView) -> int:
    """How much a retry has against a device: 2 an attempt failed on it, 1 one failed with its host, 0 nothing."""
    if device.device_id in avoid:
        return 2
    return int(host_mark(device.agent_id) in avoid)


def may_serve(
    requirements: Requirements,
    avoid: tuple[str, ...],
    device: DeviceView,
    others: Iterable[DeviceView],
    pushed: frozenset[str] = NO_BUILDS,
) -> bool:
    """Whether a device may serve a queue: it meets the requirements, and nothing less suspect exists that does."""
    if not meets(requirements, device, pushed):
        return False
    own = suspicion(avoid, device)
    return own == 0 or not any(suspicion(avoid, d) < own and meets(requirements, d, pushed) for d in others)


def same_target(target: Target, devices: Iterable[DeviceView]) -> tuple[DeviceView, ...]:
    """The devices of one target."""
    return tuple(d for d in devices if d.target is target)
