"""What a stack writes down of its processes, and what is made of it later."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qgjob.cli.roll import Roll
from tests.unit.cli.conftest import Command

ME = f"up (process {os.getpid()})"
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere no start is told")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "processes"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def test_those_that_live_are_named_until_they_end(path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    roll = Roll(path)
    roll.begin()
    roll.add("store", sleeper.pid)
    assert Roll(path).alive() == [ME, f"store (process {sleeper.pid})"]
    sleeper.kill()
    sleeper.wait()
    assert Roll(path).alive() == [ME]


@linux_only
def test_another_process_with_the_same_number_is_not_named(path: Path) -> None:
    Roll(path).begin()
    name, pid, start = path.read_text().split()
    path.write_text(f"{name} {pid} {int(start) - 1}\n")
    assert Roll(path).alive() == []


@pytest.mark.parametrize("line", ["up", "up 1", "up x 1", "up 0 -", "up -1 -", f"up {'9' * 10} -", f"up {'9' * 99} -"])
def test_lines_that_make_no_sense_tell_of_nothing(path: Path, line: str) -> None:
    Roll(path).begin()
    with path.open("ab") as file:
        file.write(b"\xff\xfe\n" + line.encode())
    assert Roll(path).alive() == [ME]


def test_a_roll_that_was_cleared_names_none(path: Path) -> None:
    roll = Roll(path)
    roll.begin()
    roll.clear()
    assert roll.alive() == []


def test_a_roll_that_can_not_be_written_is_told_in_one_line(qgjob: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PORT": "0", "GRPC_PORT": "0", "REDIS_URL": "redis://127.0.0.1:1"}.items():
        monkeypatch.setenv(name, value)
    roll = Path(".qgjob/processes").absolute()
    roll.mkdir(parents=True)
    result = qgjob("up")
    assert result.code == 2
    assert result.err.startswith(f"error: {roll.parent}: can't be the folder of the stack's data (Is a directory); ")
    assert result.err.count("\n") == 1
