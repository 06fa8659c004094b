"""Whether this host can start what a runner is to start: asked before jobs fail for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import NamedTuple

from qgjob_agent.host.places import Place, look

_HEAD_BYTES = 256
"""As far as Linux looks for what runs a script."""


class Named(NamedTuple):
    """What the settings are called, in one table, that have the command and its folder."""

    argv: str
    cwd: str

    @property
    def env_allow(self) -> str:
        """The setting of what the command may see of the environment."""
        return f"{self.argv.partition('.')[0]}.env_allow"


def problems(
    argv: Sequence[str], cwd: Path, environ: Mapping[str, str], named: Named
) -> Iterator[tuple[str, str, str]]:
    """Each setting that keeps the command from being started: its name, its value, and why.

    `argv` is a template that check_template has passed, `environ` what tests inherit. A program that a placeholder
    names is not looked for, nor a relative one where its folder is missing.
    """
    why = _why_no_folder(cwd)
    if why is not None:
        yield named.cwd, str(cwd), why
    parts = list(Formatter().parse(argv[0]))
    if any(name is not None for _, name, _, _ in parts):
        return
    program = "".join(text for text, _, _, _ in parts)
    why = _why_not(program, cwd, environ, named)
    if why is not None:
        yield named.argv, program, why


def _why_no_folder(cwd: Path) -> str | None:
    """Why nothing can be started in a folder; None if something can."""
    place = look(cwd)
    if place is Place.MISSING:
        return "is not there; make the folder, or name another"
    if place is Place.FILE:
        return "is no folder; name one"
    if place is Place.CLOSED or not os.access(cwd, os.X_OK):
        return "may not be entered; name a folder that the agent's user may enter"
    return None


def _why_not(program: str, cwd: Path, environ: Mapping[str, str], named: Named) -> str | None:
    if "/" not in program:
        return _why_not_on_path(program, os.get_exec_path(dict(environ)), cwd, named)
    if not Path(program).is_absolute() and _why_no_folder(cwd) is not None:
        return None
    where = cwd / program
    place = look(where)
    if place is Place.CLOSED:
        return "is below a folder that may not be entered; name a program that the agent's user may get at"
    if place is Place.MISSING:
        beside = "" if Path(program).is_absolute() else f" in {named.cwd}, {cwd}"
        return f"is no program that is there{beside}; name one"
    if place is Place.FOLDER or not os.access(where, os.X_OK):
        return "can't be executed; is it a file with the right to be (chmod +x)?"
    return _why_not_run(where, cwd)


def _why_not_on_path(program: str, folders: Sequence[str], cwd: Path, named: Named) -> str | None:
    """As it is started: what one folder has and can't be run, the next one may have."""
    found = [Path(each) for folder in folders if (each := shutil.which(program, path=folder)) is not None]
    if not found:
        path = os.pathsep.join(folders)
        return f"is not on the PATH that tests get ({path}); name its path, or see {named.env_allow}"
    (_, why), *others = [(each, _why_not_run(each, cwd)) for each in found]
    return why if all(other is not None for _, other in others) else None


def _why_not_run(file: Path, cwd: Path) -> str | None:
    """Why the system can't run a file that may be executed, by how it begins; None where that is not known."""
    try:
        with file.open("rb") as opened:
            head = opened.read(_HEAD_BYTES)
    except OSError:  # to execute it the agent's user need not be one who may read it
        return None
    if head.startswith(b"#!"):
        words = head.partition(b"\n")[0][2:].replace(b"\t", b" ").split(b" ")
        interpreter = next((os.fsdecode(word) for word in words if word), "")
        place = cwd / interpreter
        if interpreter and look(place) is Place.FILE and os.access(place, os.X_OK):
            return None
        shown = ascii(interpreter)  # the end of a line as Windows writes it is a part of the name
        return f"is to be run by {shown}, by its first line (#!), and that is no program here; name one there"
    if b"\0" in head:  # ELF, or another format that this system may know
        return None
    return "is a text without a first line that names what runs it; is the #! line missing (#!/bin/sh)?"
