"""Makes a stand-in in a folder and says where its xcrun is, for use by hand: `python -m tests.fakes.xcrun FOLDER`."""

from __future__ import annotations

import argparse
import uuid
from pathlib import Path

from tests.fakes.xcrun.xcode import SimulatorState, Xcode


def main() -> None:
    """Reads the command line and makes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--simulators", type=int, default=2)
    parser.add_argument("--install-seconds", type=float, default=2.0)
    given = parser.parse_args()
    udids = [str(uuid.uuid5(uuid.NAMESPACE_OID, str(n))).upper() for n in range(given.simulators)]
    devices = [SimulatorState(udid, f"iPhone 15 ({n})") for n, udid in enumerate(udids, 1)]
    print(Xcode(given.folder.resolve(), *devices, install_seconds=given.install_seconds).program)


main()
