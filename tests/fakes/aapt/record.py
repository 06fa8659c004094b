"""Records the real aapt: `python -m tests.fakes.aapt.record --write` writes recorded/aapt.json.

What it warns of has the time and the numbers of process and thread, for which signs stand.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.fakes import packages

RECORDING = Path(__file__).parent / "recorded" / "aapt.json"
_WHEN = re.compile(r"\b\d\d-\d\d \d\d:\d\d:\d\d +\d+ +\d+\b")


def recording() -> dict[str, Any]:
    """What was recorded: the `version` of aapt, and its `answers`."""
    found: dict[str, Any] = json.loads(RECORDING.read_text("utf-8"))
    return found


def version_of(program: str) -> str:
    """As it says itself."""
    return subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout.strip()


def answers(program: str, folder: Path) -> dict[str, list[Any]]:
    """What it says of an app, of what is none, and of nothing: exit code, output and errors."""
    packages.write(folder / "app.apk", packages.launchable_apk())
    packages.write(folder / "no-zip.apk", b"nothing of the kind")
    found = {}
    for name in ("app.apk", "no-zip.apk", "missing.apk"):
        said = subprocess.run(
            [program, "dump", "badging", name], cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        found[name] = [said.returncode, said.stdout.splitlines(), _WHEN.sub("WHEN PID TID", said.stderr).splitlines()]
    return found


def main() -> None:
    """Writes the recording."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True, help="begin")
    parser.parse_args()
    program = shutil.which("aapt")
    assert program is not None, "needs the program aapt: apt-get install aapt"
    with tempfile.TemporaryDirectory() as folder:
        told = answers(program, Path(folder))
    RECORDING.write_text(json.dumps({"version": version_of(program), "answers": told}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
