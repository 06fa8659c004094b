"""Whether this host can start what the `command` runner is to start: asked before jobs fail for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Formatter

from qgjob_agent.places import Place, look


def problems(argv: Sequence[str], cwd: Path, environ: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Each setting that keeps the command from being started: its name, its value, and why.

    `argv` is a template that check_template has passed, `environ` what tests inherit. A program that a placeholder
    names is not looked for, nor a relative one where its folder is missing.
    """
    why = _why_no_folder(cwd)
    if why is not None:
        yield "command.cwd", str(cwd), why
    parts = list(Formatter().parse(argv[0]))
    if any(name is not None for _, name, _, _ in parts):
        return
    program = "".join(text for text, _, _, _ in parts)
    why = _why_not(program, cwd, environ)
    if why is not None:
        yield "command.argv", program, why


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


def _why_not(program: str, cwd: Path, environ: Mapping[str, str]) -> str | None:
    if "/" not in program:
        path = os.pathsep.join(os.get_exec_path(dict(environ)))
        if shutil.which(program, path=path) is not None:
            return None
        return f"is not on the PATH that tests get ({path}); name its path, or see command.env_allow"
    if not Path(program).is_absolute() and _why_no_folder(cwd) is not None:
        return None
    where = cwd / program
    place = look(where)
    if place is Place.CLOSED:
        return "is below a folder that may not be entered; name a program that the agent's user may get at"
    if place is Place.MISSING:
        beside = "" if Path(program).is_absolute() else f" in command.cwd, {cwd}"
        return f"is no program that is there{beside}; name one"
    if place is Place.FOLDER or not os.access(where, os.X_OK):
        return "can't be executed; is it a file with the right to be (chmod +x)?"
    return None
