"""What is written: the systemd unit, the launchd property list, the file of variables. Pure."""

from __future__ import annotations

import hashlib
import plistlib
import re
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TEMPLATE = Path(__file__).parent / "agent.service"
_STOP_SECONDS = 15
"""What an agent takes to end beside its drain and the kills, as docs/operations.md has it."""
_SPARE_SECONDS = 5
_SYSTEM_ONLY = ("User=", "Wants=", "After=")
_MARK = re.compile(
    r"^(?:# |<!-- )written by qgjob agent install-service, ([0-9a-f]{16}) of the rest(?: -->)?\n", re.MULTILINE
)
PASSED_ON = ("PATH", "ANDROID_HOME", "JAVA_HOME", "APPIUM_HOME")
"""A service starts with next to none of the variables of a shell."""


@dataclass(frozen=True, slots=True)
class Service:
    """One agent as a service. `user` is that of a system's unit; None: of a user's own manager."""

    name: str
    argv: tuple[str, ...]
    env_file: Path
    drain_seconds: float
    kill_grace_seconds: float
    user: str | None = None

    @property
    def stop_seconds(self) -> int:
        """How long the agent may take to end before it is killed."""
        return ceil(self.drain_seconds + self.kill_grace_seconds) + _STOP_SECONDS + _SPARE_SECONDS


def unit(service: Service) -> str:
    """The systemd unit, without its mark."""
    text = Template(TEMPLATE.read_text("utf-8")).substitute(
        user=service.user or "",
        env_file=_percent(str(service.env_file)),
        command=" ".join(map(_word, service.argv)),
        stop_seconds=service.stop_seconds,
        wanted_by="multi-user.target" if service.user is not None else "default.target",
    )
    if service.user is not None:
        return text
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(_SYSTEM_ONLY))


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def _word(word: str) -> str:
    """One word of ExecStart, in which systemd reads quotes, specifiers and variables."""
    word = _percent(word).replace("$", "$$")
    if re.fullmatch(r"[\w%$@+=:,./-]+", word, re.ASCII):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def plist(service: Service, environ: Mapping[str, str], log: Path) -> str:
    """The property list of a LaunchAgent, without its mark. The agent reads `.env` in the folder of `env_file`."""
    content = {
        "Label": service.name,
        "ProgramArguments": list(service.argv),
        "WorkingDirectory": str(service.env_file.parent),
        "EnvironmentVariables": {name: environ[name] for name in PASSED_ON if environ.get(name)},
        "RunAtLoad": True,
        # Again after a failure, not when it ended as told. What launchd can't tell apart is a wrong setting.
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": service.stop_seconds,
        # As KillMode=process of the unit: supervisors and tests outlive the daemon.
        "AbandonProcessGroup": True,
        "ProcessType": "Interactive",
        # Simulators want the session of somebody who is logged in at the screen.
        "LimitLoadToSessionType": "Aqua",
        "StandardOutPath": str(log),
        "StandardErrorPath": str(log),
    }
    return plistlib.dumps(content, sort_keys=False).decode()


def sealed(text: str) -> str:
    """The same with a mark that says who wrote it, and a digest by which a later change is seen."""
    words = f"written by qgjob agent install-service, {_digest(text)} of the rest"
    if text.startswith("<?xml"):
        first, rest = text.split("\n", 1)
        return f"{first}\n<!-- {words} -->\n{rest}"
    return f"# {words}\n{text}"


def is_ours(text: str) -> bool:
    """Whether a file is as it was sealed."""
    found = _MARK.search(text)
    return found is not None and found[1] == _digest(text[: found.start()] + text[found.end() :])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def variables(environ: Mapping[str, str], names: Sequence[str]) -> str:
    """The file of variables: the token where there is one, and those of `names` that are set."""
    lines = ["# Variables of the agent, one a line; no shell reads them. Only its owner may read this file."]
    token = environ.get("QGJOB_TOKEN")
    lines.append(_assigned("QGJOB_TOKEN", token) if token else "# QGJOB_TOKEN=")
    lines += [_assigned(name, environ[name]) for name in names if environ.get(name)]
    return "\n".join([*lines, ""])


def _assigned(name: str, value: str) -> str:
    if re.fullmatch(r"[\w@%+=:,./-]*", value, re.ASCII):
        return f"{name}={value}"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}="{escaped}"'
