"""Folders that are made once and kept by name, in a folder that the agents of a host may share.

A folder `kept/NAME` counts when its note `kept/NAME.note` is there, which holds its size in bytes; the note's time of
change is until when it is in use, by what was begun so far. Whoever looks for a folder, makes it, or takes it away
holds `locks/NAME`, which is the kernel's: it ends with its holder. What is being made is in `drafts`,
each locked by its maker.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgjob_agent.host.leftovers import remove_tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

_POLL_SECONDS = 0.2
_OLD_SECONDS = 86_400.0
"""A lock that nobody used for so long, and that keeps nothing, goes."""
_YOUNG_SECONDS = 60.0
"""A draft that was made so lately may not be locked yet."""
_NOTE = ".note"


@dataclass(frozen=True, slots=True)
class _Kept:
    name: str
    size: int
    used_until: float


class SuiteShelf:
    """`limit_bytes` bounds what is kept; what is in use may go beyond it. All methods raise OSError."""

    def __init__(
        self, folder: Path, limit_bytes: int, log: Any, *, wall_seconds: Callable[[], float] = time.time
    ) -> None:
        self.folder = folder
        self._kept = folder / "kept"
        self._drafts = folder / "drafts"
        self._locks = folder / "locks"
        self._limit = limit_bytes
        self._log = log
        self._wall_seconds = wall_seconds

    def path(self, name: str) -> Path:
        """Where a folder of that name is kept, whether it is there or not."""
        return self._kept / name

    @asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[None]:
        """A block in which nobody else looks for this folder, makes it, or takes it away; waits for its turn."""
        while True:
            with self._lock(name) as mine:
                if mine:
                    yield
                    return
            await asyncio.sleep(_POLL_SECONDS)

    def find(self, name: str, seconds: float) -> Path | None:
        """A folder that is kept, in use for so long from now on; None if it is not there. To be called while held."""
        if not self.path(name).is_dir():  # somebody tidied up
            self._note(name).unlink(missing_ok=True)
            return None
        return self.path(name) if self.use(name, seconds) else None

    def use(self, name: str, seconds: float) -> bool:
        """Notes that a folder is in use for so long from now on; False if it is not kept."""
        note = self._note(name)
        with contextlib.suppress(FileNotFoundError):
            until = max(note.stat().st_mtime, self._wall_seconds() + seconds)
            os.utime(note, (until, until))
            return True
        return False

    @asynccontextmanager
    async def draft(self) -> AsyncIterator[Path]:
        """A new folder to make something in; what is left of it after the block goes."""
        for each in (self._kept, self._drafts):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(dir=self._drafts))
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # so that others see that its maker lives
            yield path
        finally:
            await asyncio.to_thread(remove_tree, path)  # packages are tens of thousands of files
            os.close(fd)

    async def keep(self, name: str, made: Path, size: int, seconds: float) -> Path:
        """Keeps what was made, in use for so long. To be called while held."""
        path = self.path(name)
        await asyncio.to_thread(remove_tree, path)  # of an agent that died before it wrote the note
        made.replace(path)  # noqa: ASYNC240 - a name is moved
        self.note(name, size, seconds)
        return path

    def note(self, name: str, size: int, seconds: float) -> None:
        """Writes down how large a folder is. To be called while held."""
        note, until = self._note(name), self._wall_seconds() + seconds
        with contextlib.suppress(FileNotFoundError):
            until = max(until, note.stat().st_mtime)
        note.write_text(str(size), "ascii")
        os.utime(note, (until, until))

    async def make_room(self, size: int) -> None:
        """Removes what was not used for longest, and what dead agents left, until `size` more bytes keep the bound."""
        await asyncio.to_thread(self._tidy)
        kept = self._all()
        total = sum(each.size for each in kept)
        now = self._wall_seconds()
        for each in sorted(kept, key=lambda each: each.used_until):
            if total + size <= self._limit or each.used_until >= now:
                break
            with self._lock(each.name) as mine, contextlib.suppress(FileNotFoundError):  # another agent was faster
                if mine and self._note(each.name).stat().st_mtime == each.used_until:
                    self._note(each.name).unlink()
                    await asyncio.to_thread(remove_tree, self.path(each.name))
                    total -= each.size
                    self._log.info("suite_dropped", name=each.name, bytes=each.size)
        if total + size > self._limit:
            self._log.warning("suite_cache_over", bytes=total + size, limit_bytes=self._limit)

    def _tidy(self) -> None:
        now = self._wall_seconds()
        for draft in self._drafts.iterdir() if self._drafts.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                if draft.stat().st_mtime < now - _YOUNG_SECONDS and _is_left(draft):
                    remove_tree(draft)
        before = now - _OLD_SECONDS
        for lock in self._locks.iterdir() if self._locks.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                if lock.stat().st_mtime < before and not self._note(lock.name).exists():
                    with self._lock(lock.name) as mine:
                        if mine:
                            remove_tree(self.path(lock.name))
                            lock.unlink()

    def _all(self) -> list[_Kept]:
        found = []
        for note in self._kept.glob(f"*{_NOTE}"):
            with contextlib.suppress(FileNotFoundError, ValueError):
                size = int(note.read_text("ascii") or 0)
                found.append(_Kept(note.name.removesuffix(_NOTE), size, note.stat().st_mtime))
        return found

    def _note(self, name: str) -> Path:
        return self._kept / (name + _NOTE)

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[bool]:
        """Whether the block holds the lock of a name. A lock that was removed meanwhile locks nothing."""
        self._locks.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._locks / name
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.utime(fd)
                mine = path.exists() and os.path.samestat(os.fstat(fd), path.stat())
            except (BlockingIOError, FileNotFoundError):
                mine = False
            yield mine
        finally:
            os.close(fd)


def _is_left(draft: Path) -> bool:
    """Whether the maker of a draft has died. Raises FileNotFoundError."""
    fd = os.open(draft, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
