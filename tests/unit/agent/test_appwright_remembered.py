"""Which runs of an earlier daemon still answer for which attempts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qgjob_agent.core.values import DeviceFacts, Target
from qgjob_agent.executions import names
from qgjob_agent.executions.planned import PlannedExecution
from qgjob_agent.executions.records import RecordError
from qgjob_agent.host.leftovers import remove_tree
from qgjob_agent.runners.appwright.remembered import Facts, Found, find, read
from tests.fakes.agent_core import assignment

DEVICE = DeviceFacts("d1", "emulator-5554", Target.EMULATOR, platform="android")


def planned(root: Path, generation: int, *tokens: str) -> PlannedExecution:
    facts = Facts(generation, DEVICE)
    return PlannedExecution.planned(root, [assignment(token) for token in tokens], facts.fields())


def runs_of(root: Path) -> list[tuple[Path, Found | None]]:
    return [(path, read(path)) for path in sorted(root.iterdir())]


def looked(root: Path) -> tuple[list[list[str]], list[Path]]:
    """The tokens of each run that was found, and what was given up."""
    removed: list[Path] = []
    found = find(runs_of(root), removed.append)
    return [[each.execution.attempts[index].token for index in each.indexes] for each in found], removed


def test_runs_are_found_in_the_order_in_which_they_were_made_with_what_they_need(tmp_path: Path) -> None:
    for generation, token in ((2, "b"), (1, "a"), (10, "c")):
        planned(tmp_path, generation, token)
    assert looked(tmp_path) == ([["a"], ["b"], ["c"]], [])
    facts = find(runs_of(tmp_path), lambda path: None)[0].facts
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


CHANGES: list[tuple[tuple[str | int, ...], object]] = [
    (("assignments", 0, "token"), []),
    (("assignments", 0, "test_path"), 7),
    (("assignments", 0, "attempt"), "1"),
    (("assignments", 0, "build_digest"), 1.5),
    (("assignments", 0, "env"), {"A": 1}),
    (("assignments", 0, "env"), ["A"]),
    (("assignments", 0, "install_ms"), "3"),
    (("facts", "device", "device_id"), {}),
    (("facts", "device", "platform"), 7),
    (("facts", "generation"), float("inf")),
    (("facts", "generation"), "2"),
]


@pytest.mark.parametrize(("where", "value"), CHANGES, ids=str)
def test_a_value_of_another_kind_is_not_as_a_run_is_written_down(
    tmp_path: Path, where: tuple[str | int, ...], value: object
) -> None:
    """The plan lies within a test's reach, and what ended the daemon here would end each next one too."""
    run = planned(tmp_path, 1, "a")
    plan = part = json.loads((run.path / names.PLAN).read_text())
    for name in where[:-1]:
        part = part[name]
    part[where[-1]] = value
    (run.path / names.PLAN).write_text(json.dumps(plan))
    with pytest.raises(RecordError, match=r"plan\.json.* not as this version writes"):
        read(run.path)


def test_what_is_no_run_is_given_up(tmp_path: Path) -> None:
    folder = tmp_path / "0123"
    folder.mkdir()
    assert looked(tmp_path) == ([], [folder])


@pytest.mark.parametrize(
    "plan", ["", "{", "[" * 100_000, "[]", '{"assignments": []}', '{"assignments": [], "facts": {}}', "null"]
)
def test_what_is_not_as_a_run_is_written_down_is_not_taken_for_none(tmp_path: Path, plan: str) -> None:
    (tmp_path / names.PLAN).write_text(plan)
    with pytest.raises(RecordError, match=r"plan\.json is not as this version writes it"):
        read(tmp_path)


def test_nor_is_a_run_with_facts_of_another_version(tmp_path: Path) -> None:
    strange = PlannedExecution.planned(tmp_path, [assignment("a")], {"generation": "x"})
    with pytest.raises(RecordError, match="KeyError") as told:
        read(strange.path)
    assert told.value.job_ids == ["acme~a"]
