"""Nothing that a script decides is left out of the catalogue, and no rule of docs/protocol.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.mutation.catalogue import HOMES, ROOT, load, no_fences
from tests.mutation.conditions import clauses

LUA = ROOT / HOMES["lua"]
SCRIPTS = sorted(LUA.rglob("*.lua"))
PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
ALL = "*"


def name(path: Path) -> str:
    """As the catalogue calls it."""
    return f"lua/{path.relative_to(LUA).as_posix()}"


def rows() -> dict[str, set[str]]:
    """The rules of the page, each with its tests."""
    table = PAGE.partition("## Every rule and what breaks without it")[2]
    found = re.findall(r"^\| ([A-Z].*?) \| .* \| ((?:`test_\w+`(?:, )?)+) \|$", table, re.MULTILINE)
    return {re.sub(r" \(\[why\]\(.*?\)\)", "", rule): set(re.findall(r"test_\w+", tests)) for rule, tests in found}


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_everything_that_a_script_decides_is_switched_off_or_is_no_fence(path: Path) -> None:
    excused = no_fences()
    if (name(path), ALL) in excused:
        return
    spans = [(m.start, m.end) for m in load() if m.file == name(path)]
    left = [
        str(c)
        for c in clauses(path.read_text(encoding="utf-8"))
        if (name(path), str(c)) not in excused and not any(a < c.end and c.start < b for a, b in spans)
    ]
    assert left == [], "name a mutant that switches it off and the test that sees it, or say why it is no fence"


def test_what_is_said_to_be_no_fence_is_there_and_is_no_mutant() -> None:
    there = {(name(path), str(c)): c for path in SCRIPTS for c in clauses(path.read_text(encoding="utf-8"))}
    there |= {(name(path), ALL): None for path in SCRIPTS}  # type: ignore[misc]
    assert sorted(no_fences().keys() - there.keys()) == []
    switched = {(m.file, m.start, m.end) for m in load()}
    both = [
        f"{file}: {clause}"
        for file, clause in no_fences()
        if clause != ALL and (file, there[file, clause].start, there[file, clause].end) in switched
    ]
    assert both == []


def test_every_rule_of_the_protocol_is_switched_off_and_seen_by_a_test_that_its_row_names() -> None:
    by_rule: dict[str, set[str]] = {rule: set() for rule in rows()}
    for m in load():
        if m.rule:
            assert m.rule in by_rule, f"{m.id}: docs/protocol.md has no rule {m.rule!r}"
            by_rule[m.rule] |= {t.partition("::")[2] for t in m.tests}
    assert len(by_rule) > 20
    assert {rule: tests for rule, tests in rows().items() if not tests & by_rule[rule]} == {}
