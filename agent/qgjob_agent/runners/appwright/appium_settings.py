"""How the one Appium of this host is started: its command, and what tells one that was started otherwise. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from string import Formatter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qgjob_agent.config_tables import AppwrightConfig
    from qgjob_agent.devices.adb.server import AdbServer

_CAPABILITIES = ("--default-capabilities", "-dc")


def check_words(argv: Sequence[str]) -> None:
    """Raises ValueError for an empty template, one without {port}, and one with a placeholder that there is not."""
    if not argv or not argv[0]:
        raise ValueError("it has no word; give the program first")
    named = {name for word in argv for _, name, _, _ in Formatter().parse(word) if name is not None}
    unknown = sorted(named - {"port", "suite_dir"})
    if unknown:
        raise ValueError(f"unknown placeholder {{{unknown[0]}}}; there are {{port}} {{suite_dir}}")
    if "port" not in named:
        raise ValueError("the agent chooses the port; put {port} where it belongs")


def names_capabilities(argv: Sequence[str]) -> bool:
    """Whether a template has default capabilities of its own: Appium takes the option once."""
    return any(word.partition("=")[0] in _CAPABILITIES for word in argv)


@dataclass(frozen=True, slots=True)
class AppiumSettings:
    """`argv` starts it in `suite`, a template of check_words; `url` names one that somebody else keeps, which wins.

    Without a suite it is started in the folder of its state, and the template does not name one. `capabilities` are
    those of all sessions that don't name them, as AppWright's own; where the template names some, those are all.
    """

    argv: tuple[str, ...]
    environ: dict[str, str]
    state: Path
    suite: Path | None
    url: str | None = None
    keep: bool = True  # over the end of the agent
    capabilities: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, what: AppwrightConfig, environ: dict[str, str], state: Path, adb: AdbServer, *, keep: bool
    ) -> AppiumSettings:
        """As agent.toml has them; `adb` is the server of the Android devices."""
        return cls(what.appium, environ, state, what.suite_dir, what.appium_url, keep, adb.capabilities())

    @property
    def folder(self) -> Path:
        """Where it is started."""
        return self.suite or self.state

    def words(self, port: int) -> list[str]:
        """The command that starts it on a port."""
        words = [word.format_map({"port": port, "suite_dir": self.folder}) for word in self.argv]
        if self.capabilities and not names_capabilities(self.argv):
            words += [_CAPABILITIES[0], json.dumps(self.capabilities, sort_keys=True)]
        return words

    @property
    def digest(self) -> str:
        """The same for two that would be started alike, whatever their port."""
        told = json.dumps([self.words(0), str(self.folder), sorted(self.environ.items())])
        return hashlib.sha256(told.encode()).hexdigest()
