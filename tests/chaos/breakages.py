"""Fences to take away, one at a time: a run against such a system must find it, or it would find no real fault either.

They are those that chance meets within minutes. Others stand behind one another: each has a test of its own that comes
to it directly.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from qgjob_coordinator.store.scripts import LUA


@dataclass(frozen=True)
class Breakage:
    """`old` in a script becomes `new`. `breaks`: what then happens; `seen_by`: the rule that a run breaks then."""

    script: str
    old: str
    new: str
    breaks: str
    seen_by: str


BREAKAGES = {
    "submit_replay": Breakage(
        "submit.lua",
        "if known then\n",
        "if false then\n",
        "a repeated submission begins the job anew",
        "acknowledged_jobs_have_one_verdict_a_round",
    ),
    "claim_again": Breakage(
        "claim.lua",
        "if v[1] == 'q' and not v[3] and not v[6] and of == gid then",
        "if (v[1] == 'q' or v[1] == 's' or v[1] == 'r') and not v[6] and of == gid then",
        "a job that another coordinator has given out is given out once more",
        "acknowledged_jobs_have_one_verdict_a_round",
    ),
    "finish_revoked": Breakage(
        "finish.lua",
        "    if j.rv then\n",
        "    if false then\n",
        "a cancelled job gets a second verdict",
        "moves_are_legal",
    ),
    "finish_token": Breakage(
        "finish.lua",
        "  if j and j.l and j.k == token then\n",
        "  if j and j.l then\n",
        "a result of a lease that was given up decides while another one has the job",
        "reports_carry_the_last_token",
    ),
    "open_epoch": Breakage(
        "open.lua",
        "if epoch <= stored then",
        "if false then",
        "an agent is back in the session that it had waited for in vain, and not in the one that it has",
        "an_old_session_is_shut_out",
    ),
    "retry_budget": Breakage(
        "lib/attempt.lua",
        "num(j.tr) < num(j.mr)",
        "num(j.tr) <= num(j.mr)",
        "a failing job has one retry too many",
        "a_verdict_has_a_cause",
    ),
    "superseded_mark": Breakage(
        "lib/runs.lua",
        "    to_cancel(x, mark, 'superseded by run ' .. run)\n",
        "",
        "the run that lost its key goes on",
        "a_superseded_run_ends",
    ),
    "bond_mark": Breakage(
        "part.lua",
        "to_cancel(ARGV[1], ARGV[2]",
        "bool(ARGV[1] .. ARGV[2]",
        "the run of a client that went goes on",
        "a_bond_ends_with_its_client",
    ),
    "hold_kept": Breakage(
        "hold.lua",
        "else call('HSET', key, ARGV[i], value) end",
        "elseif string.sub(ARGV[i], 1, 5) ~= 'hold:' then call('HSET', key, ARGV[i], value) end",
        "a device is given jobs that somebody has reserved",
        "a_held_device_starts_nothing",
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
