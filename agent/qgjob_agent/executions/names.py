"""The directory of one execution: what its supervisor and the daemon tell each other, also over a daemon's death.

spec.json     written by the daemon before the start: what to run, from when on, the limits, the assignment
lock          held by the supervisor as long as it lives; its content is the supervisor's process id
cgroup        path of the tree's cgroup, where there is one
started       wall-clock milliseconds at which the command began
output        what the command printed, up to a limit
cancel.json   the daemon's wish: why to end the tree, and the grace; SIGTERM to the supervisor says that it is there
living.json   what of the tree SIGKILL does not end, and since when it is killed; changes with that
overdue.json  an attempt has run over a limit, and the supervisor waits a moment until the daemon has looked at what
              hangs: then that takes the file away
result.json   how it ended; appears when nothing of the tree lives
result.pipe   a named pipe: how it ended, for a daemon that listens, where the disk refuses result.json
out/, tmp/    the test's own directories; they go when the result is in the spool

An execution of several attempts has besides:

plan.json     written when it is made: the assignments, and what its runner needs to begin it, maybe in another daemon
events        JSON lines of the command: what begins, moves and ends (see runners/appwright)
claims/N      a link with a word: `begun` by the command, `left` by the supervisor, `cancelled CAUSE` by the daemon. Who
              makes it first has attempt N; the others keep their hands off
attempts/N/   output and files of attempt N, until the daemon has told all of it, or has begun it elsewhere; then it is
              attempts/N.gone, which nobody answers for, and goes when there is time for it

The rest goes when the coordinator has the result: until then the end of the output may have to be told again. First
goes what tells a daemon that an execution is here, spec.json and plan.json, and at its leisure what is left.

The standard library only: supervisors import this.
"""

from __future__ import annotations

SPEC = "spec.json"
LOCK = "lock"
CGROUP = "cgroup"
CGROUP_PREFIX = "qgjob-"
STARTED = "started"
OUTPUT = "output"
CANCEL = "cancel.json"
LIVING = "living.json"
OVERDUE = "overdue.json"
RESULT = "result.json"
RESULT_DRAFT = "result.draft"
RESULT_PIPE = "result.pipe"
PLAN = "plan.json"
EVENTS = "events"
CLAIMS = "claims"
ATTEMPTS = "attempts"
GIVEN_UP = ".gone"
MOST_BYTES = 64 * 1024 * 1024
"""No daemon writes as much into spec.json, plan.json, or what a runner has beside them."""
OUT = "out"
TMP = "tmp"

# What ended an execution.
EXIT = "exit"
TIMEOUT = "timeout"
SILENCE = "silence"
CANCELLED = "cancelled"
LEASE = "lease"
NOT_STARTED = "not_started"
FLOODED = "flooded"  # its file of events has grown too large to be read
LINGERED = "lingered"  # all of its attempts had ended, and the command did not
REMOVED = "removed"  # spec.json was taken away, mostly with all of the directory: by the test, for all that is known
ENDS = (EXIT, TIMEOUT, SILENCE, CANCELLED, LEASE, NOT_STARTED, FLOODED, LINGERED, REMOVED)

# Who has an attempt of several.
BEGUN = "begun"
LEFT = "left"

# The variable that marks every process of an execution.
MARKER = "QGJOB_EXECUTION"


def lock_text(pid: int) -> bytes:
    """The lock's content, of one width: written in place it needs no room. 0: no supervisor has got so far yet."""
    return f"{pid:<19}\n".encode()


def cgroup_name(execution_id: str) -> str:
    """The cgroup of an execution, below that of its supervisor."""
    return f"{CGROUP_PREFIX}{execution_id}"
