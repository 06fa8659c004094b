"""Child processes of `qgjob up`: each with a log file of its own, ended in order."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_LOG_LINES = 15
_COMPLAINT = re.compile(r"^\S+ \[(?:warning|error) *\] +(?P<event>\S+)(?P<values>.*)$")
_REASON = re.compile(r"\breason=(?P<quote>['\"])(?P<text>.*?)(?P=quote)")
_POLL_SECONDS = 0.05
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def ended_with_this_process() -> Callable[[], None] | None:
    """For `before`: the program gets TERM when this process dies, however it does. None where no kernel does that.

    It is for programs that do not look after their parent, and is called in the thread that starts them: that one's end
    counts.
    """
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def before() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before that took effect
            os._exit(1)

    return before


def keep_last_logs(logs: Path) -> None:
    """Make room for the logs of a new run: those of the last one are `<name>.log.1` from here on. Raises OSError."""
    for log in logs.glob("*.log"):
        log.replace(log.with_name(f"{log.name}.1"))


class Child:
    """A program under this one's care. `name` is how people know it."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        logs: Path,
        inherits: Sequence[int] = (),
        before: Callable[[], None] | None = None,
        goes_on: bool = False,
    ) -> None:
        """Start it with its output in `<logs>/<name>.log`; behind what is there when it `goes_on` with another's work.

        `inherits` are files that it holds open too; `before` is called in the new process before it is the program.

        In a session of its own: Ctrl-C in a terminal goes to the whole foreground, and would end the programs in any
        order.
        """
        self.name = name
        self.log = logs / f"{name}.log"
        self.started_at = time.monotonic()
        with self.log.open("ab" if goes_on else "wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - programs of ours, and the store that was chosen
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=inherits,
                start_new_session=True,
                preexec_fn=before,  # noqa: PLW1509 - see `ended_with_this_process`: it takes no locks
            )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """The process is gone."""
        return self._process.poll() is not None

    @property
    def how_it_ended(self) -> str:
        """`exited with 1`, `was ended by SIGKILL`."""
        code = self._process.poll()
        if code is not None and code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return "did not answer" if code is None else f"exited with {code}"

    def obituary(self) -> str:
        """How it ended, and the end of its log."""
        lines = self.log.read_text("utf-8", errors="replace").splitlines()[-_LOG_LINES:]
        return "\n    ".join([f"{self.name} {self.how_it_ended}; {self.log} ends with:", *lines])

    def complaint(self) -> str | None:
        """What the last line of its log warns of, without its time; None where that is no warning."""
        lines = self.log.read_text("utf-8", errors="replace").splitlines()
        line = _COMPLAINT.match(lines[-1]) if lines else None
        if line is None:
            return None
        reason = _REASON.search(line["values"])
        return reason["text"] if reason else " ".join(f"{line['event']}{line['values']}".split())

    async def stop(self, grace_seconds: float) -> None:
        """TERM, and KILL when it has not ended after the grace."""
        clock = asyncio.get_running_loop().time
        end = clock() + grace_seconds
        if not self.ended:
            self._process.terminate()
        while not self.ended and clock() < end:  # noqa: ASYNC110 - a process sets no event without a thread to wait for it
            await asyncio.sleep(_POLL_SECONDS)
        if not self.ended:
            self._process.kill()
            self._process.wait()
