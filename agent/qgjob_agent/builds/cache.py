"""Contents on this host by their digest: fetched once for all who want one, verified, the least used ones first out.

They are builds, or archives of suites: a cache for each kind.

A fetch that broke leaves its bytes in a `.part` file, and the next one goes on behind them. A file without that ending
is whole: it was compared with its digest and written through to the disk before it got its name.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from qgjob_agent.builds.base import BuildAwayError
from qgjob_agent.disk_watch import is_of_the_disk

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from pathlib import Path

IN_USE_SECONDS = 1800.0
"""What was handed out within that time may be read by an installation, and stays whatever the bound says."""
SILENCE_SECONDS = 60.0
"""A source that gives nothing for so long is away."""
_PART = ".part"
_READ_BYTES = 1 << 20

Source: TypeAlias = "Callable[[int], AsyncGenerator[bytes, None]]"
"""`source(offset)` gives the content from there on. Raises BuildAwayError, BuildUnresolvedError."""


@dataclass(frozen=True, slots=True)
class _Lines:
    """What the log calls what happens to a content."""

    fetched: str
    part_dropped: str
    dropped: str
    over: str


_LINES = {
    "build": _Lines("build_fetched", "build_part_dropped", "build_dropped", "build_cache_over"),
    "suite": _Lines("suite_fetched", "suite_part_dropped", "suite_dropped", "suite_cache_over"),
}


@dataclass(frozen=True, slots=True)
class _Kept:
    path: Path
    size: int
    used_at: float


@dataclass(frozen=True, slots=True)
class _Wanted:
    digest: str
    size: int
    source: Source
    path: Path
    verified: bool


@dataclass(slots=True)
class _Fetch:
    task: asyncio.Task[Path]
    waiting: int = 0


class ContentCache:
    """One folder of one agent. `limit_bytes` bounds what is kept; what is in use may go beyond it for a while.

    `kind` is what its contents are called, and the table of agent.toml that has the bound: suites come so too.
    """

    def __init__(
        self,
        folder: Path,
        limit_bytes: int,
        log: Any,
        *,
        kind: str = "build",
        wall_seconds: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._log = log
        self._kind = kind
        self._lines = _LINES[kind]
        self._wall_seconds = wall_seconds
        self._fetching: dict[str, _Fetch] = {}
        self._ending: set[asyncio.Task[Path]] = set()

    async def get(self, digest: str, size: int, source: Source, *, ending: str, verified: bool = True) -> Path:
        """The file with this content, fetched if it isn't here. Raises BuildAwayError, BuildUnresolvedError.

        Programs that install want an `ending` that says what it is, such as `.apk`. Several callers of one digest share
        a fetch; it ends when the last of them was cancelled. Where nobody knows a digest, any name of the content will
        do, and `verified` is False.
        """
        fetch = self._fetching.get(digest)
        if fetch is None:
            path = self._folder / (digest + ending)
            if path.exists():
                return self._handed_out(path)
            fetch = self._begin(_Wanted(digest, size, source, path, verified))
        fetch.waiting += 1
        try:
            return self._handed_out(await asyncio.shield(fetch.task))
        finally:
            fetch.waiting -= 1
            if not fetch.waiting and not fetch.task.done():
                self._fetching.pop(digest)
                self._ending.add(fetch.task)
                fetch.task.cancel()

    async def close(self) -> None:
        """Ends what is being fetched; the bytes stay for the next time."""
        tasks = [*self._ending, *(fetch.task for fetch in self._fetching.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, wanted: _Wanted) -> _Fetch:
        digest = wanted.digest
        task = asyncio.create_task(self._after_earlier(wanted), name=f"{self._kind}-fetch")
        fetch = self._fetching[digest] = _Fetch(task)

        def over(_: asyncio.Task[Path]) -> None:
            self._ending.discard(task)
            if self._fetching.get(digest) is fetch:
                del self._fetching[digest]

        task.add_done_callback(over)
        return fetch

    async def _after_earlier(self, wanted: _Wanted) -> Path:
        """Begins when one that nobody waits for any more has left its part file."""
        if self._ending:
            await asyncio.wait(self._ending)
        return await self._fetch(wanted)

    def _handed_out(self, path: Path) -> Path:
        now = self._wall_seconds()
        os.utime(path, (now, now))
        return path

    # ---- fetching ----

    async def _fetch(self, wanted: _Wanted) -> Path:
        digest, size = wanted.digest, wanted.size
        part = self._folder / (digest + _PART)
        begun = time.monotonic()
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_room(size, but=digest)
            already, found = await self._take(part, size, wanted.source)
            if wanted.verified and found != digest and already:  # what an earlier fetch left may be what is wrong
                self._log.warning(self._lines.part_dropped, digest=digest, bytes=already)
                part.unlink()
                already, found = await self._take(part, size, wanted.source)
            if wanted.verified and found != digest:
                part.unlink()
                raise BuildAwayError(
                    f"{self._kind} {digest} came as another content, {found}; it is fetched anew next time"
                )
            part.replace(wanted.path)
        except OSError as error:
            what = "the disk refuses" if is_of_the_disk(error) else "can't write"
            raise BuildAwayError(f"{self._kind} {digest}: {what} {self._folder}: {error.strerror}") from error
        self._log.info(
            self._lines.fetched,
            digest=digest,
            bytes=size,
            resumed_bytes=already,
            seconds=round(time.monotonic() - begun, 1),
        )
        return wanted.path

    async def _take(self, part: Path, size: int, source: Source) -> tuple[int, str]:
        """Completes the part file; how much of it was there, and the digest of the whole."""
        hashing = hashlib.sha256()
        with part.open("a+b") as file:
            already = file.seek(0, os.SEEK_END)
            if already > size:
                file.truncate(0)
                already = 0
            file.seek(0)
            await asyncio.to_thread(_hash, file, hashing)
            written = already
            if written < size:
                async with aclosing(source(already)) as chunks:
                    async for chunk in _lively(chunks, self._kind):
                        hashing.update(chunk)
                        file.write(chunk)
                        written += len(chunk)
                        if written > size:
                            file.truncate(0)
                            raise BuildAwayError(f"{part.stem} came with more than its {size} bytes")
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        if written < size:
            raise BuildAwayError(
                f"{self._kind} {part.stem} ended after {written} of {size} bytes; the next try goes on there"
            )
        return already, hashing.hexdigest()

    # ---- room ----

    def _make_room(self, size: int, but: str) -> None:
        """Removes the least recently used ones until `size` more bytes keep the bound."""
        if size > self._limit:
            text = (
                f"{self._kind} {but} has {size} bytes, more than {self._kind}s.cache_mb of this agent lets it keep "
                f"({self._limit} bytes); raise it"
            )
            raise BuildAwayError(text, host_unfit=True)
        kept = self._kept(but)
        total = sum(each.size for each in kept)
        usable_before = self._wall_seconds() - IN_USE_SECONDS
        for each in sorted(kept, key=lambda each: each.used_at):
            if total + size <= self._limit:
                return
            if each.used_at >= usable_before and not each.path.name.endswith(_PART):
                continue
            each.path.unlink(missing_ok=True)
            total -= each.size
            self._log.info(self._lines.dropped, digest=each.path.stem, bytes=each.size)
        if total + size > self._limit:
            self._log.warning(self._lines.over, bytes=total + size, limit_bytes=self._limit)

    def _kept(self, but: str) -> list[_Kept]:
        """All files but those of one digest, and what is being fetched now."""
        busy = {but, *self._fetching}
        found = []
        for path in self._folder.iterdir():
            if path.stem not in busy:
                status = path.stat()
                found.append(_Kept(path, status.st_size, status.st_mtime))
        return found


def digest_of(path: Path) -> str:
    """SHA-256 of a file in lower-case hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _lively(chunks: AsyncIterator[bytes], kind: str) -> AsyncIterator[bytes]:
    """The same, or BuildAwayError when nothing comes for too long."""
    while True:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise BuildAwayError(f"nothing of the {kind} came for {SILENCE_SECONDS:g} s") from None
        yield chunk


def _hash(file: Any, hashing: Any) -> None:
    while data := file.read(_READ_BYTES):
        hashing.update(data)
