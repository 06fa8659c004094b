"""What a test puts in place of the agent's own files holds nobody up: the execution's folder is within its reach."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from qgjob_agent.core.values import DeathCause
from qgjob_agent.executions import names
from qgjob_agent.executions.event_lines import EventLines
from qgjob_agent.executions.execution import Execution
from qgjob_agent.executions.planned import PlannedExecution
from qgjob_agent.executions.records import RecordError
from qgjob_agent.host.plain_file import created, put_text, text_of
from qgjob_agent.runners.command_result import error_line
from qgjob_agent.runners.log_follower import LogFollower
from tests.fakes.agent_core import assignment
from tests.unit.agent.test_command_runner import Told

SECONDS = 5.0


def followed(execution: Execution) -> bytes:
    told = Told()
    LogFollower(execution.path / names.OUTPUT, "acme~1", "t1", told).read()
    return told.output


def refused(find: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(RecordError) as told:
        find(path)
    return str(told.value)[-len("is no plain file") :]


@pytest.mark.parametrize(
    ("name", "read", "found"),
    [
        (names.RESULT, Execution.result, None),
        (names.LIVING, Execution.living, None),
        (names.STARTED, lambda each: each.started_at_ms, 0),
        (names.CGROUP, lambda each: each.cgroup, None),
        (names.LOCK, lambda each: each._holder(), 0),
        (names.SPEC, lambda each: refused(Execution.found, each.path), "is no plain file"),
        (names.PLAN, lambda each: refused(PlannedExecution.found_planned, each.path), "is no plain file"),
        (names.EVENTS, lambda each: EventLines(str(each.path / names.EVENTS)).read(), []),
        (names.OUTPUT, followed, b""),
        (names.OUTPUT, lambda each: error_line(each.path / names.OUTPUT), ""),
    ],
)
def test_a_pipe_in_place_of_a_file_is_waited_for_by_nobody(
    tmp_path: Path, name: str, read: Callable[[Execution], object], found: object
) -> None:
    execution = Execution.new(tmp_path, assignment("t1"))
    os.mkfifo(execution.path / name)
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(read(execution)), daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert results == [found]


def cancelled(execution: Execution) -> object:
    execution.cancel(DeathCause.REVOKED, 1.0)
    return json.loads(text_of(execution.path / names.CANCEL))["cause"]


def joined(execution: Execution) -> object:
    return PlannedExecution(execution.path, execution.attempts).add(assignment("t2"))


@pytest.mark.parametrize(
    ("name", "write", "found"), [(names.CANCEL, cancelled, DeathCause.REVOKED.value), (names.PLAN, joined, 1)]
)
def test_nor_is_one_where_the_agent_writes(
    tmp_path: Path, name: str, write: Callable[[Execution], object], found: object
) -> None:
    execution = Execution.new(tmp_path, assignment("t1"))
    os.mkfifo(execution.path / f"{name}.draft")
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(write(execution)), daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert results == [found]


def test_what_a_link_leads_to_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    for name in ("file", "file.draft", "new"):
        (tmp_path / name).symlink_to(tmp_path / "theirs")
    put_text(tmp_path / "file", "ours")
    with created(tmp_path / "new") as new:
        new.write(b"ours")
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {
        "theirs": "theirs",
        "file": "ours",
        "new": "ours",
    }


def test_of_a_file_no_more_is_read_than_it_may_have(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with file.open("wb") as large:
        large.truncate(1 << 40)
    assert len(text_of(file)) == 65_536
    link = tmp_path / "link"
    link.symlink_to(file)
    with pytest.raises(OSError, match="ymbolic link"):
        text_of(link)
