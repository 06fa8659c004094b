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
from collections.abc import Callable
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "appwright"
NODE = (18, 20, 4)
"""AppWright 0.1.1 wants that or newer."""
TRY_PLAYWRIGHT = "QGJOB_TRY_PLAYWRIGHT"
"""The variable that names another Playwright than the lock file does, for tests.playwright_trial."""
TRY_PARTS = "QGJOB_TRY_PARTS"
"""That which names the parts of the fast mode that it counts as having, with commas."""
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
    """The packages that the example's lock file names, installed where nobody has yet. Raises RuntimeError.

    With another Playwright where the environment names one.
    """
    lock = (EXAMPLE / "package-lock.json").read_bytes()
    digest = hashlib.sha256(lock + (EXAMPLE / "package.json").read_bytes()).hexdigest()[:16]
    made = _once(f"appwright-{digest}", _install)
    if version := os.environ.get(TRY_PLAYWRIGHT):
        made = _once(f"appwright-{digest}-{version}", lambda draft: _install_beside(made, version, draft))
    return made / "node_modules"


def _once(name: str, install: Callable[[Path], None]) -> Path:
    """A folder of the cache, as `install` fills it; made where nobody has yet."""
    root = cache()
    made = root / name
    with (root / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # workers of one run want it at the same time
        if not made.exists():
            with tempfile.TemporaryDirectory(dir=root) as folder:
                draft = Path(folder, "draft")
                draft.mkdir()
                install(draft)
                draft.rename(made)
    return made


def _install(draft: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(EXAMPLE / name, draft / name)
    _npm(draft, "ci", "--prefer-offline")


def _install_beside(base: Path, version: str, draft: Path) -> None:
    """Another Playwright with the packages of `base`. AppWright is copied: it looks for Playwright beside itself."""
    _npm(draft, "install", "--prefix", str(draft), f"@playwright/test@{version}")
    for package in (base / "node_modules").iterdir():
        place = draft / "node_modules" / package.name
        if package.name == "appwright":
            shutil.copytree(package, place, symlinks=True)
        elif not place.exists():
            place.symlink_to(package)


def _npm(folder: Path, *words: str) -> None:
    command = ["npm", *words, "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"npm {words[0]} failed: {done.stderr[-2000:]}")


if __name__ == "__main__":
    if reason := lacking():
        sys.exit(f"AppWright {reason}")
    print(installed())
