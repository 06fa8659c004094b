"""A suite as one file, which depends on its files alone: on their paths, contents, and whether they are executable."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import tarfile
import tempfile
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

from qgjob._build_file import Progress, pieces
from qgjob._suite_files import check_path, suite_files, wrong

_MODE, _EXECUTABLE = 0o644, 0o755


@dataclass(frozen=True, slots=True)
class PackedSuite:
    """A suite that is ready to be pushed, in a file without a name: it goes with this block.

    `digest` is its SHA-256, `paths` are those of its files, sorted, `name` is that of its folder.
    """

    name: str
    paths: tuple[str, ...]
    digest: str
    size_bytes: int
    _file: BinaryIO

    @classmethod
    async def of(cls, folder: str | os.PathLike[str]) -> PackedSuite:
        """Packs a folder. Raises InvalidError whose field is `suite`."""
        made: list[PackedSuite] = []
        settling, given_up = threading.Lock(), False

        def work() -> PackedSuite:
            packed = cls._pack(Path(folder))
            with settling:
                made.append(packed)
                if given_up:  # a thread can't be ended, and nobody waits for what it has made
                    packed.close()
            return packed

        try:
            return await asyncio.to_thread(work)
        except asyncio.CancelledError:
            with settling:
                given_up = True
                for packed in made:
                    packed.close()
            raise

    @classmethod
    def _pack(cls, folder: Path) -> PackedSuite:
        files = suite_files(folder)
        packed = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - what is packed owns it
        try:
            with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
                for path, place in files.items():
                    _add(archive, path, place)
            size = packed.seek(0, os.SEEK_END)
            packed.seek(0)
            digest = hashlib.file_digest(cast("Any", packed), "sha256").hexdigest()
        except OSError as error:
            packed.close()
            raise wrong(f"{str(folder)!r} can't be packed: {error.strerror or error}") from error
        except BaseException:
            packed.close()
            raise
        name = folder.resolve().name or "suite"
        return cls(name, tuple(files), digest, size, packed)

    async def pieces(self, on_progress: Progress | None) -> AsyncGenerator[bytes]:
        """The bytes, from the beginning."""
        self._file.seek(0)
        async for piece in pieces(self._file, self.size_bytes, on_progress):
            yield piece

    def close(self) -> None:
        """Lets the file go."""
        self._file.close()

    def __enter__(self) -> PackedSuite:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _add(archive: tarfile.TarFile, path: str, place: Path) -> None:
    """One file, without what tells of this machine and of today: owners, times, all modes but one bit."""
    info = tarfile.TarInfo(path)
    check_path(path)
    try:
        with place.open("rb") as file:
            status = os.fstat(file.fileno())
            info.size = status.st_size
            info.mode = _EXECUTABLE if status.st_mode & stat.S_IXUSR else _MODE
            archive.addfile(info, file)
    except OSError as error:
        raise wrong(f"{path!r} can't be read: {error.strerror or error}") from error
