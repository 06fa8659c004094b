"""The example's tests through the product and by AppWright itself: exit code 0 only if all is as expected."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from examples.appwright_demo import checks
from examples.appwright_demo.compare import compare
from examples.appwright_demo.fakes import AdbServer, Sizes
from examples.appwright_demo.plain import PlainError
from examples.appwright_demo.product import Product
from examples.appwright_demo.suite import Project, missing
from examples.appwright_demo.summary import print_expected, print_installs, print_verdict, print_ways
from qgjob import QgjobError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from examples.appwright_demo.figures import Expected

EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
MANY = 8
"""Devices that one host has at work at once."""


async def demo(console: Console, sizes: Sizes, *, check: bool) -> int:
    """Runs it and returns its exit code. SIGTERM ends it as Ctrl-C does: in order."""
    this_task = asyncio.current_task()
    assert this_task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this_task.cancel)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="qgjob-appwright-") as name:
        folder = Path(name)
        project = Project(folder, sizes.files)
        try:
            found = await compare(console, folder, sizes, project, check=check)
            expected = found.expected
            if check:
                expected += await _many(console, folder, sizes)
        except (PlainError, QgjobError, AssertionError, TimeoutError) as error:
            lines = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])]
            console.print("[red]failed[/]  " + escape("\n".join(lines)), highlight=False, soft_wrap=True)
            return 1
    print_ways(console, found, sizes.devices)
    print_expected(console, expected, every=check)
    code = print_verdict(console, expected, time.monotonic() - begun)
    print_installs(console, found)
    return code


async def _many(console: Console, folder: Path, sizes: Sizes) -> list[Expected]:
    console.print(f"… and {MANY} emulators at once, with one job cancelled …")
    files = 2 * MANY
    many = Sizes(files, MANY, sizes.install_seconds, sizes.test_seconds)
    project = Project(folder / "of-many", files)
    async with AdbServer(many) as adb, Product(folder / "many", many, adb, project) as product:
        return await checks.one_of_many(product, project.test_paths, MANY)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 when all is as expected, 1 when not, 2 where a program is missing, 130 or 143 when told to end."""
    parser = argparse.ArgumentParser(prog="python -m examples.appwright_demo", description=__doc__)
    parser.add_argument("--files", type=int, default=8, metavar="N", help="test files, of two tests each (8)")
    parser.add_argument("--install-seconds", type=float, default=2.0, metavar="S", help="of one installation (2)")
    parser.add_argument("--test-seconds", type=float, default=1.0, metavar="S", help="of one test (1)")
    more = "also a build that changes, and what goes wrong in the middle"
    parser.add_argument("--check", action="store_true", help=more)
    given = parser.parse_args(argv)
    if lacking := missing():
        print(f"this needs {', '.join(lacking)}: install what is missing (nodejs, npm, adb)", file=sys.stderr)
        return 2
    sizes = Sizes(given.files, 2, given.install_seconds, given.test_seconds)
    try:
        return asyncio.run(demo(Console(), sizes, check=given.check))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except asyncio.CancelledError:
        return EXIT_TERMINATED


if __name__ == "__main__":
    sys.exit(main())
