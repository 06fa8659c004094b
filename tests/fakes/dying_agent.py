"""The agent, which is killed (SIGKILL, by its own hand) the first time that it comes to a point of its work.

Run as a program: `python dying_agent.py POINT`; settings come from the environment, as the agent's do.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from qgjob_agent import spool, state_dir
from qgjob_agent.__main__ import main as agent
from qgjob_agent.executions import execution, lease_file
from qgjob_agent.executions.execution import Execution
from qgjob_agent.runners.command import CommandRunner
from qgjob_agent.spool import Spool
from qgjob_agent.state_dir import EpochFile

Point = tuple[object, str, Callable[..., Any]]


def die(*_: object, **__: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def before(owner: object, name: str) -> Point:
    """Dies instead of doing it."""
    return owner, name, die


def after(owner: object, name: str) -> Point:
    """Dies when it is done."""
    real = getattr(owner, name)

    def done(*values: Any, **named: Any) -> NoReturn:
        real(*values, **named)
        die()

    return owner, name, done


def half_of_the_spec(value: Any, file: Any) -> None:
    text = json.dumps(value)
    file.write(text[: len(text) // 2])
    file.flush()
    die()


class HalfWritten:
    """`os` with a `write` or `pwrite` that gets half of it done."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, fd: int, data: bytes) -> None:
        os.write(fd, data[: len(data) // 2])
        die()

    def pwrite(self, fd: int, data: bytes, at: int) -> None:
        os.pwrite(fd, data[: len(data) // 2], at)
        die()


def half_of_the_epoch(self: EpochFile, floor: int = 0) -> NoReturn:
    text = f"{max(self.value, floor) + 1:020d}".encode()
    os.pwrite(self._fd, text[: len(text) // 2], 0)
    die()


def some_of_the_files(path: Any) -> NoReturn:
    """Removes those that tell how it ended, which leaves what an unreported attempt leaves."""
    (path / "result.json").unlink(missing_ok=True)
    (path / "output").unlink(missing_ok=True)
    die()


POINTS: dict[str, Point] = {
    "before_the_folder_has_a_spec": before(Execution, "_write_spec"),
    "with_half_a_spec": (execution.json, "dump", half_of_the_spec),
    "before_the_supervisor": before(Execution, "_spawn"),
    "after_the_supervisor_was_born": after(Execution, "_spawn"),
    "before_a_result_is_spooled": before(Spool, "append"),
    "with_half_a_line_in_the_spool": (spool, "os", HalfWritten()),
    "after_a_result_was_spooled": after(Spool, "append"),
    "before_the_folder_of_an_acknowledged_result_goes": before(CommandRunner, "told"),
    "while_the_folder_of_an_acknowledged_result_goes": (
        CommandRunner,
        "_remove",
        lambda _self, path: some_of_the_files(path),
    ),
    "before_an_acknowledged_result_is_forgotten": before(Spool, "remove"),
    "with_half_a_lease": (lease_file, "os", HalfWritten()),
    "with_half_an_epoch": (EpochFile, "raise_above", half_of_the_epoch),
    "with_half_a_lock": (state_dir, "os", HalfWritten()),
}


def main() -> int:
    owner, name, instead = POINTS[sys.argv[1]]
    setattr(owner, name, instead)
    return agent([])


if __name__ == "__main__":
    sys.exit(main())
