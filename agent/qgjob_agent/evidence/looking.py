"""Looks at the folder that a test had to itself: with care, for whatever it left there is of its making."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from qgjob_agent.disk_watch import may_pass
from qgjob_agent.evidence.choice import MOST_LOOKED_AT, Found
from qgjob_agent.evidence.kinds import HEAD_BYTES, kind_of
from qgjob_agent.host.plain_file import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

_HASHED_BYTES = 1024 * 1024


def look(folder: Path, *, patient: bool = False) -> tuple[list[Found], int, bool]:
    """All plain files below a folder, how many others there were, and whether all were looked at.

    Raises OSError if `patient`, for what the disk may give back another time.
    """
    found: list[Found] = []
    passed_over = 0
    for count, (path, plain) in enumerate(entries(folder, patient=patient)):
        if count >= MOST_LOOKED_AT:
            return found, passed_over, False
        one = _found(path, folder, patient=patient) if plain else None
        if one is None:
            passed_over += 1
        else:
            found.append(one)
    return found, passed_over, True


def entries(folder: Path, *, patient: bool = False) -> Iterator[tuple[Path, bool]]:
    """All but folders, and whether each is a plain file; no link is followed, nor one in place of `folder`.

    Raises as `look` does.
    """
    if folder.is_symlink():
        yield folder, False
        return
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as found:
                for entry in found:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    else:
                        yield Path(entry.path), entry.is_file(follow_symlinks=False)
        except OSError as error:  # the test has closed it: it is opened, once
            if patient and may_pass(error):
                raise
            if here.is_symlink() or not _unlocked(here):
                yield here, False
            else:
                waiting.append(here)


def _unlocked(folder: Path) -> bool:
    """Opens a folder of ours that can't be looked into; False if that is not what it lacks."""
    with contextlib.suppress(OSError):
        if stat.S_IMODE(folder.stat().st_mode) & 0o700 != 0o700:
            folder.chmod(0o700)
            return True
    return False


def _found(path: Path, folder: Path, *, patient: bool) -> Found | None:
    try:
        with opened(path) as file:
            head = file.read(HEAD_BYTES)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        if patient and may_pass(error):
            raise
        return None
    name = path.relative_to(folder).as_posix()
    return Found(name, kind_of(name, head), size)


def digest_of(path: Path) -> str:
    """SHA-256 of a file. Raises OSError."""
    hashed = hashlib.sha256()
    with opened(path) as file:
        while piece := file.read(_HASHED_BYTES):
            hashed.update(piece)
    return hashed.hexdigest()
