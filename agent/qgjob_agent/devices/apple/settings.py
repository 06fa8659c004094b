"""What an agent is told of the simulators and the Apple devices of its host."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from qgjob_agent.config_tables import AppleConfig
    from qgjob_agent.core.values import DeviceFacts

ADVICE = "install Xcode, start it once, and choose it with `xcode-select -s`, or name the program in apple.program"


class Erase(Enum):
    """When a simulator is erased, with all apps, data and settings in it."""

    NEVER = "never"
    ORGS = "orgs"  # before a build, where another org's lies there
    BUILDS = "builds"  # before a build, where any other lies there


@dataclass(frozen=True, slots=True)
class AppleSettings:
    """Settings of both providers. Times are seconds; MB are 1,000,000 bytes.

    `environ` is what xcrun gets, `installed` the folder in which is kept what was installed, `udids` an
    allow list (None: simulators that are booted, and all devices), `named` what is set of a device, by udid: its name,
    and what goes before what it says.
    """

    agent_id: str
    installed: Path
    environ: Mapping[str, str]
    program: str = "xcrun"
    udids: frozenset[str] | None = None
    boot: bool = True  # those of `udids` that are shut down
    erase: Erase = Erase.NEVER
    named: Mapping[str, DeviceFacts] = field(default_factory=dict)
    poll_seconds: float = 5.0  # between two lists
    boot_seconds: float = 180.0
    install_seconds: float = 300.0
    fetch_seconds: float = 3600.0  # for a build to come to this host
    min_free_mb: int = 2000  # of the disk that simulators are on, beside what a build needs
    uninstall_ours: bool = True
    look_seconds: float = 60.0  # between two looks at a device that is well
    wait_seconds: float = 2.0  # between two looks at one that is not
    answer_seconds: float = 15.0  # for a list, and for a question about a device
    probe_seconds: float = 10.0  # for a probe: the coordinator waits for a session's timeout, and takes silence for bad
    blind_seconds: float = 30.0  # without a list, until devices count as lost

    @classmethod
    def of(
        cls,
        apple: AppleConfig,
        agent_id: str,
        named: Sequence[DeviceFacts],
        environ: Mapping[str, str],
        installed: Path,
    ) -> AppleSettings:
        """As agent.toml has them."""
        return cls(
            agent_id=agent_id,
            installed=installed,
            environ=environ,
            program=str(apple.program),
            udids=frozenset(apple.udids) or None,
            boot=apple.boot,
            erase=Erase(apple.erase),
            named={facts.udid: facts for facts in named},
            boot_seconds=apple.boot_seconds,
            install_seconds=apple.install_seconds,
            fetch_seconds=apple.fetch_seconds,
            min_free_mb=apple.min_free_mb,
            uninstall_ours=apple.uninstall_ours,
        )
