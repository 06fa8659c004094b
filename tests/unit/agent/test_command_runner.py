"""What the command runner does with the executions of an earlier daemon."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import structlog

from qgjob_agent import execution_dir as names
from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.core.events import AttemptEvent
from qgjob_agent.executions import Command, Execution
from qgjob_agent.lease_file import LeaseTime
from qgjob_agent.runners.command import CommandRunner, CommandSettings
from tests.fakes.agent_core import assignment

DEADLINE_SECONDS = 10.0


class Told:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.events: list[AttemptEvent] = []
        self.output = b""

    def report(self, events: list[AttemptEvent]) -> None:
        self.events += events

    def log(self, job_id: str, token: str, offset: int, data: bytes) -> None:
        self.output += data


def lease() -> LeaseTime:
    return LeaseTime(monotonic_seconds(), 60.0, 0.2)


def ended(folder: Path) -> Execution:
    """An execution of t1 that has ended and left files."""
    execution = Execution.new(folder / "executions", assignment("t1"))
    script = f"echo text; echo big > {execution.output_dir}/file; echo big > {execution.path / names.TMP}/file"
    command = Command(["sh", "-c", script], {"PATH": os.environ["PATH"]}, str(folder), 0, 0, 0.2, 10_000)
    os.close(execution.launch(command, lease(), folder / "lease"))
    assert execution.process is not None
    execution.process.wait(DEADLINE_SECONDS)
    assert execution.result() is not None
    execution.close()
    return execution


async def test_of_what_is_settled_only_the_output_is_kept_until_it_is_told(tmp_path: Path) -> None:
    execution = ended(tmp_path)
    assert (execution.output_dir / "file").exists()
    told = Told()
    settings = CommandSettings((), tmp_path, {}, 10_000, 0.2, tmp_path / "executions", tmp_path / "lease")
    runner = CommandRunner(told, settings, lease, structlog.get_logger())
    recovery = await runner.recover({"t1"})
    assert (recovery.attempts, told.events, told.output) == ([], [], b"text\n")
    assert not execution.output_dir.exists()
    assert not (execution.path / names.TMP).exists()
    assert (execution.path / names.OUTPUT).read_bytes() == b"text\n"
    runner.told("t1")
    assert not execution.path.exists()


def test_what_an_attempt_needs_to_begin_is_proved_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal may take writes where no new folder can be made: of its quota, or without an inode left."""
    root = tmp_path / "executions"
    Execution.prove_room(root)
    assert list(root.iterdir()) == []
    for refused in ("mkdir", "write_bytes"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, refused, _no_inode)
            with pytest.raises(OSError, match="No space left"):
                Execution.prove_room(root)
        assert list(root.iterdir()) == []


def _no_inode(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_that_can_not_be_made_whole_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Path.mkdir

    def refuse(self: Path, *values: Any, **named: Any) -> None:
        if self.name == names.TMP:
            raise OSError(errno.ENOSPC, "No space left on device")
        make(self, *values, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(OSError, match="No space left"):
            Execution.new(tmp_path / "executions", assignment("t1"))
    assert list((tmp_path / "executions").iterdir()) == []
