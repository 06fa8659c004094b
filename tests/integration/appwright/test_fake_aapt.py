"""The stand-in of aapt says what the real one was recorded to, and the real one still does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.fakes.aapt import PROGRAM
from tests.fakes.aapt.record import answers, recording, version_of


def test_the_stand_in_says_what_was_recorded(tmp_path: Path) -> None:
    assert answers(str(PROGRAM), tmp_path) == recording()["answers"]


def test_the_real_one_says_what_was_recorded(tmp_path: Path) -> None:
    program, recorded = shutil.which("aapt"), recording()
    if program is None:
        pytest.skip("needs the program aapt: apt-get install aapt")
    if (here := version_of(program)) != recorded["version"]:
        pytest.skip(f"this machine has another aapt than was recorded: {here}, and not {recorded['version']}")
    assert answers(program, tmp_path) == recorded["answers"]
