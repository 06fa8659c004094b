"""The stack's processes, written down in the folder of its data, so that another `qgjob up` can name what is left."""

from __future__ import annotations

import os
import re
from pathlib import Path

_LINE = re.compile(r"(\S+) ([1-9][0-9]{0,9}) ([0-9]+|-)")


class Roll:
    """A file with a line `<name> <pid> <start>` for each process that was started.

    Numbers of processes come round, so the time of the start stands beside them; `-` where the system does not tell it.
    Whatever writes raises OSError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self) -> None:
        """This process is the first; what another one wrote down is over."""
        self.clear()
        self.add("up", os.getpid())

    def add(self, name: str, pid: int) -> None:
        """One more."""
        with self._path.open("a") as file:
            file.write(f"{name} {pid} {_state_and_start(pid)[1]}\n")

    def clear(self) -> None:
        """All have ended."""
        self._path.write_text("")

    def alive(self) -> list[str]:
        """Those that have not ended, as `store (process 4711)`; lines that make no sense tell of none."""
        try:
            lines = self._path.read_text(errors="replace").splitlines()
        except OSError:
            return []
        found = [line.groups() for line in map(_LINE.fullmatch, lines) if line]
        return [f"{name} (process {pid})" for name, pid, started in found if _lives(int(pid), started)]


def _lives(pid: int, started: str) -> bool:
    """It is still the process that began then; a zombie lives no more."""
    try:
        os.kill(pid, 0)
    except (OSError, OverflowError):
        return False  # another user's process is none of ours
    state, start = _state_and_start(pid)
    return state != "Z" and start == started


def _state_and_start(pid: int) -> tuple[str, str]:
    """The start in ticks since the machine's own; `-` for what is not told."""
    try:
        # From the third field on: the second is a name, which may have spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "-", "-"
    return fields[0], fields[19]
