"""From a folder that was put aside to what is sent of it. Reads the whole of it: not for the event loop."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from qgjob_agent.disk_watch import may_pass
from qgjob_agent.evidence import kinds
from qgjob_agent.evidence.choice import Bounds, Found, LeftOut, choose
from qgjob_agent.evidence.looking import digest_of, entries, look
from qgjob_agent.evidence.shelf import DEVICE_LOG, FILES, LOG, Kept
from qgjob_agent.host.leftovers import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from qgjob_agent.evidence.shelf import Evidence

OURS = {LOG: ("log.txt", kinds.LOG), DEVICE_LOG: ("device-log.txt", kinds.DEVICE_LOG)}
"""Under which name the agent's own files are kept. A test's file of that name is kept below THEIRS."""
THEIRS = "files"
HEAVY_BYTES = 4_000_000
HEAVY_FILES = 500


def is_heavy(evidence: Evidence) -> bool:
    """Whether so much was left that a look at it takes its time."""
    size = 0
    with contextlib.suppress(OSError):  # who looks at it says what is wrong
        ours = ((evidence.path / place, True) for place in OURS if (evidence.path / place).exists())
        for count, (path, plain) in enumerate(chain(ours, entries(evidence.path / FILES))):
            size += path.lstat().st_size if plain else 0
            if size > HEAVY_BYTES or count > HEAVY_FILES:
                return True
    return False


def prepared(evidence: Evidence, bounds: Bounds, *, patient: bool = False) -> Evidence:
    """Chooses what is sent. Raises OSError; `patient`: also where a single file may be given back another time."""
    found, places = _found(evidence.path)
    theirs, passed_over, complete = look(evidence.path / FILES, patient=patient)
    ours = {each.path for each in found}
    for each in theirs:
        name = f"{THEIRS}/{each.path}" if each.path in ours else each.path
        places[name] = f"{FILES}/{each.path}"
        found.append(Found(name, each.kind, each.size_bytes))
    choice = choose(found, bounds, passed_over, complete=complete)
    kept, lost = [], 0
    for named in choice.kept:
        at = replace(named, path=places[named.path])
        try:
            kept.append(Kept(at, digest_of(evidence.path / at.path)))
        except OSError as error:
            if patient and may_pass(error):
                raise
            lost += 1
    left_out = [*evidence.left_out, *choice.left_out]
    if lost:
        left_out.append(LeftOut(lost, 0, "the agent's disk did not give them back"))
    return replace(evidence, kept=tuple(kept), left_out=tuple(left_out))


def _found(path: Path) -> tuple[list[Found], dict[str, str]]:
    """The agent's own files, and where each of them lies."""
    found, places = [], {}
    for place, (name, kind) in OURS.items():
        with contextlib.suppress(FileNotFoundError):
            found.append(Found(name, kind, (path / place).stat().st_size))
            places[name] = place
    return found, places


def clear(evidence: Evidence) -> None:
    """Room for others: what is not sent goes, now that it is written down what is."""
    path, kept = evidence.path, {each.file.path for each in evidence.kept or ()}
    theirs: Iterable[Path] = ()
    if any(each.startswith(f"{FILES}/") for each in kept):
        theirs = (each for each, _ in entries(path / FILES))  # also of those that were too many to be looked at
    else:
        remove_tree(path / FILES)
    for each in chain((path / place for place in OURS), theirs):
        if each.relative_to(path).as_posix() not in kept:
            with contextlib.suppress(OSError):
                each.unlink()
