"""`python -m tests.trees [--trees N] [--restarts N] [--at-once N] [--grace SECONDS]`

Cancels process trees and prints how that went, then kills and restarts an agent whose devices are all busy. Exits with
1 when something was left alive, when the 99th percentile of the cancels is beyond the grace and 2 s, or when a restart
took longer than the timeout of a session.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

from tests.trees import cancelled, restarted


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.trees", description=__doc__)
    parser.add_argument("--trees", type=int, default=1_000, metavar="N", help="0: none")
    parser.add_argument("--restarts", type=int, default=20, metavar="N", help="0: none")
    parser.add_argument("--at-once", type=int, default=20, metavar="N", help="devices of the agent (default 20)")
    parser.add_argument("--grace", type=float, default=1.0, metavar="SECONDS", help="KILL_GRACE_SECONDS (default 1)")
    return parser.parse_args()


def main() -> int:
    options = _options()
    failed = False
    with tempfile.TemporaryDirectory(prefix="qgjob-trees-") as name:
        folder = Path(name)
        if options.trees:
            ends = asyncio.run(cancelled.measure(folder / "cancelled", options.trees, options.at_once, options.grace))
            say(*cancelled.lines(ends), *(f"left alive: {line}" for line in ends.survivors))
            say(f"p99 {ends.p99:.2f} s, to be within {ends.bound_seconds:g} s")
            failed = bool(ends.survivors) or ends.p99 > ends.bound_seconds
        if options.restarts:
            starts = asyncio.run(restarted.measure(folder / "restarted", options.restarts, options.at_once))
            say(*restarted.lines(starts), *(f"left alive: {line}" for line in starts.survivors))
            slow = max(starts.adopted + starts.released) > restarted.SESSION_SECONDS
            failed = failed or slow or bool(starts.survivors)
    return int(failed)


def say(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)
    print(f"load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors", flush=True)


if __name__ == "__main__":
    sys.exit(main())
