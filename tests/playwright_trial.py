"""Tries the fast mode of real AppWright with other versions of Playwright than the one that the example pins.

    python -m tests.playwright_trial 1.58.2 1.56.1
    python -m tests.playwright_trial --parts files 1.46.1

Each version is fetched from npm once (AppWright's own packages too, if they are not there), then the tests that run
real AppWright on stand-ins run with it: all of them, and where some fail, those without which the fast mode is none.
It prints which parts of the fast mode held, as fits.py has them, and exits with 1 where none did for a version. That
goes into the table there, and with its day into docs/appwright.md. Plain mode is tried too, on AppWright's own port:
nothing else may listen there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from qgjob_agent.runners.appwright.fits import Part
from tests.fakes.appwright_packages import TRY_PARTS, TRY_PLAYWRIGHT, lacking

ROOT = Path(__file__).parents[1]
FOLDER = "tests/integration/appwright"
# The whole product runs in programs of its own, whose table is the one in the code.
NOT_TRIED = ("test_stack.py", "test_cloud_stack.py", "test_pushed.py")
OF_JOINING = "test_joining.py"
TRIALS = (frozenset(Part), frozenset({Part.FILES}))
_LOUD_LINES = 15


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.playwright_trial", description=__doc__)
    parser.add_argument("versions", nargs="+", metavar="VERSION", help="of @playwright/test, such as 1.58.2")
    text = "try no more than these parts, with commas; what was not tried does not count"
    parser.add_argument("--parts", type=_parts, default=frozenset(Part), help=text)
    return parser.parse_args(argv)


def _parts(text: str) -> frozenset[Part]:
    return frozenset(map(Part, text.split(",")))


def command(parts: frozenset[Part]) -> list[str]:
    """The tests of those parts."""
    left_out = [*NOT_TRIED, *([] if Part.JOINING in parts else [OF_JOINING])]
    ignored = [f"--ignore={FOLDER}/{name}" for name in left_out]
    return [sys.executable, "-m", "pytest", "--quiet", "--no-header", "--require", FOLDER, *ignored]


def passes(version: str, parts: frozenset[Part]) -> bool:
    """Whether all tests of these parts pass; what failed is printed."""
    names = ",".join(sorted(part.value for part in parts))
    env = os.environ | {TRY_PLAYWRIGHT: version, TRY_PARTS: names}
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        code = subprocess.run(command(parts), cwd=ROOT, env=env, stdout=output, stderr=output, check=False).returncode
        output.seek(0)
        said = output.read().splitlines()
    print(f"Playwright {version}, {names}: {said[-1] if said else ''} [{time.monotonic() - began:.0f} s]", flush=True)
    if code != 0:
        print("\n".join(f"    {line[:300]}" for line in said[-_LOUD_LINES:]), flush=True)
    return code == 0


def main(argv: list[str] | None = None) -> int:
    told = arguments(argv)
    if reason := lacking():
        sys.exit(f"AppWright {reason}")
    trials = [parts for parts in TRIALS if parts <= told.parts]
    held = {version: next((parts for parts in trials if passes(version, parts)), None) for version in told.versions}
    for version, parts in held.items():
        names = "none: plain mode" if parts is None else ", ".join(sorted(part.value for part in parts))
        print(f"{version}: {names}")
    return 1 if None in held.values() else 0


if __name__ == "__main__":
    sys.exit(main())
