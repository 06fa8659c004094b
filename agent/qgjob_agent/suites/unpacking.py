"""From the archive of a suite to its folder."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from typing import TYPE_CHECKING

from qgjob_agent.suites.archive import ArchiveError, members
from qgjob_agent.suites.base import SuiteAwayError, SuiteUnresolvedError
from qgjob_agent.tasks import wait_out

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_READ_BYTES = 1 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class StoppedError(Exception):
    """Nobody wants it any more. Not all of it is unpacked."""


async def unpacked(archive: Path, folder: Path) -> int:
    """As `unpack`, in a thread. Cancelled, it breaks that off, and returns when nothing more is written."""
    stop = threading.Event()
    work = asyncio.ensure_future(asyncio.to_thread(unpack, archive, folder, stop.is_set))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        await wait_out(work)
        raise


def unpack(archive: Path, folder: Path, stopped: Callable[[], bool] = lambda: False) -> int:
    """Unpacks into a folder that is new and empty; how many bytes that took on the disk, about.

    Nothing is written but new files below the folder: an archive names no link, and none is there before. Raises
    SuiteUnresolvedError for what is no archive of a suite, SuiteAwayError for a name that is too long for this host,
    StoppedError soon after `stopped` says so, OSError.
    """
    taken = 0
    root = str(folder)
    made = {root}
    with archive.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            for each in members(file, size):
                _go_on(stopped)
                path = f"{root}/{each.path}"
                above = path.rpartition("/")[0]
                if above not in made:  # there are many files in a few folders
                    os.makedirs(above, exist_ok=True)  # noqa: PTH103 - pathlib takes longer than the file
                    made.add(above)
                taken += each.size + 4096
                with os.fdopen(os.open(path, _NEW, 0o755 if each.executable else 0o644), "wb") as out:
                    file.seek(each.offset)
                    left = each.size
                    while left and (data := file.read(min(left, _READ_BYTES))):
                        _go_on(stopped)
                        out.write(data)
                        left -= len(data)
        except ArchiveError as error:
            raise SuiteUnresolvedError(f"the archive {error}; push the suite with `qgjob suites push`") from error
        except (FileExistsError, NotADirectoryError) as error:  # a disk that takes A and a for the same name
            raise SuiteUnresolvedError(
                f"{error.filename!r} has the name of another file where this agent runs; rename one of them"
            ) from error
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            problem = f"this host has no room for the path {str(error.filename).removeprefix(root + '/')!r}"
            problem += "; shorten it, or set a shorter suites.cache_dir on this host"
            raise SuiteAwayError(problem, host_unfit=True) from error
    return taken


def _go_on(stopped: Callable[[], bool]) -> None:
    if stopped():
        raise StoppedError
