"""docs/protocol.md draws the lifecycle that the code has, and names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

from qgjob_coordinator.model.lifecycle import MOVES

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")


def test_the_diagram_is_the_table_of_moves():
    drawn = set(re.findall(r"^    (\w+) --> (\w+): (\w+)$", PAGE, re.MULTILINE))
    assert drawn == {(before.value, after.value, event.value) for (event, before), after in MOVES.items()}


def test_sequence_diagrams_are_well_formed():
    diagrams = re.findall(r"```mermaid\nsequenceDiagram\n(.*?)```", PAGE, re.DOTALL)
    assert len(diagrams) >= 7
    for diagram in diagrams:
        assert ";" not in diagram, "Mermaid takes a semicolon for the end of a line"
        declared = set(re.findall(r"^ *participant (\w+)", diagram, re.MULTILINE))
        messages = re.findall(r"^ *(\w+)-{1,2}(?:>>|\))(\w+): ", diagram, re.MULTILINE)
        notes = re.findall(r"^ *Note over ([\w,]+):", diagram, re.MULTILINE)
        used = {name for pair in messages for name in pair} | {name for note in notes for name in note.split(",")}
        assert used == declared, diagram
        opened = len(re.findall(r"^ *(?:alt|loop|opt)\b", diagram, re.MULTILINE))
        assert opened == len(re.findall(r"^ *end$", diagram, re.MULTILINE)), diagram


def test_the_named_tests_exist():
    rules = PAGE.partition("## Every rule and what breaks without it")[2]
    named = set(re.findall(r"`(test_\w+)`", rules))
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"def (test_\w+)\(", sources))
    assert sorted(named - defined) == []


def test_every_rule_names_a_test():
    rules = PAGE.partition("## Every rule and what breaks without it")[2]
    rows = re.findall(r"^\| [A-Z].*\|$", rules, re.MULTILINE)
    assert len(rows) > 20
    assert [row for row in rows if not re.search(r"`test_\w+` \|$", row)] == []
