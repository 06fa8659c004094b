"""Looks through a zip of an .app folder for what no agent would unpack, so that it is said to who pushes it.

Agents unpack nothing on this word: they look at all of it again, and at what only shows when it is unpacked, as where
several links lead together.
"""

from __future__ import annotations

import stat

from qgjob_coordinator.packages.archive import Archive, Member
from qgjob_coordinator.packages.errors import PackageError

MAX_MEMBERS = 100_000
MAX_LINK_BYTES = 4096
"""Both as agents have them."""


def check(archive: Archive, folder: str) -> None:
    """Reads the directory and the links of an archive with an app in `folder`. Raises PackageError."""
    if archive.count > MAX_MEMBERS:
        raise PackageError(f"has {archive.count} files, and {MAX_MEMBERS} are the most")
    for member in archive.members():
        parts = _parts(member.name)
        if member.name.startswith("/") or ".." in parts or "\\" in member.name or "\0" in member.name:
            raise PackageError(f"has {member.shown}, which would lie outside of it; zip the .app folder again")
        if parts[:1] == [folder] and not member.name.endswith("/"):
            _check_kind(archive, member, parts[1:])


def _check_kind(archive: Archive, member: Member, inside: list[str]) -> None:
    """`inside`: where the member lies in the app's folder."""
    kind = stat.S_IFMT(member.mode)
    if kind == stat.S_IFLNK:
        text = archive.read(member, MAX_LINK_BYTES).decode("utf-8", "replace")
        if _leads_out(text, inside[:-1]):
            raise PackageError(f"has the link {member.shown} to {text[:100]!a}, which leads out of it")
    elif kind not in (0, stat.S_IFREG):
        raise PackageError(f"has {member.shown}, which is neither a file nor a folder nor a link")


def _leads_out(text: str, folders: list[str]) -> bool:
    """Whether a link that lies in these folders of the app leads out of it, or nowhere."""
    if not text or text.startswith("/") or "\0" in text:
        return True
    depth = len(folders)
    for part in _parts(text):
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return False


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
