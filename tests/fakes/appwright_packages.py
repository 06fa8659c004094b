"""AppWright's packages: installed once from npm, in a cache outside of the tree.

`python -m tests.fakes.appwright_packages` needs no package of Python, so that they can be fetched while those are.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "appwright"
NODE = (18, 20, 4)
"""AppWright 0.1.1 wants that or newer."""
_INSTALL_SECONDS = 600.0


@functools.cache
def lacking() -> str | None:
    """What this machine lacks for them, and what to do; None where nothing."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            return f"needs the program {program}: apt-get install nodejs npm"
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(int(part) for part in said.removeprefix("v").split(".")) < NODE:
        return f"needs a newer node than {said}: install {'.'.join(map(str, NODE))} or newer"
    return None


def cache() -> Path:
    """What tests keep for the tests after them: `QGJOB_TEST_CACHE`, or a folder of the user's cache."""
    root = Path(os.environ.get("QGJOB_TEST_CACHE") or Path.home() / ".cache" / "qgjob-tests")
    root.mkdir(parents=True, exist_ok=True)
    return root


def installed() -> Path:
    """The packages that the example's lock file names; installed where nobody has yet. Raises RuntimeError."""
    lock = (EXAMPLE / "package-lock.json").read_bytes()
    digest = hashlib.sha256(lock + (EXAMPLE / "package.json").read_bytes()).hexdigest()[:16]
    root = cache()
    made = root / f"appwright-{digest}"
    with (root / f"appwright-{digest}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # workers of one run want it at the same time
        if not made.exists():
            _install(root, made)
    return made / "node_modules"


def _install(root: Path, made: Path) -> None:
    with tempfile.TemporaryDirectory(dir=root) as folder:
        draft = Path(folder, "draft")
        draft.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(EXAMPLE / name, draft / name)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
        done = subprocess.run(command, cwd=draft, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"npm ci failed: {done.stderr[-2000:]}")
        draft.rename(made)


if __name__ == "__main__":
    if reason := lacking():
        sys.exit(f"AppWright {reason}")
    print(installed())
