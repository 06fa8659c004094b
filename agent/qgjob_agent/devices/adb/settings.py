"""What an agent is told of its Android devices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from qgjob_agent.config_tables import AdbConfig
    from qgjob_agent.core.values import DeviceFacts

ADVICE = "install Android's platform tools, or name their adb in adb.program"


@dataclass(frozen=True, slots=True)
class AdbSettings:
    """Settings of the provider. Times are seconds; MB are 1,000,000 bytes.

    `environ` is what the adb program gets, `installed` the folder in which is kept what was installed, `serials` an
    allow list (None: all), `connect` what is kept connected of devices on the network, `named` what is set of a device,
    by serial: its name, and what goes before what it says.
    """

    agent_id: str
    installed: Path
    environ: Mapping[str, str]
    host: str = "127.0.0.1"
    port: int = 5037
    adb: str = "adb"
    serials: frozenset[str] | None = None
    connect: tuple[str, ...] = ()
    named: Mapping[str, DeviceFacts] = field(default_factory=dict)
    install_seconds: float = 300.0
    fetch_seconds: float = 3600.0  # for a build to come to this host
    min_free_mb: int = 500  # of a device's storage, beside what a build needs
    min_battery_percent: int = 10  # of a device that is not charged
    uninstall_ours: bool = True
    health_labels: bool = False  # battery and free storage as labels
    look_seconds: float = 60.0  # between two looks at a device that is well
    wait_seconds: float = 2.0  # between two looks at one that is not
    answer_seconds: float = 15.0  # for a command on a device
    probe_seconds: float = 10.0  # for a probe: the coordinator waits for a session's timeout, and takes silence for bad
    blind_seconds: float = 15.0  # without the server, until its devices count as lost

    @classmethod
    def of(
        cls, adb: AdbConfig, agent_id: str, named: Sequence[DeviceFacts], environ: Mapping[str, str], installed: Path
    ) -> AdbSettings:
        """As agent.toml has them."""
        return cls(
            agent_id=agent_id,
            installed=installed,
            environ=environ,
            host=adb.host,
            port=adb.port,
            adb=str(adb.program),
            serials=frozenset(adb.serials) or None,
            connect=tuple(dict.fromkeys(adb.connect)),
            named={facts.udid: facts for facts in named},
            install_seconds=adb.install_seconds,
            fetch_seconds=adb.fetch_seconds,
            min_free_mb=adb.min_free_mb,
            min_battery_percent=adb.min_battery_percent,
            uninstall_ours=adb.uninstall_ours,
            health_labels=adb.health_labels,
        )
