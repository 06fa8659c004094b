"""Scenes of scheduling: each text beside this file tells one rule, and its timeline is what the simulator makes of it.

`QGJOB_REWRITE_SCENES=1 pytest tests/fundamentals/scheduling` writes the timelines anew; read what changed before you
commit it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fundamentals.scheduling.scene import TIMELINE, read
from tests.fundamentals.scheduling.timeline import play

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "scheduling.md"
SCENES = sorted(HERE.glob("*.txt"))
REWRITE = os.environ.get("QGJOB_REWRITE_SCENES") == "1"


@pytest.mark.parametrize("file", SCENES, ids=[file.stem for file in SCENES])
def test_the_timeline_is_what_the_policy_makes_of_the_scene(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    told, mark, timeline = text.partition(TIMELINE)
    played = play(read(text))
    if REWRITE:
        file.write_text(f"{told.rstrip()}\n\n{TIMELINE}{played}", encoding="utf-8")
        return
    assert mark, f"{file.name} has no timeline; write it with QGJOB_REWRITE_SCENES=1"
    assert timeline == played


def test_the_page_tells_the_rule_of_each_scene() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert len(SCENES) >= 18
    assert [file.name for file in SCENES if f"scheduling/{file.name})" not in page] == []
