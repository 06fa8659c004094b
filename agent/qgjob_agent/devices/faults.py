"""Faults of simulated devices and builds, to try out what a fleet does with them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class SimulatedFaults:
    """Devices that fail installations or tests, and app versions that install nowhere.

    A faulty device heals when it was found faulty by `heal_after_probes` probes; with 0 it never does, and probes find
    nothing, as with a fault that only tests meet.
    """

    def __init__(
        self,
        failing_installs: Iterable[str] = (),
        failing_tests: Iterable[str] = (),
        broken_builds: Iterable[str] = (),
        heal_after_probes: int = 0,
    ) -> None:
        self._failing_installs = frozenset(failing_installs)
        self._failing_tests = frozenset(failing_tests)
        self._broken_builds = frozenset(broken_builds)
        self._heal_after = heal_after_probes
        self._found: Counter[str] = Counter()

    def of_install(self, device_id: str, app_version_id: str) -> str | None:
        """Why the app version can't be installed on the device; None where it can."""
        if app_version_id in self._broken_builds:
            return f"simulated: {app_version_id} is broken"
        if device_id in self._failing_installs and not self._healed(device_id):
            return "simulated: the device refuses installations"
        return None

    def of_test(self, device_id: str) -> str | None:
        """Why every test fails on the device; None where they don't."""
        if device_id in self._failing_tests and not self._healed(device_id):
            return "simulated: the device fails every test"
        return None

    def of_probe(self, device_id: str) -> str | None:
        """What a probe of the device finds wrong; the last one that does heals it."""
        found = self.of_install(device_id, "") or self.of_test(device_id)
        if found is None or not self._heal_after:
            return None
        self._found[device_id] += 1
        return found

    def _healed(self, device_id: str) -> bool:
        return bool(self._heal_after) and self._found[device_id] >= self._heal_after
