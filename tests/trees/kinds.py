"""Commands that are hard to end. Each says that it is up by making the file `$UP`; each of its processes is marked.

The mark is the value of `$TREE` in the environment; a process that clears its environment has it in its command line.
None of them outlives some minutes, and a storm is of 270 processes at most: what a fault leaves alive must not take
down the machine that it is found on.
"""

from __future__ import annotations

import shlex
import sys

FORK_STORM = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
end = time.monotonic() + 60
def storm(depth, most):
    born = 0
    while time.monotonic() < end:
        if born < most:
            born += 1
            if os.fork() == 0:
                os.setsid()
                storm(depth + 1, 8 if depth == 0 else 0)
                os._exit(0)
        if depth == 1 and not os.path.exists(os.environ["UP"]):
            open(os.environ["UP"], "w").close()
        time.sleep(0.05)
storm(0, 30)
"""
STOPPED = """
import os, signal
if os.fork() == 0:
    os.setsid()
    open(os.environ["UP"], "w").close()
os.kill(os.getpid(), signal.SIGSTOP)
"""
_PYTHON = f"exec {shlex.quote(sys.executable)} -I -S -c"
_FOR_A_WHILE = "i=0; while [ $i -lt 600 ]; do i=$((i+1)); sleep 0.2; done"
_DEAF = f'trap "" TERM; : > $UP; {_FOR_A_WHILE}'

KINDS = {
    "plain": ": > $UP; exec sleep 600",
    "setsid": "setsid sh -c ': > $UP; exec sleep 600' & wait",
    "double_forked": "(setsid sh -c '(sleep 600 & : > $UP)' &); sleep 600",
    "ignores_term": _DEAF,
    "deaf_orphan": f"(setsid sh -c {shlex.quote(f'({_DEAF}) &')} &); sleep 600",
    "no_environment": f"(setsid env -i TREE= UP=$UP sh -c {shlex.quote(_DEAF)} $TREE &); exec sleep 600",
    "respawns_at_term": f"trap 'setsid sleep 600 & exit 0' TERM; : > $UP; {_FOR_A_WHILE}",
    "stopped": f"{_PYTHON} {shlex.quote(STOPPED)}",
    "fork_storm": f"{_PYTHON} {shlex.quote(FORK_STORM)}",
}
"""By name, as scripts for `sh -c`."""

STORM_EVERY = 20
"""One tree in so many is a storm: it takes the processor from all others."""


def kind_of(number: int) -> str:
    """The kind of the tree with this number, from 0: the storms spread evenly, the others in turn."""
    calm = [name for name in KINDS if name != "fork_storm"]
    return "fork_storm" if number % STORM_EVERY == STORM_EVERY // 2 else calm[number % len(calm)]
