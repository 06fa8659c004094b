"""From a folder that was put aside to what is sent of it. Reads the whole of it: not for the event loop."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qgjob_agent.disk_watch import may_pass
from qgjob_agent.evidence import kinds
from qgjob_agent.evidence.choice import Bounds, Found, LeftOut, choose
from qgjob_agent.evidence.looking import digest_of, look
from qgjob_agent.evidence.shelf import DEVICE_LOG, FILES, LOG, Kept
from qgjob_agent.leftovers import remove_tree

if TYPE_CHECKING:
    from pathlib import Path

    from qgjob_agent.evidence.shelf import Evidence

OURS = {LOG: ("log.txt", kinds.LOG), DEVICE_LOG: ("device-log.txt", kinds.DEVICE_LOG)}
"""Under which name the agent's own files are kept. A test's file of that name is kept below THEIRS."""
THEIRS = "files"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is sent, and where other files of the folder lie, which have no reader."""

    evidence: Evidence
    others: frozenset[str]


def prepared(evidence: Evidence, bounds: Bounds, *, patient: bool = False) -> Prepared:
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
    others = {*places.values()} - {each.file.path for each in kept}
    return Prepared(replace(evidence, kept=tuple(kept), left_out=tuple(left_out)), frozenset(others))


def _found(path: Path) -> tuple[list[Found], dict[str, str]]:
    """The agent's own files, and where each of them lies."""
    found, places = [], {}
    for place, (name, kind) in OURS.items():
        with contextlib.suppress(FileNotFoundError):
            found.append(Found(name, kind, (path / place).stat().st_size))
            places[name] = place
    return found, places


def clear(choice: Prepared) -> None:
    """Room for others: what is not sent goes, now that it is written down what is."""
    path = choice.evidence.path
    for place in choice.others:
        with contextlib.suppress(OSError):
            (path / place).unlink()
    if not any(each.file.path.startswith(f"{FILES}/") for each in choice.evidence.kept or ()):
        remove_tree(path / FILES)
