"""Starts a program of the product as the lab wants it: its constants beside the times scaled, its scripts exchanged.

    python -m tests.chaos.programs coordinator | agent

`QGJOB_LAB_SCALE` is the factor of the constants that bound a try or a pause and are no settings: a run with a tenth
of the times would else wait longer for one silent peer than a lease lasts. `QGJOB_LAB_LUA` is a folder whose scripts a
coordinator takes instead of its own: that is how a fence is taken away. `QGJOB_LAB_CLOCK` is a file that says by how
many seconds a program's wall clock is wrong. All are of the lab; the product knows none.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from tests.fakes import shifted_clock

SCALE_VARIABLE = "QGJOB_LAB_SCALE"
LUA_VARIABLE = "QGJOB_LAB_LUA"
CLOCK_VARIABLE = "QGJOB_LAB_CLOCK"
LEAST_SECONDS = 1.0
"""Below that a busy machine, not a fault, would end a try."""

CONSTANTS = {
    "qgjob_agent.stream.session": ("_CONNECT_SECONDS", "_WELCOME_SECONDS"),
    "qgjob_coordinator.store.connection": (
        "CONNECT_TIMEOUT_SECONDS",
        "REPLY_TIMEOUT_SECONDS",
        "POOL_TIMEOUT_SECONDS",
    ),
    "qgjob_coordinator.rpc.agents": ("HELLO_SECONDS",),
    "qgjob_coordinator.loops.ending_runs": ("CLAIM_SECONDS", "FAULT_PAUSE_SECONDS"),
    "qgjob_coordinator.loops.timers": ("REGISTRY_SECONDS",),
    "qgjob_coordinator.loops.unbooked": ("LOOK_SECONDS",),
    "qgjob_coordinator.service.agents.health.watch": ("LONGEST_SECONDS",),
}


def scale(program: str, factor: float) -> None:
    """Scales the constants of a program. Raises AttributeError when one is not there any more."""
    for name, constants in CONSTANTS.items():
        if name.startswith(f"qgjob_{program}."):
            module = importlib.import_module(name)
            for constant in constants:
                seconds = getattr(module, constant)
                setattr(module, constant, min(seconds, max(seconds * factor, LEAST_SECONDS)))


def exchange_scripts(folder: Path) -> None:
    """Makes a coordinator take its scripts from `folder`, which has all of them."""
    scripts = importlib.import_module("qgjob_coordinator.store.scripts")
    scripts.LUA = folder  # type: ignore[attr-defined]
    scripts.script.cache_clear()


def main(program: str) -> int:
    """Runs it; its exit code."""
    if CLOCK_VARIABLE in os.environ:
        shifted_clock.install(Path(os.environ[CLOCK_VARIABLE]))
    scale(program, float(os.environ.get(SCALE_VARIABLE, "1")))
    if program == "coordinator" and LUA_VARIABLE in os.environ:
        exchange_scripts(Path(os.environ[LUA_VARIABLE]))
    sys.argv[1:] = []
    code: int = importlib.import_module(f"qgjob_{program}.__main__").main()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
