"""Starts the stack, submits the suite, shows it, judges it: exit code 0 only if all went as expected."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from examples.demo.board import Board
from examples.demo.drive import DemoError, drive, logs_of
from examples.demo.judge import judge
from examples.demo.stack import Stack
from examples.demo.summary import print_summary, print_verdict
from examples.demo.view import View
from qgjob import QgjobError

EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


async def demo(console: Console) -> int:
    """Runs the demo and returns its exit code. SIGTERM ends it as Ctrl-C does: in order."""
    this_task = asyncio.current_task()
    assert this_task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this_task.cancel)
    board, problems, logs = Board(), [], {}
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qgjob-demo-") as folder:
        stack = Stack(Path(folder))
        async with stack:
            console.print(
                f"Starting store, coordinator and two agents (gRPC {stack.grpc_port}, HTTP {stack.http_port}) …"
            )
            try:
                with View(console, board) as view:
                    await drive(stack, board, view)
                logs = await logs_of(stack, board.with_outcome("test_failed"))
            except (DemoError, QgjobError) as error:
                problems.append(f"{error}\n{stack.said()}")
            wall_seconds = time.monotonic() - started
    print_summary(console, board, logs, wall_seconds)
    problems += judge(board, wall_seconds, stack.left_running)
    print_verdict(console, problems)
    return 1 if problems else 0


def main() -> int:
    """Exit code of the demo: 0 when all went as expected, 1 when not, 130 or 143 when it was told to end."""
    try:
        return asyncio.run(demo(Console()))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except asyncio.CancelledError:
        return EXIT_TERMINATED


if __name__ == "__main__":
    sys.exit(main())
