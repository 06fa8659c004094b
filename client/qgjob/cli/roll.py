"""The stack's processes, written down in the folder of its data, so that another `qgjob up` can name what is left."""

from __future__ import annotations

import os
from pathlib import Path


class Roll:
    """A file with a line `<name> <pid>` for each process that was started."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self) -> None:
        """This process is the first; what another one wrote down is over."""
        self._path.write_text("")
        self.add("up", os.getpid())

    def add(self, name: str, pid: int) -> None:
        """One more."""
        with self._path.open("a") as file:
            file.write(f"{name} {pid}\n")

    def alive(self) -> list[str]:
        """Those that have not ended, as `store (process 4711)`; by their numbers, which others may have got since."""
        try:
            lines = self._path.read_text().splitlines()
        except OSError:
            return []
        return [f"{name} (process {pid})" for name, pid in map(str.split, lines) if _lives(int(pid))]


def _lives(pid: int) -> bool:
    """Not a zombie either, where /proc tells."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False  # another user's process is none of ours
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state != "Z"
