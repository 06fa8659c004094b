"""`python -m tests.fakes.fork_server FD`: has imported the product, and forks a process of it for each request.

A request is one message on the socket FD: JSON with `module`, `arguments`, `environ` and `folder`, and two descriptors,
of the files that take what the process prints and what it says beside that. The answers are messages too: `{"pid": …}`
for a request, `{"ended": pid, "status": …}` when a process has ended, with the status as `os.waitpid` gives it. It ends
with the other end of its socket; what it began lives on.
"""

from __future__ import annotations

import array
import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

IMPORTED = {
    "qgjob_coordinator": (
        "qgjob_coordinator.app",
        "qgjob_coordinator.processes.member",
        "pydantic.v1",  # FastAPI wants it for its first route
        "uvicorn.lifespan.on",  # and these are wanted when it begins to serve
        "uvicorn.protocols.http.auto",
    ),
    "qgjob_agent": ("qgjob_agent.app",),
    "tests.fakes.qgjob_command": (
        "qgjob._client",
        "qgjob.cli.app",
        "qgjob.cli.runner",
        "qgjob.cli.submitting",
        "qgjob.cli.fleet_tables",
        "qgjob.cli.job_tables",
        "qgjob.cli.content_tables",
        "qgjob.cli.junit_file",
        "qgjob.cli.doctor_view",
    ),
    "tests.fakes.forking_up": ("qgjob.cli.up",),
}
"""The programs that can be forked, and what they import at their start."""
MESSAGE_BYTES = 200_000
LOST_OUTPUT = 120
"""What the interpreter exits with when it can't write what was printed last."""


def main() -> None:
    """Serves until the other end is gone."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    gc.disable()
    for modules in IMPORTED.values():
        for module in modules:
            __import__(module)
    gc.freeze()
    gc.enable()
    os.set_inheritable(channel.fileno(), False)
    living: dict[int, int] = {}  # pid by its descriptor
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready == channel.fileno():
                message, sent, _, _ = channel.recvmsg(MESSAGE_BYTES, socket.CMSG_SPACE(8))
                if not message:
                    return
                out, err = array.array("i", sent[0][2][:8])
                pid = _fork(json.loads(message), (out, err), channel, living)
                os.close(out)
                os.close(err)
                descriptor = os.pidfd_open(pid)
                living[descriptor] = pid
                poll.register(descriptor, select.POLLIN)
                channel.send(json.dumps({"pid": pid}).encode())
            else:
                poll.unregister(ready)
                pid = living.pop(ready)
                os.close(ready)
                channel.send(json.dumps({"ended": pid, "status": os.waitpid(pid, 0)[1]}).encode())


def _fork(request: dict[str, Any], output: tuple[int, int], channel: socket.socket, living: dict[int, int]) -> int:
    if pid := os.fork():
        return pid
    try:
        channel.close()
        for descriptor in living:
            os.close(descriptor)
        os.chdir(request["folder"])
        become(request["module"], request["arguments"], request["environ"], output)
    finally:
        os._exit(1)


def become(module: str, arguments: Sequence[str], environ: Mapping[str, str], output: tuple[int, int]) -> NoReturn:
    """Makes a process that was forked the program, to its end; `/proc/<pid>/comm` begins with the module's name.

    `output` are descriptors for what it prints and says beside that.
    """
    code = 1
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, place in ((nothing, 0), (output[0], 1), (output[1], 2)):
            os.dup2(descriptor, place)
        for descriptor in {nothing, *output}:
            os.close(descriptor)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(environ)
        sys.argv = [module, *arguments]
        Path("/proc/self/comm").write_text(module)
        code = _run(module)
    finally:
        os._exit(code)


def _run(module: str) -> int:
    """As the interpreter does: the exit code, and what was raised in the log."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else int(e.code is not None)
        if isinstance(e.code, str):
            print(e.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - as the interpreter does at its end
        traceback.print_exc()
        code = 1
    try:
        sys.stdout.flush()
    except OSError:
        traceback.print_exc()
        code = LOST_OUTPUT
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    main()
