"""What the data folder of the private store remembers: which program wrote it, since others may not read it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from qgjob.cli.store_choice import StoreChoice, Writer, program_version

RECORD = "written-by.json"
MULTI_PART_SINCE = (7, 0)
"""Since this version the data are in a folder of several files, which older programs do not look at."""
_MULTI_PART = "appendonlydir"
_DATA = (_MULTI_PART, "appendonly.aof", "dump.rdb")


def read_writer(folder: Path) -> Writer | None:
    """Who wrote the data of a store's folder; None where there are none, or where nothing tells."""
    if not any((folder / name).exists() for name in _DATA):
        return None
    try:
        told = json.loads((folder / RECORD).read_text("utf-8"))
        major, minor = told["version"]
        return Writer(Path(told["program"]), (int(major), int(minor)))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_writer(folder: Path, choice: StoreChoice) -> None:
    """Remember the program that writes from now on."""
    if choice.program is not None:
        told = {"program": str(choice.program), "version": choice.version or program_version(choice.program)}
        (folder / RECORD).write_text(json.dumps(told) + "\n")


def is_multi_part(folder: Path) -> bool:
    """The data are in the form that programs since MULTI_PART_SINCE write."""
    return (folder / _MULTI_PART).exists()


def unreadable(folder: Path, writer: Writer | None, tried: Sequence[StoreChoice], logs: Path) -> str:
    """What to do about data that none of the programs can read, in one line."""
    programs = " and ".join(
        str(Writer(each.program, each.version or program_version(each.program)))
        for each in tried
        if each.program is not None
    )
    begin = f"or start in another folder, or remove {folder} to begin without the jobs in it"
    if writer is None:
        return (
            f"{programs} can't read the data in {folder}: another store program wrote them, or they are damaged (see "
            f"{logs / 'store.log'}); put the program that wrote them first on PATH, {begin}"
        )
    return (
        f"{programs} can't read the data in {folder}, which {writer} wrote ({writer.program}); "
        f"bring that program back, {begin}"
    )
