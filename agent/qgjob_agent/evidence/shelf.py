"""Evidence on its way, on the disk: one folder for each attempt, which outlives the daemon.

meta.json     whose it is; then, when it was looked at, what is sent and what is not
log           what the test printed: the same file as the execution's
files/        what the test left in its output folder
device-log    what the device logged meanwhile

A folder is made beside the shelf's others under a name with a dot, and gets its own when it is whole. Putting evidence
aside moves names and no bytes, so it costs an attempt's end next to nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from qgjob_agent.disk_watch import may_pass
from qgjob_agent.evidence.choice import LeftOut, Named
from qgjob_agent.executions.records import is_number, is_time
from qgjob_agent.host.leftovers import remove_tree

if TYPE_CHECKING:
    from pathlib import Path

META = "meta.json"
LOG = "log"
FILES = "files"
DEVICE_LOG = "device-log"
_DRAFT = "."
_ID_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Whose:
    """An attempt that has ended. `outcome` is None for one that was killed. Times are milliseconds since the epoch."""

    job_id: str
    token: str
    attempt: int
    device_id: str
    outcome: str | None
    started_at_ms: int
    ended_at_ms: int

    @property
    def place(self) -> str:
        """The name of its folder: a token is no name for the disk."""
        return hashlib.sha256(self.token.encode()).hexdigest()[:_ID_DIGITS]


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that is to be sent: under which name, and where it lies in the attempt's folder."""

    file: Named
    digest: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """One attempt's. `kept` is None until it was looked at."""

    path: Path
    whose: Whose
    kept: tuple[Kept, ...] | None = None
    left_out: tuple[LeftOut, ...] = field(default=())

    @property
    def size_bytes(self) -> int:
        """What is to be sent, in all."""
        return sum(each.file.size_bytes for each in self.kept or ())

    def without_files(self, reason: str) -> Evidence:
        """The same with nothing to send but that it was there, and why it is not sent."""
        gone = LeftOut(len(self.kept or ()), self.size_bytes, reason)
        return replace(self, kept=(), left_out=(*self.left_out, gone))


class BrokenError(Exception):
    """A folder says no more whose it is. The message says why."""


class Shelf:
    """The folder of all of them. Methods raise OSError where the disk refuses."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, whose: Whose, files: Path, output: Path) -> Evidence | None:
        """Puts aside what an attempt left: the folder is moved, the output keeps its place too. Again: None."""
        place = self._path / whose.place
        if place.exists():
            return None
        draft = self._path / f"{_DRAFT}{whose.place}"
        draft.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            (draft / META).write_text(json.dumps({"whose": asdict(whose)}), "utf-8")
        except OSError as error:  # who looks at it knows whose it is, and writes it down
            if not may_pass(error):
                raise
        with contextlib.suppress(FileExistsError, FileNotFoundError):  # of a daemon that died; nothing was printed
            _linked(output, draft / LOG)
        with contextlib.suppress(FileNotFoundError):
            files.rename(draft / FILES)
        draft.rename(place)
        return Evidence(place, whose)

    def settle(self) -> list[Path]:
        """The folders that an earlier daemon left. What it died over is made whole, or is not there."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for draft in [each for each in self._path.iterdir() if each.name.startswith(_DRAFT)]:
            # With files it was moved here for good. Without, its execution is still there, and it is taken again.
            if (draft / FILES).is_dir():
                draft.rename(self._path / draft.name.removeprefix(_DRAFT))
            else:
                remove_tree(draft)
        return list(self._path.iterdir())

    def read(self, path: Path) -> Evidence:
        """What is in one of them. Raises BrokenError for what is no evidence, and never will be."""
        try:
            told: dict[str, Any] = json.loads((path / META).read_text("utf-8"))
            kept = told.get("kept")
            return Evidence(
                path,
                _whose_of(told["whose"]),
                None if kept is None else tuple(Kept(Named(**each["file"]), each["digest"]) for each in kept),
                tuple(LeftOut(**each) for each in told.get("left_out", ())),
            )
        except OSError as error:
            if may_pass(error):
                raise
            raise BrokenError(error.strerror or str(error)) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BrokenError(f"{META} is not what an agent writes: {error!r}") from error

    def write(self, evidence: Evidence) -> None:
        """Keeps what was found out of it."""
        told = {
            "whose": asdict(evidence.whose),
            "kept": None if evidence.kept is None else [asdict(each) for each in evidence.kept],
            "left_out": [asdict(each) for each in evidence.left_out],
        }
        draft = evidence.path / f"{META}.draft"
        draft.write_text(json.dumps(told), "utf-8")
        draft.replace(evidence.path / META)

    def drop(self, evidence: Evidence, reason: str) -> Evidence:
        """Gives up the bytes of it; that it was there is still told."""
        gone = evidence.without_files(reason)
        try:
            self.write(gone)
        except OSError:  # as of a full disk, which has room when the bytes are gone
            _remove_files(evidence.path)
            self.write(gone)
        else:
            _remove_files(evidence.path)
        return gone

    def halve(self, evidence: Evidence, reason: str) -> Evidence:
        """Leaves out files from the end, until what is sent is half as large, or nothing."""
        kept, most = [], evidence.size_bytes // 2
        for each in evidence.kept or ():
            most -= each.file.size_bytes
            if most < 0:
                break
            kept.append(each)
        gone = (evidence.kept or ())[len(kept) :]
        left_out = LeftOut(len(gone), sum(each.file.size_bytes for each in gone), reason)
        less = replace(evidence, kept=tuple(kept), left_out=(*evidence.left_out, left_out))
        self.write(less)
        for each in gone:
            (evidence.path / each.file.path).unlink(missing_ok=True)
        return less

    def remove(self, path: Path) -> bool:
        """Takes a folder away; False if something of it is left."""
        return remove_tree(path)


def _whose_of(fields: dict[str, Any]) -> Whose:
    """As it was written down. Raises TypeError or ValueError for what no message can tell."""
    made = Whose(**fields)
    "".join((made.job_id, made.token, made.device_id, made.outcome or "")).encode()
    if not (is_number(made.attempt) and is_time(made.started_at_ms) and is_time(made.ended_at_ms)):
        raise ValueError("a value is of another kind")
    return made


def _remove_files(path: Path) -> None:
    for name in (FILES, LOG, DEVICE_LOG):
        remove_tree(path / name)
        (path / name).unlink(missing_ok=True)


def _linked(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except PermissionError:  # a file system without them
        shutil.copyfile(source, target, follow_symlinks=False)
