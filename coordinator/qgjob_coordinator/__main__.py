"""`qgjob coordinator`, or `python -m qgjob_coordinator`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Sequence

from qgjob_coordinator import logs
from qgjob_coordinator.config import Settings
from qgjob_coordinator.errors import ConfigError, PortTakenError

GC_THRESHOLD = 50_000
PROCESSES_MOST = 64
_WHAT = "Run a coordinator until SIGTERM or SIGINT. Settings: the environment and .env; env.example has all."
EXIT_OK = 0
EXIT_FAILED = 1
"""A part of it died, or a port stays taken; also what Python exits with after an error that nobody expected."""
EXIT_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT, or until a part of it dies; the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    options = _options(arguments)
    try:
        settings = Settings.load()
        if options.check:
            where = f"REST {settings.host}:{settings.port}, gRPC {settings.host}:{settings.grpc_port}"
            print(f"ok: coordinator, {where}, {settings.environment}")
            for each in Settings.strays():
                print(f"warning: {each.line}", file=sys.stderr)
            return EXIT_OK
        if options.processes is not None:
            return _run_parent(options.processes, arguments)
        return _run_coordinator(settings, options.child)
    except ConfigError as e:
        print(f"error: {e.message}", file=sys.stderr)
        return EXIT_FAILED if isinstance(e, PortTakenError) else EXIT_USAGE


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="qgjob coordinator", description=_WHAT)
    parser.add_argument("--check", action="store_true", help="check the settings and exit")
    parser.add_argument(
        "--processes",
        type=_processes,
        metavar="N",
        help="run N coordinators on the one port, watched by a parent; SIGHUP to it restarts them one by one",
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _processes(text: str) -> int:
    """Raises ArgumentTypeError, whose message argparse prints with the option's name."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= PROCESSES_MOST):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {PROCESSES_MOST}; give one")
    if sys.platform != "linux":
        raise argparse.ArgumentTypeError(
            f"{text} processes on one port need Linux; run coordinators on ports of their own, and name them all in "
            "QGJOB_COORDINATOR"
        )
    return int(text)


def _run_parent(processes: int, arguments: Sequence[str]) -> int:
    """Raises ConfigError."""
    if "grpc" in sys.modules:  # as in the CLI's process, which the parent is not to be
        os.execv(sys.executable, [sys.executable, "-m", "qgjob_coordinator", *arguments])  # noqa: S606 - no shell
    from qgjob_coordinator.processes.parent import Parent  # noqa: PLC0415 - nothing else needs it

    found = Settings.strays()  # what is handed down has known names only
    settings = Settings.load_to_hand_down()
    logs.configure(settings.log_level, json=settings.production)
    logs.tell_strays(found)
    return asyncio.run(Parent(settings, processes).run())


def _run_coordinator(settings: Settings, handed_down: str | None) -> int:
    """Raises ConfigError."""
    # gRPC's C core writes lines of its own to stderr, between those of the log. It looks here when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # noqa: TID251 - gRPC reads it there by itself
    gc.disable()  # what importing makes stays: to look at it again and again takes 8 % of a start (measured)
    from qgjob_coordinator.app import Coordinator  # noqa: PLC0415 - a parent does without
    from qgjob_coordinator.processes.member import Handed, Member  # noqa: PLC0415 - as is this

    handed = None if handed_down is None else Handed.from_argument(handed_down)
    if handed is not None:
        Member.explain_itself()
    logs.configure(settings.log_level, json=settings.production, process=None if handed is None else handed.place)
    if handed is None:
        logs.tell_strays(Settings.strays())

    async def run() -> bool:
        coordinator = Coordinator(settings, handed)
        # Batches of hundreds of jobs make many short-lived objects and no cycles: at the default threshold the
        # collector takes a sixth of the time under load (measured), looking at the same modules again and again.
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        gc.enable()
        return await coordinator.run()

    return EXIT_OK if asyncio.run(run()) else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
