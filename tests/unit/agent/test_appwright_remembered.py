"""Which runs of an earlier daemon still answer for which attempts."""

from __future__ import annotations

from pathlib import Path

import pytest

from qgjob_agent import execution_dir as names
from qgjob_agent.core.values import DeviceFacts, Target
from qgjob_agent.leftovers import remove_tree
from qgjob_agent.planned_executions import PlannedExecution
from qgjob_agent.runners.appwright.remembered import Facts, find
from tests.fakes.agent_core import assignment

DEVICE = DeviceFacts("d1", "emulator-5554", Target.EMULATOR, platform="android")


def planned(root: Path, generation: int, *tokens: str) -> PlannedExecution:
    facts = Facts(generation, DEVICE)
    return PlannedExecution.planned(root, [assignment(token) for token in tokens], facts.fields())


def looked(root: Path) -> tuple[list[list[str]], list[Path]]:
    """The tokens of each run that was found, and what was given up."""
    removed: list[Path] = []
    found = find(root, removed.append)
    return [[each.execution.attempts[index].token for index in each.indexes] for each in found], removed


def test_runs_are_found_in_the_order_in_which_they_were_made_with_what_they_need(tmp_path: Path) -> None:
    for generation, token in ((2, "b"), (1, "a"), (10, "c")):
        planned(tmp_path, generation, token)
    assert looked(tmp_path) == ([["a"], ["b"], ["c"]], [])
    facts = find(tmp_path, lambda path: None)[0].facts
    assert (facts.generation, facts.device) == (1, DEVICE)


def test_what_was_moved_belongs_to_the_younger_run_also_before_the_older_has_forgotten_it(tmp_path: Path) -> None:
    older = planned(tmp_path, 1, "a", "b")
    planned(tmp_path, 2, "b")
    assert looked(tmp_path) == ([["a"], ["b"]], [])
    remove_tree(older.attempt_dir(1))
    assert looked(tmp_path) == ([["a"], ["b"]], [])


def test_what_is_told_is_no_run_any_more(tmp_path: Path) -> None:
    done = planned(tmp_path, 1, "a", "b")
    for index in (0, 1):
        remove_tree(done.attempt_dir(index))
    assert looked(tmp_path) == ([], [done.path])


@pytest.mark.parametrize("plan", ["", "{", "[]", '{"assignments": []}', '{"assignments": [], "facts": {}}'])
def test_what_is_no_run_is_given_up(tmp_path: Path, plan: str) -> None:
    folder = tmp_path / "0123"
    folder.mkdir()
    if plan:
        (folder / names.PLAN).write_text(plan)
    assert looked(tmp_path) == ([], [folder])


def test_a_run_without_facts_is_given_up(tmp_path: Path) -> None:
    strange = PlannedExecution.planned(tmp_path, [assignment("a")], {"generation": "x"})
    assert looked(tmp_path) == ([], [strange.path])
    assert looked(tmp_path / "nowhere") == ([], [])
