"""What a test writes in place of the agent's own records ends no agent: neither this one nor the next."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest

from qgjob_agent import execution_dir as names
from qgjob_agent.executions import Execution
from tests.fakes.agent_core import assignment

NESTED = "[" * 60_000


@pytest.fixture
def execution(tmp_path: Path) -> Execution:
    return Execution.new(tmp_path, assignment("t1"))


@pytest.mark.parametrize("text", [NESTED, "no JSON", "[]", '{"attempt": "1"}', "{}", '{"attempt": true}'])
def test_a_call_to_look_that_no_supervisor_writes_is_none(execution: Execution, text: str) -> None:
    (execution.path / names.OVERDUE).write_text(text)
    assert execution.overdue() is None


def a_loop(lock: Path) -> None:
    lock.symlink_to(lock.name)


def a_link(lock: Path) -> None:
    held = lock.with_name("held")
    held.touch()
    lock.symlink_to(held)
    HELD.append(held.open())
    fcntl.flock(HELD[-1], fcntl.LOCK_EX)


def a_socket(lock: Path) -> None:
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(lock))


HELD: list[TextIO] = []


@pytest.fixture(autouse=True)
def let_go() -> Iterator[None]:
    yield
    while HELD:
        HELD.pop().close()


@pytest.mark.parametrize("put", [a_loop, a_link, a_socket, Path.mkdir, os.mkfifo])
def test_what_is_no_lock_of_ours_is_held_by_no_supervisor(execution: Execution, put: Callable[[Path], None]) -> None:
    put(execution.path / names.LOCK)
    assert not execution.supervised
    assert not execution.adopt()


@pytest.mark.parametrize("number", ["-1", "0", "9" * 30, "x"])
def test_what_is_no_process_id_is_nobodys(execution: Execution, number: str) -> None:
    """To signal -1 is to signal all that this user has."""
    lock = execution.path / names.LOCK
    lock.write_text(number)
    HELD.append(lock.open())
    fcntl.flock(HELD[-1], fcntl.LOCK_EX)
    assert execution.adopt()
    assert (execution.supervisor_pid, execution._holder(), execution.pidfd) == (0, 0, -1)
    execution.close()
