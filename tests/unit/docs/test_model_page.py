"""docs/model/README.md maps every transition of the models to code that exists, and lists every search of the table."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "docs" / "model"
PAGE = (MODEL / "README.md").read_text(encoding="utf-8")
TABLE = tomllib.loads((MODEL / "cases.toml").read_text(encoding="utf-8"))
SECTION = PAGE.partition("## Transitions and the code")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| `(\w+\.pml)` ([\w ]+) \| (.+?) \| (.+?) \|$", SECTION, re.MULTILINE)


def processes(model: Path) -> set[str]:
    return set(re.findall(r"^(?:active (?:\[\d\] )?)?proctype (\w+)", model.read_text(encoding="utf-8"), re.MULTILINE))


def test_every_process_of_every_model_is_in_the_table():
    listed = {(file, process) for file, process, _, _ in ROWS}
    # What only looks, or decides when faults end, is no program.
    watchers = {"Rest", "Fence", "Watch", "World"}
    there = {(m.name, p) for m in MODEL.glob("*.pml") for p in processes(m) if p not in watchers}
    assert there == listed


def test_the_code_that_the_table_names_exists():
    named = [name for _, _, _, code in ROWS for name in re.findall(r"`([^`]+)`", code)]
    assert len(named) > 30
    missing = []
    for name in named:
        path, _, function = name.partition(":")
        file = ROOT / path
        text = file.read_text(encoding="utf-8") if file.exists() else None
        if text is None or (function and not re.search(rf"(?:def |function ){function}\b", text)):
            missing.append(name)
    assert missing == []


@pytest.mark.parametrize("case", [*TABLE["holds"], *TABLE["mutants"]], ids=lambda case: case["name"])
def test_every_search_is_told_and_its_switches_are_in_its_model(case):
    assert f"`{case['name']}`" in PAGE
    source = (MODEL / case["file"]).read_text(encoding="utf-8")
    for define in case.get("defines", ()):
        assert re.search(rf"\b{define.partition('=')[0]}\b", source), define


def test_every_rule_of_a_model_is_taken_away_by_a_search():
    switches = {s for m in MODEL.glob("*.pml") for s in re.findall(r"\bM_\w+", m.read_text(encoding="utf-8"))}
    used = {d for case in [*TABLE["holds"], *TABLE["mutants"]] for d in case.get("defines", ())}
    assert sorted(switches - used) == []
