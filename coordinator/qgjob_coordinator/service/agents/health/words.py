"""What is told of the health of a session's devices: log lines and counts."""

from __future__ import annotations

from collections.abc import Set

import structlog

from qgjob_coordinator.policy.health.record import Build, Record
from qgjob_coordinator.telemetry import Telemetry

log = structlog.get_logger(__name__)


class HealthWords:
    """One session's."""

    def __init__(self, agent_id: str, telemetry: Telemetry) -> None:
        self._agent_id = agent_id
        self._telemetry = telemetry
        self._versions: dict[Build, str] = {}
        self._told: set[Build] = set()

    def probed(self, device_id: str, health: str, reason: str | None, *, asked: bool) -> None:
        """A probe was answered, or was not: then `health` is `no answer`."""
        log.info(
            "device_probed", agent_id=self._agent_id, device_id=device_id, health=health, reason=reason, asked=asked
        )
        if asked:
            self._telemetry.probes[health.replace(" ", "_")] += 1

    def changed(self, device_id: str, before: Record, after: Record) -> None:
        """A record was written in the place of another one."""
        quarantine = after.quarantine
        if quarantine is not None and quarantine != before.quarantine:
            log.warning(
                "device_quarantined",
                agent_id=self._agent_id,
                device_id=device_id,
                reason=quarantine.reason,
                in_a_row=after.in_a_row,
                until=quarantine.until,
            )
            self._telemetry.quarantines["extended" if before.quarantine is not None else "begun"] += 1
        elif quarantine is None and before.quarantine is not None:
            self.readmitted(device_id, "a probe found it well", counted=True)

    def readmitted(self, device_id: str, why: str, *, counted: bool) -> None:
        """A quarantine ended; `counted` where no other session may count it."""
        log.info("device_readmitted", agent_id=self._agent_id, device_id=device_id, reason=why)
        self._telemetry.quarantines["ended"] += counted

    def named(self, build: Build, app_version_id: str) -> None:
        """A build that failed is of this app version."""
        self._versions[build] = app_version_id

    def keep(self, builds: Set[Build]) -> None:
        """Failures of other builds are no longer remembered."""
        self._versions = {build: version for build, version in self._versions.items() if build in builds}
        self._told &= builds

    def at_fault(self, build: Build, devices: int) -> None:
        """A build failed on so many devices, and fewer others or none installed it since: it is to blame, not they.

        Said once while failures of it are remembered.
        """
        if build not in self._told:
            self._told.add(build)
            version = self._versions.get(build)
            log.warning("build_fails_everywhere", org_id=build[0], app_version_id=version, devices=devices)
