"""Process trees: who belongs to one, and how to end it for certain.

Three ways to find what belongs to a tree, the surest first: its cgroup (v2), its descent (with PR_SET_CHILD_SUBREAPER
a double-forked orphan stays a descendant of its supervisor), and a marker in the environment. Linux has all three.
macOS has only `ps`: descent without a subreaper and the marker, which a process that clears its environment escapes.

The standard library only: supervisors import this.
"""
# pathlib would cost each supervisor 5 ms of its start.
# ruff: noqa: PTH102, PTH106, PTH110, PTH112, PTH118, PTH123, PTH208

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_KILL_PAUSE_SECONDS = 0.01
_LEAVING_SECONDS = 2.0
"""How long the last threads of a tree may take to leave its cgroup. 60 of them took up to 0.12 s on a busy machine."""
_STOP_SECONDS = 2.0
_PS = "/bin/ps"
_THREADS = 17  # where `stat` has the number of threads, counted from the state


def become_subreaper() -> bool:
    """Makes orphans of this process's descendants its own children. False where the system has no such thing."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> bool:
    """Has this process killed when its parent dies. To be called between fork and exec."""
    return _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Precedence:
    """Has this process run before all ordinary ones, where it may: a fork storm leaves an equal no time to kill it."""

    def __init__(self) -> None:
        self._taken = False
        if hasattr(os, "sched_setscheduler"):
            self._usual, self._param = os.sched_getscheduler(0), os.sched_getparam(0)

    def take(self) -> None:
        """From now on."""
        if hasattr(os, "sched_setscheduler"):
            with contextlib.suppress(OSError):
                lowest = os.sched_get_priority_min(os.SCHED_RR)
                os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(lowest))
                self._taken = True

    def give_back(self) -> None:
        """Runs as it did before it was taken."""
        if self._taken:
            self._taken = False
            with contextlib.suppress(OSError):  # the flag, once set, is not for everybody to take back
                os.sched_setscheduler(0, self._usual | os.SCHED_RESET_ON_FORK, self._param)


def _prctl(option: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    import ctypes  # noqa: PLC0415 - only Linux needs it, and it costs a supervisor's start some milliseconds

    return bool(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) == 0)


def descendants(root: int) -> list[int]:
    """The living processes below `root`, zombies left out."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    todo = [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _parents() -> list[tuple[int, int]]:
    """(pid, parent) of every living process."""
    if not os.path.isdir("/proc/self"):
        table = subprocess.run([_PS, "-axo", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)  # noqa: S603
        rows = [line.split() for line in table.stdout.splitlines()]
        return [(int(row[0]), int(row[1])) for row in rows if len(row) > 2 and not row[2].startswith("Z")]
    pairs: list[tuple[int, int]] = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        stat = _read(f"/proc/{name}/stat")
        # The second field is the program's name in parentheses, and may hold anything.
        fields = stat[stat.rfind(b")") + 2 :].split()
        if fields and not _dead(fields):
            pairs.append((int(name), int(fields[1])))
    return pairs


def _dead(fields: list[bytes]) -> bool:
    """Whether nothing of a process runs any more, by its `stat` from the state on.

    The kernel calls one a zombie whose first thread has ended. The others may run on, and are the process then.
    """
    return fields[0] in (b"Z", b"X") and int(fields[_THREADS]) <= 1


def kill_descendants(root: int) -> None:
    """Kills everything below `root`, also what forks faster than it could be killed one by one.

    All of it is stopped first, round by round until a round finds nothing new: what is stopped forks no more, and what
    forked meanwhile is met in the next round. Stopping costs the tree no time of the processor, as dying does. What may
    not be stopped, and forks on, is left to the next call after a while.
    """
    stopped: set[int] = set()
    deadline = time.monotonic() + _STOP_SECONDS
    while (new := set(descendants(root)) - stopped) and time.monotonic() < deadline:
        signal_all(list(new), signal.SIGSTOP)
        stopped |= new
    signal_all(list(stopped), signal.SIGKILL)


def marked(variable: str, value: str) -> list[int]:
    """The living processes that were started with this variable in their environment; only those we may look at."""
    if not os.path.isdir("/proc/self"):
        table = subprocess.run([_PS, "-axEww", "-o", "pid=,command="], capture_output=True, text=True, check=True)  # noqa: S603
        wanted = f"{variable}={value}"
        return [int(line.split(None, 1)[0]) for line in table.stdout.splitlines() if wanted in line.split()]
    entry = f"{variable}={value}".encode()
    living = [pid for pid, _ in _parents()]
    return [pid for pid in living if entry in _environ(pid).split(b"\0")]


def _environ(pid: int) -> bytes:
    """The environment of a process; where its first thread has ended another one still has it."""
    if found := _read(f"/proc/{pid}/environ"):
        return found
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            if found := _read(f"/proc/{pid}/task/{thread}/environ"):
                return found
    return b""


def state_of(pid: int) -> tuple[str, str] | None:
    """What a process does, by the kernel's letter, and the name of its program; None when it is gone."""
    if not os.path.isdir("/proc/self"):
        table = subprocess.run([_PS, "-o", "stat=,comm=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603
        state, _, name = table.stdout.strip().partition(" ")
    else:
        told = _read(f"/proc/{pid}/stat").decode(errors="replace")
        state, name = told[told.rfind(")") + 2 :][:1], told[told.find("(") + 1 : told.rfind(")")]
    return (state[:1], "".join(each for each in name.strip() if each.isprintable())) if state else None


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal; one that a debugger holds is not."""
    state = state_of(pid)
    return state is not None and state[0] == "T"


def _read(path: str) -> bytes:
    """A file of /proc; empty when its process is gone or not ours to look at."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


class Cgroup:
    """One cgroup (v2) for one execution."""

    def __init__(self, path: str) -> None:
        self.path = path

    @classmethod
    def make(cls, name: str) -> Cgroup | None:
        """A new cgroup below our own; None where there is no cgroup v2 or we may not."""
        own = own_cgroup()
        if own is None:
            return None
        path = os.path.join(own, name)
        try:
            os.mkdir(path)
        except OSError:
            return None
        group = cls(path)
        if os.path.exists(os.path.join(path, "cgroup.kill")) and os.access(os.path.join(path, "cgroup.procs"), os.W_OK):
            return group
        group.remove()
        return None

    @classmethod
    def find(cls, name: str) -> Cgroup | None:
        """One that was made below our own; None where there is none."""
        own = own_cgroup()
        path = "" if own is None else os.path.join(own, name)
        return cls(path) if path and os.path.isdir(path) else None

    def join(self) -> None:
        """Moves this process in; its children are born there."""
        with open(os.path.join(self.path, "cgroup.procs"), "wb", buffering=0) as file:
            file.write(b"0")

    def members(self) -> list[int]:
        """The processes in it, zombies left out; empty when it is gone."""
        pids = [int(pid) for pid in _read(os.path.join(self.path, "cgroup.procs")).split()]
        return [pid for pid in pids if _lives(pid)]

    def kill(self) -> None:
        """Kills all of it at once, forks under way included."""
        with contextlib.suppress(OSError), open(os.path.join(self.path, "cgroup.kill"), "wb", buffering=0) as file:
            file.write(b"1")

    def remove(self) -> None:
        """Takes the empty cgroup away; leaves one that is not empty, also not once what is dying there is gone."""
        deadline = time.monotonic() + _LEAVING_SECONDS
        while self._is_busy() and time.monotonic() < deadline:
            time.sleep(_KILL_PAUSE_SECONDS)

    def _is_busy(self) -> bool:
        """Tries to take it away. True where something is in it, such as a thread that dies and is seen nowhere."""
        try:
            os.rmdir(self.path)
        except OSError as error:
            return error.errno == errno.EBUSY
        return False


def _lives(pid: int) -> bool:
    stat = _read(f"/proc/{pid}/stat")
    fields = stat[stat.rfind(b")") + 2 :].split()
    return bool(fields) and not _dead(fields)


def own_cgroup() -> str | None:
    """The directory of our own cgroup v2. It is not always mounted at the usual place, so mountinfo is asked."""
    for line in _read("/proc/self/mountinfo").decode(errors="replace").splitlines():
        left, _, right = line.partition(" - ")
        if right.split(" ", 1)[0] != "cgroup2":
            continue
        root, mount = left.split()[3:5]
        for entry in _read("/proc/self/cgroup").decode(errors="replace").splitlines():
            if entry.startswith("0::"):
                below = os.path.relpath(entry[3:], root)
                return mount if below == "." else os.path.normpath(os.path.join(mount, below))
    return None


def signal_all(pids: list[int], number: int) -> None:
    """Sends a signal to each; those that are gone already are no error."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def hunt(variable: str, value: str, cgroup_path: str | None, patience_seconds: float) -> list[int]:
    """Kills a tree whose supervisor is gone, found by cgroup and marker. Gives what still lives when patience ends."""
    group = Cgroup(cgroup_path) if cgroup_path else None
    deadline = time.monotonic() + patience_seconds
    while True:
        living = marked(variable, value)
        if group is not None:
            group.kill()
            living += group.members()
        if not living:
            if group is not None:
                group.remove()
            return []
        signal_all(living, signal.SIGKILL)
        if time.monotonic() > deadline:
            return living
        time.sleep(_KILL_PAUSE_SECONDS)
