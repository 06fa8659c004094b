"""Owns the process tree of one execution, as a process of its own that outlives the daemon.

It starts the command, watches it, and ends the whole tree when the command exits, takes too long, is silent for too
long, is cancelled, has its directory removed, or when the lease is over, also when the daemon hangs or is dead. A
command may carry out several attempts in order: then it says in a file of events which of them begin and end, and each
has limits of its own. Only when nothing of the tree lives does it write the result, or tell it where the disk refuses
it, and exit. It imports no grpc and nothing outside the standard library: forking stays safe and starting takes some
20 ms.

Between the daemon and its supervisors there is the execution's directory, see names.py. SIGTERM asks to cancel.
"""
# pathlib would cost each supervisor 5 ms of its start.
# ruff: noqa: PTH110, PTH118, PTH123, PTH211

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import time
from typing import Any

from qgjob_agent.executions import names
from qgjob_agent.executions.attempt_watch import AttemptWatch
from qgjob_agent.executions.command_start import start_command
from qgjob_agent.executions.event_lines import EventLines
from qgjob_agent.executions.folder_watch import FolderWatch, is_removed
from qgjob_agent.executions.last_look import LastLook
from qgjob_agent.executions.lease_file import LeaseTime, read_lease
from qgjob_agent.executions.output_file import OutputFile
from qgjob_agent.executions.result_file import ResultDraft, ResultMouth
from qgjob_agent.executions.tree_end import TreeEnd
from qgjob_agent.host.plain_file import created, text_of
from qgjob_agent.host.process_tree import Cgroup, become_subreaper

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # as in clock.py
_READ_BYTES = 65_536  # all that an ordinary pipe holds; also at most what is taken before the clock is looked at again
_RETRY_SECONDS = 0.5
_EVENTS_SECONDS = 0.1  # between two looks at what the command says of its attempts
_PATIENCE_SECONDS = 2.0
_LONGEST_GRACE_SECONDS = 86_400.0


def _now() -> float:
    return time.clock_gettime(_CLOCK)


class Supervisor:
    """One execution, from its start to its result."""

    def __init__(self, directory: str, ready_fd: int) -> None:
        self._directory = directory
        self._ready_fd = ready_fd
        with open(self._path(names.SPEC), encoding="utf-8") as file:
            self._spec: dict[str, Any] = json.load(file)
        self._lease = LeaseTime(*self._spec["lease"])
        self._output = OutputFile(self._path(names.OUTPUT), self._spec["output_bytes"])
        self._several: bool = self._spec["events"]
        self._cgroup = self._make_cgroup()
        self._tree = TreeEnd(self._cgroup, self._path(names.LIVING))
        self._child = 0
        self._status: int | None = None
        self._started_at = self._started_at_ms = 0.0
        self._watch = AttemptWatch({}, 0.0)
        self._look = LastLook(self._path(names.OVERDUE))
        self._folder = FolderWatch(self._path(names.SPEC), _now())
        self._mouth = ResultMouth(self._path(names.RESULT_PIPE))
        self._events = EventLines(self._path(names.EVENTS)) if self._several else None
        self._hit: int | None = None
        self._asked: dict[int, dict[str, Any]] = {}  # attempts to be cancelled when it is their turn
        self._ended_by: str | None = None
        self._cause: str | None = None
        self._error: str | None = None
        self._kill_at: float | None = None
        self._lease_over = False
        self._cancelled = False
        self._selector = selectors.DefaultSelector()
        self._pipe = -1

    def _make_cgroup(self) -> Cgroup | None:
        if not self._spec["use_cgroup"]:
            return None
        return Cgroup.make(names.cgroup_name(self._spec["execution_id"]))

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)

    def run(self) -> None:
        """The whole life."""
        draft = ResultDraft(self._path(names.RESULT_DRAFT))
        become_subreaper()
        if self._cgroup is not None:
            _write(self._path(names.CGROUP), self._cgroup.path.encode())
        wake = self._listen()
        self._start()
        if self._ended_by is None:
            _write(self._path(names.STARTED), str(int(self._started_at_ms)).encode())
        _tell_ready(self._ready_fd)
        while self._status is None:
            self._check_limits()
            self._selector.select(timeout=max(self._next_deadline() - _now(), 0))
            _drain(wake)
            self._read()
            self._read_events()
            self._reap()
            self._check_cancel()
        self._end_tree()
        self._publish(draft, self._output.close(), wake)

    # ---- start ----

    def _listen(self) -> int:
        """Signals become readable bytes: none of them interrupts anything."""
        wake, wake_write = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_cancel)
        for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(ignored, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # blocked by the daemon until now
        self._selector.register(wake, selectors.EVENT_READ)
        if os.path.exists(self._path(names.CANCEL)):  # of a daemon that did not know our pid yet
            self._cancelled = True
        return wake

    def _on_cancel(self, *_: object) -> None:
        self._cancelled = True

    def _start(self) -> None:
        """Forks and executes the command."""
        self._started_at, self._started_at_ms = _now(), time.time() * 1000
        limits = {each: (timeout / 1000, silence / 1000) for each, timeout, silence in self._spec["limits"]}
        self._watch = AttemptWatch(limits, self._started_at, self._spec["first_seconds"], self._spec["last_seconds"])
        self._child, self._pipe, self._error = start_command(self._spec, self._cgroup)
        self._selector.register(self._pipe, selectors.EVENT_READ)
        if self._error is not None:
            self._ended_by = names.NOT_STARTED

    # ---- watch ----

    def _next_deadline(self) -> float:
        deadlines = [] if self._lease_over else [self._lease.ends_at]
        if self._kill_at is not None:
            deadlines.append(self._kill_at)
        deadlines.append(self._look.deadline(_now()))
        if self._ended_by is None:
            deadlines += [self._watch.deadline(), self._folder.next_at]
            if self._events is not None:
                deadlines.append(_now() + _EVENTS_SECONDS)
        return min(deadlines)

    def _check_limits(self) -> None:
        now = _now()
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = now + max(self._tree.kill(), _RETRY_SECONDS)
        if self._ended_by is None and (why := self._watch.overdue(now)) is not None:
            self._hit = self._watch.current
            ended_by = why if self._hit is not None else names.LINGERED
            self._end(ended_by, self._spec["grace_seconds"], self._spec["look_seconds"])
        elif self._ended_by is not None and self._look.over(now):
            self._end(self._ended_by, self._spec["grace_seconds"])
        if self._ended_by is None and self._folder.removed(now):
            self._hit = self._watch.current
            self._end(names.REMOVED, 0.0)
        if not self._lease_over and now >= self._lease.ends_at:
            self._lease = read_lease(self._spec["lease_path"]) or self._lease
            if now >= self._lease.ends_at:
                self._lease_over = True
                self._end(names.LEASE, self._lease.grace)

    def _check_cancel(self) -> None:
        if self._cancelled:
            self._cancelled = False
            request = _request(self._path(names.CANCEL))
            attempt = request.get("attempt")
            if type(attempt) is not int:
                self._cancel(request)
            else:
                self._asked[attempt] = request
        # The command may have gone on from the attempt before it without having said so yet: that one is not to be hit.
        if self._asked and self._watch.current in self._asked:
            if self._ended_by is None:
                self._hit = self._watch.current
            self._cancel(self._asked.pop(self._watch.current))

    def _cancel(self, request: dict[str, Any]) -> None:
        cause, grace = request.get("cause"), request.get("grace_seconds")
        if self._ended_by is None:
            self._cause = cause if isinstance(cause, str) else None
        if not isinstance(grace, int | float) or not 0 <= grace <= _LONGEST_GRACE_SECONDS:
            grace = self._spec["grace_seconds"]
        self._end(names.CANCELLED, float(grace))

    def _end(self, ended_by: str, grace_seconds: float, look_seconds: float = 0.0) -> None:
        """TERM now, KILL after the grace. The first reason stands; a later one can only shorten the grace.

        The first one may leave the daemon time for a look before; a later one ends that.
        """
        now = _now()
        kill_at = now + grace_seconds
        if self._ended_by is None:
            self._ended_by = ended_by
            self._leave()
            if self._look.ask(self._hit, look_seconds, now):
                return
            self._tree.term()
        elif self._look.waits:
            self._look.end()
            self._tree.term()
        self._kill_at = kill_at if self._kill_at is None else min(self._kill_at, kill_at)

    def _leave(self) -> None:
        """What has not begun does not begin any more: another execution may have it."""
        if self._events is None:
            return
        for attempt in self._watch.known:
            with contextlib.suppress(OSError):
                os.symlink(names.LEFT, os.path.join(self._directory, names.CLAIMS, str(attempt)))

    def _read_events(self) -> None:
        """Takes what the command says of its attempts."""
        if self._events is None or self._ended_by is not None:
            return
        now = _now()
        for event in self._events.read():
            self._watch.take(event, now)
        if self._events.over:
            self._hit = self._watch.current
            self._end(names.FLOODED, self._spec["grace_seconds"])

    def _read(self) -> int:
        """Takes some of what the tree has printed, and gives how many bytes: it may print faster than it can be taken.

        0 where nothing is there.
        """
        if self._pipe < 0:
            return 0
        try:
            data = os.read(self._pipe, _READ_BYTES)
        except BlockingIOError:
            return 0
        if data:
            self._watch.heard(_now())
            self._output.write(data)
        else:  # everyone has closed it, and a closed pipe would be readable for ever
            self._selector.unregister(self._pipe)
            os.close(self._pipe)
            self._pipe = -1
        return len(data)

    def _read_rest(self) -> None:
        """Takes what a dead tree has left in the pipe, and no more: somebody else may have got hold of its end."""
        left = _pipe_bytes(self._pipe)
        while left > 0 and (taken := self._read()):
            left -= taken

    def _reap(self) -> None:
        """Takes leave of the dead, adopted orphans too; remembers how the command ended."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._child:
                    self._status = status

    # ---- end ----

    def _end_tree(self) -> None:
        """The command has ended: nothing that it left behind may live on."""
        self._look.end()
        if self._ended_by is None:
            self._ended_by = names.EXIT
        while True:
            self._read()
            self._reap()
            if not self._tree.members():
                break
            time.sleep(self._tree.kill())
        self._read_rest()
        self._tree.over()

    def _publish(self, draft: ResultDraft, lost_bytes: int, wake: int) -> None:
        """Leaves the result, and holds the device meanwhile: so it gives up where neither disk nor daemon take it.

        That is at a cancel, or when the lease is over as it is known now. Then the execution counts as one whose
        supervisor was lost. It gives up at once where its folder is gone: no disk gives that back.
        """
        text, began = json.dumps(self._result(lost_bytes)), _now()
        give_up_at = began + _PATIENCE_SECONDS
        if self._ended_by != names.CANCELLED:
            lease = read_lease(self._spec["lease_path"]) or self._lease
            give_up_at = max(give_up_at, lease.ends_at)
        while not (draft.publish(self._path(names.RESULT), text) or self._mouth.tell(text)):
            if self._cancelled or _now() >= give_up_at:
                return
            if is_removed(self._path(names.SPEC)):
                return
            self._selector.select(timeout=_RETRY_SECONDS)
            _drain(wake)

    def _result(self, lost_bytes: int) -> dict[str, Any]:
        code = os.waitstatus_to_exitcode(self._status or 0)
        return {
            "ended_by": self._ended_by,
            "exit_code": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            "cause": self._cause,
            "error": self._error,
            "attempt": self._hit if self._several else None,
            "started_at_ms": int(self._started_at_ms),
            "ended_at_ms": time.time_ns() // 1_000_000,
            "duration_ms": round((_now() - self._started_at) * 1000),
            "lost_output_bytes": lost_bytes,
        }


def _request(path: str) -> dict[str, Any]:
    """Why the tree is to end; empty where the disk does not say, or for what no daemon writes."""
    try:
        told = json.loads(text_of(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _write(path: str, content: bytes) -> None:
    with contextlib.suppress(OSError), created(path) as file:
        file.write(content)


def _pipe_bytes(pipe: int) -> int:
    """How much a pipe can hold at most; 0 for one that is closed."""
    if pipe < 0:
        return 0
    ask = getattr(fcntl, "F_GETPIPE_SZ", None)  # Linux; elsewhere no process can make its pipe larger
    return _READ_BYTES if ask is None else fcntl.fcntl(pipe, ask)


def _tell_ready(fd: int) -> None:
    """Tells the daemon, if it still lives, that the command runs or could not be started."""
    with contextlib.suppress(OSError):
        os.write(fd, b"r")
    os.close(fd)


def _drain(fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(fd, 512):
            pass


def main(argv: list[str]) -> None:
    """`argv`: the execution's directory, the inherited lock, the inherited ready pipe, and what else is kept open."""
    directory, inherited = argv[0], [int(each) for each in argv[1:]]
    lock_fd, ready_fd = inherited[:2]
    for fd in inherited:
        os.set_inheritable(fd, False)
    fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ours by inheritance; fails if it is not
    os.pwrite(lock_fd, names.lock_text(os.getpid()), 0)
    Supervisor(directory, ready_fd).run()
