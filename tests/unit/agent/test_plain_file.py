"""What a test puts in place of the agent's own files holds nobody up: the execution's folder is within its reach."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from qgjob_agent import execution_dir as names
from qgjob_agent.command_result import error_line
from qgjob_agent.event_lines import EventLines
from qgjob_agent.executions import Execution
from qgjob_agent.log_follower import LogFollower
from qgjob_agent.plain_file import text_of
from qgjob_agent.planned_executions import PlannedExecution
from tests.fakes.agent_core import assignment
from tests.unit.agent.test_command_runner import Told

SECONDS = 5.0


def followed(execution: Execution) -> bytes:
    told = Told()
    LogFollower(execution.path / names.OUTPUT, "acme~1", "t1", told).read()
    return told.output


@pytest.mark.parametrize(
    ("name", "read", "found"),
    [
        (names.RESULT, Execution.result, None),
        (names.LIVING, Execution.living, None),
        (names.STARTED, lambda each: each.started_at_ms, 0),
        (names.CGROUP, lambda each: each.cgroup, None),
        (names.LOCK, lambda each: each._holder(), 0),
        (names.SPEC, lambda each: Execution.found(each.path), None),
        (names.PLAN, lambda each: PlannedExecution.found_planned(each.path), None),
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


def test_of_a_file_no_more_is_read_than_it_may_have(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with file.open("wb") as large:
        large.truncate(1 << 40)
    assert len(text_of(file)) == 65_536
    link = tmp_path / "link"
    link.symlink_to(file)
    with pytest.raises(OSError, match="ymbolic link"):
        text_of(link)
