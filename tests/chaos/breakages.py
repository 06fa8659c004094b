"""Fences to take away, one at a time: a run against such a system must find it, or it would find no real fault either.

They are those that chance meets within minutes. Others stand behind one another, such as the token of a report behind
what Connect settles: each has a test of its own that comes to it directly.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from qgjob_coordinator.store.scripts import LUA


@dataclass(frozen=True)
class Breakage:
    """`old` in a script becomes `new`. `breaks`: what then happens."""

    script: str
    old: str
    new: str
    breaks: str


BREAKAGES = {
    "submit_replay": Breakage(
        "submit.lua", "if known then\n", "if false then\n", "a repeated submission begins the job anew"
    ),
    "claim_again": Breakage(
        "claim.lua",
        "if v[1] == 'q' and not v[3] and not v[6] and of == gid then",
        "if (v[1] == 'q' or v[1] == 's' or v[1] == 'r') and not v[6] and of == gid then",
        "a job that another coordinator has given out is given out once more",
    ),
    "finish_revoked": Breakage(
        "finish.lua", "    if j.rv then\n", "    if false then\n", "a cancelled job gets a second verdict"
    ),
}


def broken(name: str, folder: Path) -> Path:
    """A folder of all scripts, one of them broken. Raises ValueError when what is to be broken is not there."""
    breakage = BREAKAGES[name]
    shutil.copytree(LUA, folder)
    file = folder / breakage.script
    text = file.read_text()
    if text.count(breakage.old) != 1:
        raise ValueError(f"{breakage.script} has {breakage.old!r} {text.count(breakage.old)} times, not once")
    file.write_text(text.replace(breakage.old, breakage.new))
    return folder
