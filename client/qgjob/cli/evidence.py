"""Files of attempts on this machine: where each goes, and how it gets there whole."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgjob._errors import QgjobError
from qgjob._shape import Shape, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgjob._artifacts import Artifact
    from qgjob._client import AsyncClient

AT_ONCE = 4
_HASHED_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Kept(Shape):
    """A file that is on this machine now. `fetched` is False where it was there already."""

    artifact: Artifact
    path: Path
    fetched: bool

    def to_dict(self) -> dict[str, Any]:
        """The artifact with its `path` and whether it was `fetched`."""
        return {**to_json(self.artifact), "path": str(self.path), "fetched": self.fetched}


def place_of(folder: Path, artifact: Artifact) -> Path:
    """`FOLDER/JOB/ATTEMPT/NAME`. Raises QgjobError for a name that would lead elsewhere: it came from afar."""
    parts = artifact.name.split("/")
    bad = any(part in ("", ".", "..") or "\0" in part or "\\" in part or ":" in part[1:2] for part in parts)
    if bad or "/" in artifact.job_id or artifact.job_id.startswith("."):
        raise QgjobError(f"{artifact.name!r} of job {artifact.job_id} is no safe name of a file; it was not fetched")
    return folder.joinpath(artifact.job_id, str(artifact.attempt), *parts)


async def keep(client: AsyncClient, artifacts: Sequence[Artifact], folder: Path) -> list[Kept]:
    """Fetches files into a folder, each whole or not at all; what is there already is left alone.

    Raises QgjobError: of the first that failed, when the others have ended.
    """
    places = [(artifact, place_of(folder, artifact)) for artifact in artifacts]
    taking = asyncio.Semaphore(AT_ONCE)

    async def one(artifact: Artifact, path: Path) -> Kept:
        async with taking:
            if await asyncio.to_thread(_is_there, path, artifact):
                return Kept(artifact, path, fetched=False)
            await _fetch(client, artifact, path)
            return Kept(artifact, path, fetched=True)

    done = await asyncio.gather(*(one(*each) for each in places), return_exceptions=True)
    for each in done:
        if isinstance(each, BaseException):
            raise each
    return [each for each in done if isinstance(each, Kept)]


async def _fetch(client: AsyncClient, artifact: Artifact, path: Path) -> None:
    part = path.with_name(f".{path.name[:200]}.part")
    hashed = hashlib.sha256()
    try:
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        with part.open("wb") as file:
            found = client.fetch_artifact(artifact.job_id, artifact.attempt, artifact.name)
            async with aclosing(found) as pieces:
                async for piece in pieces:
                    hashed.update(piece)
                    await asyncio.to_thread(file.write, piece)
        if hashed.hexdigest() != artifact.digest:
            raise QgjobError(f"{artifact.name} of job {artifact.job_id} came damaged; fetch it again")
        part.replace(path)
    except OSError as error:
        raise QgjobError(f"{str(path)!r} can't be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _is_there(path: Path, artifact: Artifact) -> bool:
    try:
        if path.is_symlink() or path.stat().st_size != artifact.size_bytes:
            return False
        hashed = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(_HASHED_BYTES):
                hashed.update(piece)
    except OSError:
        return False
    return hashed.hexdigest() == artifact.digest
