"""Takes away what ended attempts leave on the disk, beside the event loop: a test may leave files without number.

What is to go is out of everybody's way before: no daemon takes it for an execution any more (see Execution.give_up),
and no attempt gets a folder that another one had. So nobody waits for it, and what the end of the agent breaks off goes
with the next start. One folder is taken after the other: more at once would only wait for the same disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FINISH_SECONDS = 1.0
_STOP_SECONDS = 0.5


class Leftovers:
    """Removes folders one after the other. All but the removing itself belongs to the event loop.

    `failed` is told of a fault of the program.
    """

    def __init__(self, log: Any, failed: Callable[[Exception], None]) -> None:
        self._log = log
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[tuple[Path, bool] | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def remove(self, path: Path, *, again: bool = False) -> None:
        """Has a folder removed soon. What is left of it is told, unless it is tried `again` with the folder above."""
        self._waiting.put((path, again))
        if self._thread is None:
            # The process does not wait for it: a removal that a disk holds up would keep the agent from ending.
            self._thread = threading.Thread(target=self._work, name="leftovers", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        try:
            while (found := self._waiting.get()) is not None:
                path, again = found
                if not remove_tree(path, self._stop) and not again and not self._stop.is_set():
                    self._log.warning("execution_not_removed", path=str(path))
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the agent: the disk would fill
            self._loop.call_soon_threadsafe(self._failed, error)

    async def close(self) -> None:
        """Finishes what takes no more than a moment; in the middle of the rest it stops, and the next start goes on."""
        if self._thread is not None:
            self._waiting.put(None)
            await asyncio.to_thread(self._thread.join, _FINISH_SECONDS)
            self._stop.set()
            await asyncio.to_thread(self._thread.join, _STOP_SECONDS)


def remove_tree(path: Path, stop: threading.Event | None = None) -> bool:
    """Removes a folder, however deep, also where a test has closed some of its own; False if something is left.

    What stands in its place goes too, and what a link leads to stays. `stop` breaks it off.
    """
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            _empty(path, stop or threading.Event())
            path.rmdir()
        else:
            path.unlink()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _empty(path: Path, stop: threading.Event) -> None:
    """Removes all that is in a folder and can be removed. Raises OSError where it can't be looked into.

    It goes down and up by descriptors, one or two at a time: neither the depth of a tree nor the length of a path in it
    has an end.
    """
    here = _opened(path, None)
    names: list[str] = []  # of the folders from the top down to this one
    below = [_clear(here, stop)]  # of each of them, those that it still has
    above = [os.fstat(here)]
    try:
        while not stop.is_set():
            if below[-1]:
                name = below[-1].pop()
                try:
                    here = _changed(here, _opened(name, here))
                except OSError:
                    continue  # what is above it stays then
                names.append(name)
                above.append(os.fstat(here))
                below.append(_clear(here, stop))
                continue
            if not names:
                return
            here = _changed(here, os.open("..", _OPEN, dir_fd=here))
            below.pop()
            above.pop()
            if not os.path.samestat(os.fstat(here), above[-1]):  # somebody has moved it: this is no place of ours
                return
            _try(os.rmdir, names.pop(), here)
    finally:
        os.close(here)


def _changed(before: int, now: int) -> int:
    os.close(before)
    return now


def _opened(name: str | Path, above: int | None) -> int:
    """A folder, open to be emptied. Raises OSError."""
    try:
        here = os.open(name, _OPEN, dir_fd=above)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=above)  # no link, which is refused in another way
        here = os.open(name, _OPEN, dir_fd=above)
    if stat.S_IMODE(os.fstat(here).st_mode) & 0o700 != 0o700:
        try:
            os.fchmod(here, 0o700)
        except OSError:
            os.close(here)
            raise
    return here


def _clear(here: int, stop: threading.Event) -> list[str]:
    """Removes what is in an open folder, but for folders: gives their names. What can't be looked into stays."""
    below = []
    with contextlib.suppress(OSError), os.scandir(here) as entries:
        for entry in entries:
            if stop.is_set():
                break
            if entry.is_dir(follow_symlinks=False):
                below.append(entry.name)
            else:
                _try(os.unlink, entry.name, here)
    return below


def _try(step: Callable[..., None], name: str, here: int) -> None:
    """What the disk refuses stays; that something does is seen at the top."""
    try:
        step(name, dir_fd=here)
    except OSError:
        return
