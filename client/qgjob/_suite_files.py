"""Which files of a folder belong to its suite: what git tracks or does not ignore, and never node_modules."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from qgjob._errors import InvalidError

LEFT_OUT = frozenset({".git", "node_modules"})
FIELD = "suite"
MAX_NAME_BYTES = 255
"""Of the name of a file or folder, since Linux takes no more: a Mac has longer ones."""
MAX_PATH_BYTES = 1024
"""Of the path of a file in its suite, as the coordinator takes it."""


def suite_files(folder: Path) -> dict[str, Path]:
    """By path within the suite, sorted, where its files are. Raises InvalidError whose field is `suite`."""
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "is not there"
        raise wrong(f"{str(folder)!r} {what}; name the folder of the test project")
    found: dict[str, Path] = {}
    for path in _listed(folder):
        _add(found, folder, path, ())
    if not found:
        raise wrong(f"{str(folder)!r} has no file that git does not ignore; name the folder of the test project")
    return dict(sorted(found.items()))


def wrong(reason: str) -> InvalidError:
    """The error of a folder that can't be packed."""
    return InvalidError(f"{FIELD}: {reason}", field=FIELD)


def check_path(path: str) -> None:
    """Raises InvalidError for a file of the suite whose name can't be on every host that tests run on, or its path."""
    try:
        longest = max(len(name.encode()) for name in path.split("/"))
    except UnicodeEncodeError:
        raise wrong(f"{path!r}: its name is no UTF-8; rename it") from None
    if longest > MAX_NAME_BYTES:
        raise wrong(f"{path!r} has a name of {longest} bytes, and at most {MAX_NAME_BYTES} are taken; shorten it")
    if (size := len(path.encode())) > MAX_PATH_BYTES:
        raise wrong(f"{path!r} has a path of {size} bytes, and at most {MAX_PATH_BYTES} are taken; shorten its folders")


def _listed(folder: Path) -> Iterator[str]:
    """Paths within the folder: of files, of links, and of repositories within the repository."""
    own = folder.absolute()
    in_repository = any((place / ".git").exists() for place in (own, *own.parents))
    command = ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "."]
    try:
        done = subprocess.run(command, check=False, capture_output=True)  # noqa: S603 - git, with a folder's name
    except FileNotFoundError:
        done = None
    said = "it is not installed" if done is None else done.stderr.decode(errors="replace").strip()
    if done is not None and done.returncode == 0:
        yield from dict.fromkeys(os.fsdecode(each) for each in done.stdout.split(b"\0") if each)
    elif in_repository:  # what git ignores may be secret: it is not packed because git has a problem
        raise wrong(f"{str(folder)!r} is in a git repository, and git can't tell what it ignores: {said}")
    else:
        yield from _walked(folder)


def _walked(folder: Path) -> Iterator[str]:
    def fail(error: OSError) -> None:
        raise wrong(f"{error.filename!r} can't be read: {error.strerror}")

    for place, folders, files in os.walk(folder, onerror=fail):
        below = Path(place).relative_to(folder)
        linked = [name for name in folders if (Path(place) / name).is_symlink()]
        folders[:] = [name for name in folders if name not in LEFT_OUT and name not in linked]
        yield from ((below / name).as_posix() for name in (*files, *linked))


def _add(found: dict[str, Path], folder: Path, path: str, through: tuple[Path, ...]) -> None:
    """Adds what lies at a path. Links are followed within the suite; `through` are folders that links led to."""
    if not LEFT_OUT.isdisjoint(path.split("/")):
        return
    place = folder / path
    target = _followed(folder, place, path) if place.is_symlink() else place
    if target.is_file():
        found[path.rstrip("/")] = target
    elif target.is_dir():
        if target in through:
            raise wrong(f"{path!r} is a link that leads back to a folder it lies in; remove it")
        # A submodule that is not checked out is an empty folder, in which git would list the repository around it.
        own = target is place and (target / ".git").exists()
        within = _listed(target) if own else _walked(target)
        for each in within:
            _add(found, folder, f"{path.rstrip('/')}/{each}", (*through, target))
    elif target.exists():
        raise wrong(f"{path!r} is no file; a suite has files alone")
    # What git tracks and somebody removed is no part of the suite.


def _followed(folder: Path, place: Path, path: str) -> Path:
    target = Path(os.path.realpath(place))
    if not target.exists():
        raise wrong(f"{path!r} is a link to {str(target)!r}, which is not there")
    if not target.is_relative_to(os.path.realpath(folder)):
        raise wrong(f"{path!r} is a link out of the suite, to {str(target)!r}; name a folder that has both")
    return target
