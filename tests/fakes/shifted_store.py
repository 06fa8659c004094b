"""A store on a machine whose wall clock is wrong, by as much as a test says and from when on it says so."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

from tests.fakes.store_process import StoreProcess, find_binary

NO_COMPILER = shutil.which("gcc") is None
NEEDS_COMPILER = "a store whose clock is wrong needs gcc (Debian's packages gcc and libc6-dev)"


class ShiftedStore(StoreProcess):
    """One store server; `shift` puts its clock off."""

    def __init__(self, folder: Path, *options: str) -> None:
        beside = folder.parent / f"{folder.name}-clock"
        beside.mkdir(parents=True)
        self._file = beside / "shift"
        self._file.write_bytes(_as_written(0))
        library, program = beside / "clock.so", beside / "store"
        source = Path(__file__).with_suffix(".c")
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True, capture_output=True)
        loaded = f"CLOCK_SHIFT_FILE={shlex.quote(str(self._file))} LD_PRELOAD={shlex.quote(str(library))}"
        program.write_text(f'#!/bin/sh\n{loaded} exec {shlex.quote(str(find_binary()))} "$@"\n')
        program.chmod(0o755)
        super().__init__(folder, *options, binary=program)

    def shift(self, seconds: int) -> None:
        """From now on its clock is the machine's and these."""
        with self._file.open("r+b") as file:
            file.write(_as_written(seconds))


def _as_written(seconds: int) -> bytes:
    return seconds.to_bytes(8, "little", signed=True)
