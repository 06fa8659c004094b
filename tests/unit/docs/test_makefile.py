"""`make` takes the first Python that is new enough, says so where there is none, and lets it keep what it compiles."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MAKE = shutil.which("make")


def make(path: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    assert MAKE is not None
    words = [MAKE, "--no-print-directory", f"--directory={ROOT}", f"VENV={path}/venv", *arguments]
    environment = {"PATH": str(path), **variables}
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=30)


def install(path: Path, name: str, *, new: bool) -> None:
    file = path / name
    file.write_text(f'#!/bin/sh\n{f"exec {sys.executable}" if new else "exit 1"} "$@"\n')
    file.chmod(0o755)


@pytest.mark.parametrize(
    ("old", "new", "taken"),
    [
        ((), ("python3.13", "python3.12", "python3"), "python3.12"),
        (("python3",), ("python3.14",), "python3.14"),
        ((), ("python3",), "python3"),
        (("python3",), (), ""),
    ],
)
def test_the_first_python_that_is_new_enough_is_taken(
    tmp_path: Path, old: tuple[str, ...], new: tuple[str, ...], taken: str
) -> None:
    for name in old:
        install(tmp_path, name, new=False)
    for name in new:
        install(tmp_path, name, new=True)
    shown = make(tmp_path, "--eval=shown: ; @echo [$(PYTHON)]", "shown")
    assert shown.stdout.strip() == f"[{taken}]", shown.stderr


def test_without_one_it_says_what_to_do(tmp_path: Path) -> None:
    install(tmp_path, "python3", new=False)
    refused = make(tmp_path, "setup")
    assert refused.returncode != 0
    assert "qgjob needs Python 3.11 or newer; install one, or set PYTHON=" in refused.stdout
    assert not (tmp_path / "venv").exists()


def test_what_is_compiled_is_kept_whatever_the_surroundings_say(tmp_path: Path) -> None:
    """Four workers collect all tests: to compile them took two thirds of that, in each of them in each run."""
    shown = make(tmp_path, "--eval=shown: ; @echo [$${PYTHONDONTWRITEBYTECODE}]", "shown", PYTHONDONTWRITEBYTECODE="1")
    assert shown.stdout.strip() == "[]", shown.stderr
