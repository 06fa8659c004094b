"""What an agent may show of its devices: what `agent.toml` may say, and requirements can ask for."""

from __future__ import annotations

from collections.abc import Sequence

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.service import validation

MAX_DEVICES = 1000
"""Of one agent."""
MAX_NAME = 255
"""Characters of a serial, of a host's name, of a program's version."""


def check_count(field: str, count: int) -> None:
    """Raises InvalidError for more devices than one agent may have."""
    if count > MAX_DEVICES:
        raise InvalidError(field, f"makes {count} devices of one agent, which may have {MAX_DEVICES}; start another")


def check_devices(field: str, devices: Sequence[DeviceInfo]) -> None:
    """Raises InvalidError naming the first that is wrong, as in `devices[3].labels.rack`."""
    seen: set[str] = set()
    for i, d in enumerate(devices):
        try:
            _check(d)
        except InvalidError as e:
            raise e.under(f"{field}[{i}]") from None
        if d.device_id in seen:
            raise InvalidError(f"{field}[{i}].device_id", f"{d.device_id} is another device's too; name them apart")
        seen.add(d.device_id)


def _check(d: DeviceInfo) -> None:
    validation.check_id("device_id", d.device_id)
    validation.check_given("udid", d.udid, MAX_NAME)
    if d.platform is not None:
        validation.check_platform("platform", d.platform)
    if d.os_version is not None:
        validation.check_version("os_version", d.os_version)
    if d.model is not None:
        validation.check_model("model", d.model)
    validation.check_device_labels("labels", d.labels)
    if d.org_id is not None:
        validation.check_id("org_id", d.org_id)
    if d.app_version_id is not None:
        validation.check_id("app_version_id", d.app_version_id)
