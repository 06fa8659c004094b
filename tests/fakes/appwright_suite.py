"""Suites with the real AppWright: its packages are installed once, in a cache outside of the tree."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "appwright"
BIN = Path(__file__).parent / "bin"
_INSTALL_SECONDS = 600.0


def node_modules() -> Path:
    """The packages that the example's lock file names; installed where nobody has yet. Skips where there is no node."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("this machine has no node and npm, with which AppWright is installed")
    lock = (EXAMPLE / "package-lock.json").read_bytes()
    digest = hashlib.sha256(lock + (EXAMPLE / "package.json").read_bytes()).hexdigest()[:16]
    root = Path(os.environ.get("QGJOB_TEST_CACHE") or Path.home() / ".cache" / "qgjob-tests")
    root.mkdir(parents=True, exist_ok=True)
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
        assert done.returncode == 0, f"npm ci failed: {done.stderr[-2000:]}"
        draft.rename(made)


def make_suite(folder: Path, files: dict[str, str] | None = None) -> Path:
    """The example with the packages; with `files`, those are its tests instead."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "node_modules").symlink_to(node_modules())
    (folder / "build").mkdir()
    (folder / "build" / "app.apk").write_bytes(b"an apk of a test")
    if files is not None:
        shutil.rmtree(folder / "tests")
        (folder / "tests").mkdir()
        for name, text in files.items():
            (folder / "tests" / name).write_text(text)
    return folder


def make_sdk(folder: Path) -> Path:
    """What AppWright wants of ANDROID_HOME."""
    tools = folder / "build-tools" / "34.0.0"
    tools.mkdir(parents=True)
    (tools / "aapt").symlink_to(BIN / "aapt")
    return folder
