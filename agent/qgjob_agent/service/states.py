"""What a service manager says of a service at one moment. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

_EXITS = {2: "a setting is wrong", 203: "its program can't be started", 217: "its user is not there"}
"""What exit codes mean: the agent's own, and those of systemd for what it could not even start."""


class Phase(Enum):
    """How far a service is. What ended and is to be started again has ENDED."""

    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Seen:
    """A look at a service. `process` is its number while it runs, `said` what the manager calls it, for people."""

    phase: Phase
    process: int | None
    said: str


SYSTEMD_ASKS = ("ActiveState", "SubState", "Result", "ExecMainStatus", "MainPID")


def of_systemd(text: str) -> Seen:
    """What `systemctl show -p` prints of SYSTEMD_ASKS; what it leaves out is empty."""
    values = dict(line.partition("=")[::2] for line in text.splitlines())
    active, sub, result = (values.get(name, "") for name in ("ActiveState", "SubState", "Result"))
    process, status = _number(values.get("MainPID")), _number(values.get("ExecMainStatus"))
    if active == "active" and sub == "running" and process:
        return Seen(Phase.RUNNING, process, f"{active} ({sub})")
    if active in ("activating", "reloading") and sub != "auto-restart":
        return Seen(Phase.STARTING, None, f"{active} ({sub})")
    shown = sub if active == "activating" else result if result not in ("", "success") else sub
    said = f"{active or 'not known'} ({shown})"
    if result == "signal":
        return Seen(Phase.ENDED, None, f"{said}: signal {status}")
    return Seen(Phase.ENDED, None, said if not status else f"{said}: {_exit_words(status)}")


def of_launchd(text: str) -> Seen:
    """What `launchctl print` prints of a service."""
    state = _line(text, "state") or "not known"
    process = _number(_line(text, "pid"))
    if state == "running" and process:
        return Seen(Phase.RUNNING, process, state)
    signal, code = _line(text, "last terminating signal"), _line(text, "last exit code")
    if signal is not None:
        return Seen(Phase.ENDED, None, f"{state}: signal {signal}")
    status = _number((code or "").partition(":")[0])
    if status is not None:
        return Seen(Phase.ENDED, None, f"{state}: {_exit_words(status)}")
    return Seen(Phase.STARTING, None, state)


def _exit_words(status: int) -> str:
    meaning = _EXITS.get(status)
    return f"exit code {status}" if meaning is None else f"exit code {status}, {meaning}"


def _line(text: str, name: str) -> str | None:
    found = re.search(rf"^\s*{name} = (.+?)\s*$", text, re.MULTILINE)
    return None if found is None else found[1]


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdecimal() else None
