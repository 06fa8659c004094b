"""Unpacks a zipped app beside its archive's will: nothing lands outside of the folder, and no more than there is to be.

Modes and links are kept, since an app has programs and may have links. Links are made last, and none below another one:
nothing is made through one. Where all of them together lead is looked at in the end.
"""

from __future__ import annotations

import errno
import os
import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from qgjob_agent.devices.apple.bundle import BundleError
from qgjob_agent.devices.archives import UNREADABLE

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

MAX_MEMBERS = 100_000
MAX_BYTES = 8_000_000_000
MAX_LINK_BYTES = 4096
_PIECE = 1 << 20
_OF_ARCHIVE = frozenset(
    {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ, errno.EINVAL}
)
"""Names that are in each other's way, or none at all, and places that are not in the file."""
_SKIPPED = "__MACOSX"  # what Finder adds


class Stopped(Exception):  # noqa: N818 - no error: it was asked for
    """Unpacking was stopped."""


def unpack(path: Path, folder: Path, into: Path, stop: threading.Event) -> Path:
    """Unpacks the `folder` of an archive; gives where it is then. May take long: not for the event loop.

    Errors: BundleError for an archive that is broken, too large, or reaches out of the folder; OSError; Stopped.
    """
    target = into / folder.name
    links: list[tuple[Path, str]] = []
    left = MAX_BYTES
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                raise BundleError(f"has {len(members)} files, and {MAX_MEMBERS} are the most")
            for member in members:
                if stop.is_set():
                    raise Stopped
                inside = _inside(member, folder)
                if inside is None:
                    continue
                place, kind = target / inside, stat.S_IFMT(member.external_attr >> 16)
                if member.is_dir():
                    place.mkdir(parents=True, exist_ok=True)
                elif kind == stat.S_IFLNK:
                    links.append((place, _link(archive, member, inside)))
                elif kind in (0, stat.S_IFREG):
                    left -= _write(archive, member, place, left, stop)
                else:
                    raise BundleError(f"has {member.filename!r}, which is neither a file nor a folder nor a link")
        for place, text in links:
            _refuse_below_a_link(place, target)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(text)
        _refuse_links_out(links, target)
    except UNREADABLE as error:
        raise BundleError(f"can't be unpacked: {error}") from error
    except OSError as error:
        if error.errno in _OF_ARCHIVE:
            raise BundleError(f"can't be unpacked: {error.strerror}") from error
        raise
    return target


def _inside(member: zipfile.ZipInfo, folder: Path) -> PurePosixPath | None:
    """Where a member lies in the app's folder; None for what is beside it. Errors: BundleError."""
    name = PurePosixPath(member.filename)
    if name.is_absolute() or ".." in name.parts or "\\" in member.filename or "\0" in member.orig_filename:
        raise BundleError(f"has {member.filename!r}, which would lie outside of it; zip the .app folder again")
    if name.parts[:1] == (_SKIPPED,) or not name.is_relative_to(folder.as_posix()):
        return None
    return name.relative_to(folder.as_posix())


def _link(archive: zipfile.ZipFile, member: zipfile.ZipInfo, inside: PurePosixPath) -> str:
    """The text of a link that stays in the folder. Errors: BundleError."""
    with archive.open(member) as file:
        data = file.read(MAX_LINK_BYTES + 1)
    text = data.decode("utf-8", errors="replace")
    depth = list(inside.parent.parts)
    for part in PurePosixPath(text).parts:
        if part == ".." and not depth:
            break
        if part == "..":
            depth.pop()
        else:
            depth.append(part)
    else:
        if text and len(data) <= MAX_LINK_BYTES and not PurePosixPath(text).is_absolute() and "\0" not in text:
            return text
    raise BundleError(f"has the link {member.filename!r} to {text[:100]!r}, which leads out of it")


def _refuse_below_a_link(place: Path, target: Path) -> None:
    for above in place.parents:
        if above == target:
            return
        if above.is_symlink():
            inside = place.relative_to(target).as_posix()
            raise BundleError(f"has {inside!r} below the link {above.relative_to(target).as_posix()!r}")


def _refuse_links_out(links: Sequence[tuple[Path, str]], target: Path) -> None:
    """Two links that each stay inside may lead out of it together."""
    root = os.path.realpath(target)
    for place, text in links:
        if os.path.commonpath([root, os.path.realpath(place)]) != root:
            inside = place.relative_to(target).as_posix()
            raise BundleError(f"has the link {inside!r} to {text[:100]!r}, which leads out of it through other links")


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, place: Path, room: int, stop: threading.Event) -> int:
    """Writes a file; gives its size. Errors: BundleError, Stopped."""
    place.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o755 if (member.external_attr >> 16) & 0o111 else 0o644
    written = 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with archive.open(member) as source, os.fdopen(os.open(place, flags, mode), "wb") as file:
        while piece := source.read(_PIECE):
            if stop.is_set():
                raise Stopped
            written += len(piece)
            if written > room:
                raise BundleError(f"has more than {MAX_BYTES} bytes when it is unpacked")
            file.write(piece)
    return written
