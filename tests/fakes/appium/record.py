"""Records the real Appium: `python -m tests.fakes.appium.record APPIUM` writes recorded/appium.json.

APPIUM is its program. Its sessions are those of Appium's own driver for tests, which needs no device: `npm install
appium@2.19.0`, then with an APPIUM_HOME `appium driver install --source=npm @appium/fake-driver@5.7.3`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.fakes.appium.contract import environment, played

RECORDING = Path(__file__).parent / "recorded" / "appium.json"


def recording() -> dict[str, Any]:
    """What was recorded: the `version` of Appium and of its `driver`, and what contract.played gives."""
    found: dict[str, Any] = json.loads(RECORDING.read_text("utf-8"))
    return found


def _said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Writes the recording."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("appium", help="the program")
    program = parser.parse_args().appium
    version, drivers = (
        _said(program, "--version"),
        json.loads(_said(program, "driver", "list", "--installed", "--json")),
    )
    with tempfile.TemporaryDirectory() as folder:
        told = asyncio.run(played([program], environment(), Path(folder)))
    RECORDING.write_text(
        json.dumps({"version": version, "driver": drivers["fake"]["version"], **told}, indent=1) + "\n", "utf-8"
    )


if __name__ == "__main__":
    main()
