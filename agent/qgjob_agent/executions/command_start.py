"""Starts the command of a supervisor: forked, in its cgroup and a session of its own, with nothing inherited.

The standard library only: supervisors import this.
"""
# pathlib would cost each supervisor 5 ms of its start.
# ruff: noqa: PTH110

from __future__ import annotations

import contextlib
import errno
import os
import signal
from typing import TYPE_CHECKING, Any

from qgjob_agent.host.process_tree import die_with_parent

if TYPE_CHECKING:
    from qgjob_agent.host.process_tree import Cgroup

_REASON_BYTES = 1_024
_RESET = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE)


class _NotStartableError(Exception):
    """The command can't be started. The message names what is wrong, and is for people."""


def start_command(spec: dict[str, Any], cgroup: Cgroup | None) -> tuple[int, int, str | None]:
    """Gives its process id, the pipe of its output, which does not block, and why it can't be started, else None.

    Of the spec it needs `argv`, `env` and `cwd`. A command that can't be started is a child all the same, which ends.
    """
    output, output_write = os.pipe()
    failure, failure_write = os.pipe()
    child = os.fork()
    if child == 0:
        _become_command(spec, cgroup, output_write, failure_write)
    os.close(output_write)
    os.close(failure_write)
    os.set_blocking(output, False)
    error = os.read(failure, _REASON_BYTES)  # closed by a successful exec
    os.close(failure)
    return child, output, error.decode(errors="replace") if error else None


def _become_command(spec: dict[str, Any], cgroup: Cgroup | None, output: int, failure: int) -> None:
    """In the child: never returns."""
    try:
        die_with_parent()
        if cgroup is not None:
            with contextlib.suppress(OSError):  # its descent still gives the tree away
                cgroup.join()
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in _RESET:
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        try:
            os.chdir(spec["cwd"])
        except OSError as error:
            raise _NotStartableError(f"working folder {spec['cwd']}: {error.strerror}") from None
        argv = spec["argv"]
        try:
            os.execvpe(argv[0], argv, spec["env"])  # noqa: S606 - no shell is wanted
        except OSError as error:
            raise _NotStartableError(_why_not(argv[0], spec["env"], error)) from None
    except _NotStartableError as error:
        os.write(failure, str(error).encode()[:_REASON_BYTES])
    except BaseException as error:  # noqa: BLE001 - whatever it is, this copy of the supervisor must not go on
        os.write(failure, f"{spec['argv'][0]}: {error}".encode()[:_REASON_BYTES])
    finally:
        os._exit(127)


def _why_not(program: str, env: dict[str, str], error: OSError) -> str:
    """Why a program can't be executed; what Python says names the last place at which it was looked for."""
    if "/" not in program:
        path = os.pathsep.join(os.get_exec_path(env))
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        return f"{program}: {'is not' if missing else f'{error.strerror}, for what is'} on PATH ({path})"
    if isinstance(error, FileNotFoundError) and os.path.exists(program):
        return f"{program}: is there, but what its first line (#!) names to run it is not"
    if error.errno == errno.ENOEXEC:
        return f"{program}: {error.strerror}; is the #! line missing?"
    return f"{program}: {error.strerror}"
