"""What tests leave goes, whatever it is, and the event loop of the agent does not wait for it."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from qgjob_agent.core.values import Outcome
from qgjob_agent.executions import names
from qgjob_agent.executions.execution import Execution
from qgjob_agent.executions.planned import PlannedExecution
from qgjob_agent.host import leftovers
from qgjob_agent.host.leftovers import remove_tree
from qgjob_agent.suites.shelf import SuiteShelf
from tests.fakes.agent_core import assignment
from tests.fakes.unprivileged import open_to_all, unprivileged
from tests.fakes.waiting import until
from tests.unit.agent.test_appwright_runner import Bench
from tests.unit.agent.test_command_runner import DEVICE, Told, ended, runner_of

HELD_SECONDS = 5.0
"""So long a disk is held up at most: who waits for it is seen to, and does not wait for ever."""
LEVELS = 1_500


@pytest.fixture
def deep() -> Iterator[Path]:
    """Deeper than Python calls itself, and than a path may be long: so pytest could not remove it either."""
    folder = Path(tempfile.mkdtemp(prefix="qgjob-"))
    here = os.open(folder, os.O_RDONLY)
    for _ in range(LEVELS):
        os.mkdir("below", dir_fd=here)
        below = os.open("below", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)


def test_a_folder_goes_however_deep_it_is(deep: Path) -> None:
    assert remove_tree(deep)
    assert not deep.exists()


def test_a_link_in_place_of_a_folder_goes_and_what_it_leads_to_stays_as_it_is(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (shared / "below").mkdir(parents=True)
    (shared / "below" / "file").touch()
    shared.chmod(0o755)
    (tmp_path / "out").mkdir()
    for place in (tmp_path / "link", tmp_path / "out" / "link"):
        place.symlink_to(shared)
    assert remove_tree(tmp_path / "link")
    assert remove_tree(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shared"]
    assert (shared / "below" / "file").exists()
    assert shared.stat().st_mode & 0o777 == 0o755


def test_folders_that_a_test_closed_go_too() -> None:
    with open_to_all() as folder, unprivileged():
        closed = folder / "out" / "closed"
        for mode in (0o000, 0o100, 0o400, 0o500):
            (closed / str(mode) / "below").mkdir(parents=True)
            (closed / str(mode) / "below" / "file").touch()
            (closed / str(mode)).chmod(mode)
        closed.chmod(0)
        assert remove_tree(folder / "out")
        assert not (folder / "out").exists()


def test_a_folder_that_the_disk_does_not_show_keeps_nothing_else_and_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / "top" / name).mkdir(parents=True)
        (tmp_path / "top" / name / "file").touch()
    real, hidden = os.scandir, tmp_path / "top" / "b"

    def scandir(fd: int) -> Any:
        if os.path.samestat(os.fstat(fd), hidden.stat()):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd)

    monkeypatch.setattr(leftovers.os, "scandir", scandir)
    before = len(list(Path("/dev/fd").iterdir()))
    assert not remove_tree(tmp_path / "top")
    assert sorted(each.name for each in (tmp_path / "top").iterdir()) == ["b"]
    assert not remove_tree(hidden)
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_what_is_not_there_is_removed_already(tmp_path: Path) -> None:
    assert remove_tree(tmp_path / "nothing")


class HeldDisk:
    """Removes nothing below a folder until it is let go."""

    def __init__(self) -> None:
        self.reached, self.let_go = threading.Event(), threading.Event()
        self.waited_for = False

    def wait(self) -> None:
        self.reached.set()
        self.waited_for = not self.let_go.wait(HELD_SECONDS)


@contextmanager
def held(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[HeldDisk]:
    """A disk that is held up at a file of that name."""
    disk, really = HeldDisk(), os.unlink

    def unlink(path: Any, *values: Any, **named: Any) -> None:
        if os.fspath(path) == name:
            disk.wait()
        really(path, *values, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", unlink)
        try:
            yield disk
        finally:
            disk.let_go.set()


async def test_the_loop_goes_on_while_what_a_command_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = ended(tmp_path)
    runner = runner_of(Told(), tmp_path)
    with held(monkeypatch, "file") as disk:
        await runner.recover({"t1"})  # has it put aside, as the report of a living daemon does
        await until(disk.reached.is_set, "nothing is removed")
        runner.told("t1")
        assert execution.path.exists()
        # The coordinator has the result, and the spool forgets it now: if this daemon dies the next must not tell it.
        assert Execution.found(execution.path) is None
        disk.let_go.set()
        await until(lambda: not execution.path.exists(), "it is not removed")
    await runner.close()
    assert not disk.waited_for


async def test_the_loop_goes_on_while_what_is_told_of_a_run_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "suite").mkdir()
    bench = Bench(tmp_path)
    runner = bench.runner()
    runner.start(DEVICE, [bench.job("a"), bench.job("b")])
    await bench.outcomes("a", "b")
    (run,) = (tmp_path / "runs").iterdir()
    execution = PlannedExecution.found_planned(run)
    assert execution is not None
    (execution.files_of(0) / "file").touch()
    with held(monkeypatch, "file") as disk:
        runner.settled("a")
        await until(disk.reached.is_set, "nothing is removed")
        runner.told("a")
        assert not execution.attempt_dir(0).exists()  # nobody answers for it any more, whatever is left of it
        assert execution.attempt_dir(1).exists()
        runner.told("b")
        assert run.exists()
        disk.let_go.set()
        await until(lambda: not run.exists(), "it is not removed")
    await runner.close()
    assert not disk.waited_for


async def test_the_loop_goes_on_while_what_a_dead_agent_left_of_a_suite_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packages are tens of thousands of files."""
    shelf = SuiteShelf(tmp_path, 1, structlog.get_logger())
    shelf.path("suite").mkdir(parents=True)
    (shelf.path("suite") / "file").touch()
    with held(monkeypatch, "file") as disk:
        async with shelf.draft() as draft:
            (draft / "new").mkdir()
            keeping = asyncio.create_task(shelf.keep("suite", draft / "new", 1, 1.0))
            await until(disk.reached.is_set, "nothing is removed")
            disk.let_go.set()
            await keeping
    assert not disk.waited_for
    assert list(shelf.path("suite").iterdir()) == []


async def test_an_agent_that_ends_leaves_the_rest_to_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = ended(tmp_path)
    (execution.path / names.TMP / "below").mkdir()
    (execution.path / names.TMP / "below" / "last").touch()
    runner = runner_of(Told(), tmp_path)
    monkeypatch.setattr("qgjob_agent.host.leftovers._FINISH_SECONDS", 0.0)
    with held(monkeypatch, "file") as disk:
        await runner.recover({"t1"})
        await until(disk.reached.is_set, "nothing is removed")
        runner.told("t1")
        closing = asyncio.create_task(runner.close())
        await until(runner._leftovers._stop.is_set, "it does not end")
        disk.let_go.set()
        await closing
    assert not disk.waited_for
    assert (execution.path / names.TMP / "below" / "last").exists()
    told = Told()
    with capture_logs() as said:
        again = runner_of(told, tmp_path)
        recovery = await again.recover(set())
        await until(lambda: not execution.path.exists(), "the next one does not remove it")
        await again.close()
    assert (recovery.attempts, recovery.ended, told.events, said) == ([], [], [], [])


async def test_what_can_not_be_removed_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    execution = ended(tmp_path)
    runner = runner_of(Told(), tmp_path)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError

    with monkeypatch.context() as patch, capture_logs() as said:
        patch.setattr(os, "rmdir", refuse)
        await runner.recover({"t1"})
        runner.told("t1")
        await until(lambda: said, "nothing is told")
        await runner.close()
    assert [(each["event"], each["path"]) for each in said] == [("execution_not_removed", str(execution.path))]


async def test_a_fault_while_something_is_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would be removed any more, until the disk is full."""
    ended(tmp_path)
    told = Told()
    runner = runner_of(told, tmp_path)

    def broken(*_: Any, **__: Any) -> None:
        raise ArithmeticError("a fault of ours")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", broken)
        await runner.recover({"t1"})
        await until(lambda: told.fault, "nobody is told", seconds=5)
    await runner.close()
    assert isinstance(told.fault, ArithmeticError)


async def test_the_loop_goes_on_while_what_a_test_left_is_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its results are searched for in a folder that may have any number of files."""
    told = Told()
    runner = runner_of(told, tmp_path, "true")
    disk, really = HeldDisk(), os.scandir

    def scandir(path: Any = ".") -> Any:
        if str(path).endswith(f"/{names.OUT}"):
            disk.wait()
        return really(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        runner.start(DEVICE, [assignment("t1")])
        await until(disk.reached.is_set, "nothing is looked through")
        disk.let_go.set()
        await until(lambda: [each for each in told.events if hasattr(each, "finished")], "no end")
    await runner.close()
    assert not disk.waited_for
    assert told.events[-1].finished.outcome is Outcome.PASSED  # type: ignore[union-attr]  # looked for above
