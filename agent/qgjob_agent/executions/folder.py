"""An execution as its folder shows it to the daemon, whatever is written down of what it carries out."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
from typing import TYPE_CHECKING

import psutil

from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.executions import names
from qgjob_agent.executions.folder_watch import is_removed
from qgjob_agent.executions.oom_kills import oom_kills
from qgjob_agent.executions.records import is_number, is_time, living_of, result_of
from qgjob_agent.executions.result_file import ResultEar
from qgjob_agent.executions.stopped_supervisor import Asked
from qgjob_agent.host.leftovers import remove_tree
from qgjob_agent.host.plain_file import is_withheld, put_text, text_of
from qgjob_agent.host.process_tree import Cgroup, is_stopped

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from qgjob_agent.core.values import DeathCause, LivingTree
    from qgjob_agent.executions.records import ExecutionResult

SUPERVISOR = "qgjob_agent.supervisor"
"""The module that supervisors are started with."""


class ExecutionFolder:
    """`pidfd` becomes readable when its supervisor has ended (Linux); -1 elsewhere.

    `asked` are the cancels of this daemon, by attempt.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.process: subprocess.Popen[bytes] | None = None
        self.supervisor_pid = 0
        self.pidfd = -1
        self.asked: dict[int | None, Asked] = {}
        self._ear: ResultEar | None = None
        self._result_given_up = False
        self._oom_kills: int | None = None  # as its supervisor was begun here

    # ---- finding again ----

    def _listen(self) -> None:
        """From before the supervisor could end, or be found to have ended: what it tells must have somebody to hear."""
        self._ear = ResultEar(str(self.path / names.RESULT_PIPE))

    def _watch(self, pid: int) -> None:
        self.supervisor_pid = pid
        if pid and hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                self.pidfd = os.pidfd_open(pid)

    def adopt(self) -> bool:
        """Finds the supervisor of an earlier daemon; False if it does not live any more."""
        self._listen()
        self._watch(self._supervisor())
        # Asked after the pidfd is open: as the lock is held now, the process id was the supervisor's then.
        if self.supervised:
            return True
        self.close()
        return False

    def _holder(self) -> int:
        """The process id in the lock; 0 while the supervisor has not got so far, and for what is none."""
        try:
            pid = int(text_of(self.path / names.LOCK))
        except (OSError, ValueError):
            return 0
        return pid if is_number(pid) else 0  # others mean a group, or all processes

    def _supervisor(self) -> int:
        """The process id of the supervisor, looked for where the lock names none: a test may write there.

        0 where there is none. Raises as `supervised` does.
        """
        pid = self._holder()
        if _supervises(pid, self.path.name) or not self.supervised:
            return pid
        return next((each for each in psutil.pids() if _supervises(each, self.path.name)), 0)

    @property
    def supervised(self) -> bool:
        """True while the supervisor lives. Raises OSError where the disk does not say."""
        lock, flags = self.path / names.LOCK, os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(lock, os.O_RDWR | flags)  # to write: some file systems lock nothing else
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # a link or a socket: nobody of ours has put it there
                return False
            fd = os.open(lock, os.O_RDONLY | flags)  # of a disk that has turned read-only
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    @property
    def removed(self) -> bool:
        """Whether the folder of something that was begun was taken away, and no daemon can find it any more."""
        return is_removed(str(self.path / names.SPEC))

    @property
    def started_at_ms(self) -> int:
        """When the command began; 0 if it has not, and for what is no time."""
        try:
            started = int(text_of(self.path / names.STARTED))
        except (OSError, ValueError):
            return 0
        return started if is_time(started) else 0

    @property
    def cgroup(self) -> str | None:
        """The path of the tree's cgroup. A supervisor that was killed early has not written it down, or was refused."""
        with contextlib.suppress(OSError):
            if written := text_of(self.path / names.CGROUP):
                return written
        found = Cgroup.find(names.cgroup_name(self.path.name))
        return None if found is None else found.path

    # ---- ending ----

    def cancel(self, cause: DeathCause, grace_seconds: float, attempt: int | None = None) -> None:
        """Asks the supervisor to end the tree; for the sake of one of several attempts only if it is the one that runs.

        Where the disk refuses the request, the signal alone has to do.
        """
        now, before = monotonic_seconds(), self.asked.get(attempt)
        self.asked[attempt] = before.again(now, grace_seconds) if before else Asked(cause, now, grace_seconds)
        request = {"cause": cause.value, "grace_seconds": grace_seconds, "attempt": attempt}
        with contextlib.suppress(OSError):
            put_text(self.path / names.CANCEL, json.dumps(request))
        self._signal(signal.SIGTERM)

    def wake_supervisor(self) -> None:
        """Its test can stop it, being of the same user; it is nothing to a supervisor that runs."""
        self._signal(signal.SIGCONT)

    def supervisor_stopped(self) -> bool:
        """Whether it is, as far as that can be told."""
        return self.supervisor_pid > 0 and is_stopped(self.supervisor_pid)

    def stop_supervisor(self) -> bool:
        """From now on it does nothing: nor does it take its tree's end for one of that's own. False: it has ended."""
        return self._signal(signal.SIGSTOP)

    def kill_supervisor(self) -> None:
        """Where it does not end its tree. Who does this hunts the tree down."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> bool:
        """Whether there is somebody to take it. Raises OSError where the disk does not say, and there is no pidfd."""
        with contextlib.suppress(ProcessLookupError):
            if self.pidfd >= 0:
                signal.pidfd_send_signal(self.pidfd, number)
                return True
            if self.supervised and (pid := self.supervisor_pid or self._supervisor()):
                os.kill(pid, number)
                return True
        return False

    @property
    def killed_by(self) -> int:
        """The signal that ended the supervisor; 0 while it lives, where it ended by itself, and for another daemon's.

        Known once `close` was called after its end.
        """
        code = self.process.returncode if self.process is not None else None
        return -code if code is not None and code < 0 else 0

    @property
    def killed_for_memory(self) -> bool:
        """Whether what killed the supervisor may have been the kernel, which has killed something for want of memory
        since it was begun. Known as `killed_by` is.
        """
        if self.killed_by != signal.SIGKILL or self._oom_kills is None:
            return False
        now = oom_kills()
        return now is not None and now > self._oom_kills

    def result(self) -> ExecutionResult | None:
        """How it ended; None if the supervisor could not say. Final once it has ended.

        Raises OSError where the disk does not give back what may be there.
        """
        refused = None
        try:
            return result_of(text_of(self.path / names.RESULT))
        except OSError as error:
            if not self._result_given_up and is_withheld(error):
                refused = error
        heard = result_of(self._ear.heard()) if self._ear is not None else None
        if heard is None and refused is not None:
            raise refused
        return heard

    def give_up_result(self) -> None:
        """What the disk has not given back for long counts as not said."""
        self._result_given_up = True

    def overdue(self) -> int | None:
        """The attempt that has run over a limit, while its supervisor waits for `looked`. Raises OSError."""
        try:
            attempt = json.loads(text_of(self.path / names.OVERDUE))["attempt"]
        except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return attempt if type(attempt) is int else None

    def looked(self) -> None:
        """Its supervisor need not wait any more."""
        with contextlib.suppress(OSError):  # it does not wait long
            (self.path / names.OVERDUE).unlink(missing_ok=True)

    def living(self) -> LivingTree | None:
        """What of the tree SIGKILL does not end, while its supervisor hunts it; None where that is nothing."""
        try:
            return living_of(text_of(self.path / names.LIVING))
        except OSError:
            return None

    def close(self) -> None:
        """Stops watching; reaps the supervisor if it was ours and has ended."""
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        if self._ear is not None:
            self._ear.close()
        if self.process is not None:
            self.process.poll()

    def give_up(self) -> None:
        """No daemon takes the directory for an execution from now on, so it may go whenever there is time for it."""
        for name in (names.SPEC, names.PLAN):
            with contextlib.suppress(OSError):  # a disk that has turned read-only keeps the results in the spool too
                (self.path / name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Takes the directory away, of which no test has had anything yet."""
        remove_tree(self.path)


def _supervises(pid: int, name: str) -> bool:
    """Whether that is the supervisor of the execution of that name, by the words that it was started with."""
    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    return any(SUPERVISOR in word for word in words) and any(word.endswith(f"/{name}") for word in words)
