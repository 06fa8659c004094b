"""Programs that record what real ones say: they tell what they do, and do it only when they are told to."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
RECORDERS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "tests" / "fakes").glob("*/record.py")
)


def said(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """What it says where no program that it could record is found. The recording is as it was."""
    recording = Path(importlib.import_module(name).RECORDING)
    before = recording.read_bytes(), recording.stat().st_mtime_ns
    done = subprocess.run(
        [sys.executable, "-m", name, *words], cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True, check=False
    )
    assert (recording.read_bytes(), recording.stat().st_mtime_ns) == before
    return done


@pytest.mark.parametrize("name", RECORDERS)
def test_a_recorder_says_what_it_writes(name: str) -> None:
    done = said(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "Records the real" in done.stdout
    assert "recorded/" in done.stdout


@pytest.mark.parametrize("name", RECORDERS)
def test_a_recorder_that_is_not_told_to_records_nothing(name: str) -> None:
    done = said(name)
    assert done.returncode == 2
    assert "usage:" in done.stderr
