"""docs/architecture.md knows the folders and the loops that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ROWS = dict(
    re.findall(
        r"^\| (`.+?`) \| (.+?) \|",
        (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("\n## The repository\n")[2],
        re.MULTILINE,
    )
)
NAMED = {name for cell in ROWS for name in re.findall(r"`([^`]+)`", cell)}


def test_each_loop_stands_in_its_row():
    loops = (ROOT / "coordinator" / "qgjob_coordinator" / "loops").glob("*.py")
    there = {path.stem for path in loops if path.stem != "__init__"}
    assert set(re.findall(r"`(\w+)`", ROWS["`…/loops`"])) == there


@pytest.mark.parametrize("program", ["coordinator/qgjob_coordinator", "agent/qgjob_agent"])
def test_each_package_of_a_program_has_a_row(program: str):
    packages = {f"…/{path.parent.name}" for path in (ROOT / program).glob("*/__init__.py")}
    rows = {f"…/{name.rpartition('/')[2]}" for name in NAMED}
    assert packages <= rows
