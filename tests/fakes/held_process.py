"""A process that is held as a debugger holds one: SIGCONT does not let it go on, only SIGKILL ends it (Linux)."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

_ATTACH, _DETACH = 16, 17
_ALL_KINDS = 0x40000000


@contextlib.contextmanager
def held(pid: int) -> Iterator[None]:
    """Within, the process with one thread does nothing. To be left in the thread that entered it."""
    _ptrace(_ATTACH, pid)
    os.waitpid(pid, _ALL_KINDS)
    try:
        yield
    finally:
        _ptrace(_DETACH, pid)


def _ptrace(request: int, pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, pid, None, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
