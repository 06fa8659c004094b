"""The stand-in from outside: which devices it has, what it is to do wrong, and what was done with it."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.xcrun.program import State

_PROGRAM = Path(__file__).parent / "program.py"


@dataclass
class SimulatorState:
    """A simulator. `starting`: it is listed as booted and has not started up yet."""

    udid: str
    name: str = "iPhone 15"
    state: str = "Booted"
    runtime: str = "iOS-17-2"
    type: str = "iPhone-15"
    unavailable: str | None = None
    starting: bool = False


@dataclass
class PhoneState:
    """An iPhone."""

    udid: str
    name: str = "Lab 3"
    os_version: str = "17.6.1"
    model: str = "iPhone 14"
    platform: str = "iOS"
    pairing: str = "paired"
    tunnel: str = "disconnected"
    developer_mode: str = "enabled"
    apps: dict[str, Any] = field(default_factory=dict)


class Xcode:
    """What lies in the folder. `program` is its xcrun."""

    def __init__(self, folder: Path, *devices: SimulatorState | PhoneState, install_seconds: float = 0.0) -> None:
        self._state = State(folder)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        simulators = {d.udid: asdict(d) for d in devices if isinstance(d, SimulatorState)}
        phones = {d.udid: asdict(d) for d in devices if isinstance(d, PhoneState)}
        seconds = {"boot": 0.0, "install": install_seconds}
        empty = {"simulators": simulators, "phones": phones, "faults": [], "seconds": seconds}
        (folder / "state.json").write_text(json.dumps(empty), "utf-8")
        for udid in simulators:
            self.disk(udid).mkdir(parents=True)
        self.program = folder / "bin" / "xcrun"
        self.program.parent.mkdir()
        words = [sys.executable, "-I", "-S", str(_PROGRAM), str(folder)]
        self.program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', "utf-8")
        self.program.chmod(0o755)

    def disk(self, udid: str) -> Path:
        """The disk of a simulator."""
        return self._state.disk(udid)

    def set(self, udid: str, **changes: Any) -> None:
        """Changes a device."""
        with self._state.held() as said:
            kind = "simulators" if udid in said["simulators"] else "phones"
            said[kind][udid] |= changes

    def get(self, udid: str) -> dict[str, Any]:
        """A device as it is."""
        with self._state.held() as said:
            found: dict[str, Any] = (said["simulators"] | said["phones"])[udid]
            return found

    def takes(self, **seconds: float) -> None:
        """How long a `boot` or an `install` takes."""
        with self._state.held() as said:
            said["seconds"] |= seconds

    def fail(self, verb: str, says: str = "", *, times: int = 1, **more: Any) -> None:
        """Has the next calls of a verb fail: with words and a `code`, an `error` of devicectl, or by `hang`."""
        with self._state.held() as said:
            said["faults"].append({"verb": verb, "says": says, "times": times, **more})

    def heal(self) -> None:
        """No faults any more."""
        with self._state.held() as said:
            said["faults"] = []

    def installs(self) -> Counter[tuple[str, str]]:
        """Installations that were done, by udid and package."""
        return Counter((each["udid"], each["package"]) for each in self.lines("installs"))

    def lines(self, name: str) -> list[dict[str, Any]]:
        """What was noted: calls, tries, installs, uninstalls, hanging."""
        path = self.folder / f"{name}.jsonl"
        text = path.read_text("utf-8") if path.exists() else ""
        return [json.loads(line) for line in text.splitlines()]
