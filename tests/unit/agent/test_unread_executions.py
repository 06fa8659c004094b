"""Executions of an earlier daemon that can't be read: asked for again, or ended, and in no case taken for none."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from qgjob_agent.core.events import AttemptFinished, AttemptKilled, AttemptStarted
from qgjob_agent.core.values import DeathCause, Outcome
from qgjob_agent.errors import StateDirError
from qgjob_agent.executions import names, unread
from qgjob_agent.executions.execution import Execution
from qgjob_agent.executions.folder import ExecutionFolder
from qgjob_agent.executions.planned import PlannedExecution
from qgjob_agent.executions.records import RecordError
from qgjob_agent.host.process_tree import hunt, marked
from qgjob_agent.runners.command import CommandRunner
from tests.fakes.agent_core import assignment
from tests.fakes.waiting import until
from tests.unit.agent.test_appwright_runner import DEVICE as PHONE
from tests.unit.agent.test_appwright_runner import Bench
from tests.unit.agent.test_command_runner import DEADLINE_SECONDS, DEVICE, Told, runner_of

BEGUN: list[str] = []


@pytest.fixture(autouse=True)
def nothing_lives_on() -> Iterator[None]:
    yield
    for execution_id in BEGUN:
        assert hunt(names.MARKER, execution_id, None, DEADLINE_SECONDS) == []
    BEGUN.clear()


WITHHELD = [errno.EIO, errno.EACCES, errno.EMFILE]


@contextmanager
def withheld(
    monkeypatch: pytest.MonkeyPatch, name: str, number: int, times: int | None = None, after: int = 0
) -> Iterator[list[str]]:
    """Files of that name can't be opened, so many times or for as long as this lasts. Gives those that were tried.

    The first ones, `after`, are given.
    """
    tried: list[str] = []
    given: list[str] = []
    really = os.open

    def refuse(path: Any, *values: Any, **named: Any) -> int:
        if str(path).endswith(f"/{name}") and len(given) < after:
            given.append(str(path))
        elif str(path).endswith(f"/{name}") and (times is None or len(tried) < times):
            tried.append(str(path))
            raise OSError(number, os.strerror(number), str(path))
        return really(path, *values, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        yield tried


@pytest.mark.parametrize("number", WITHHELD)
def test_what_the_disk_withholds_is_not_taken_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    one = Execution.new(tmp_path, assignment("t1"))
    several = PlannedExecution.planned(tmp_path, [assignment("t1")], {})
    for name, find in (
        (names.SPEC, lambda: Execution.found(one.path)),
        (names.PLAN, lambda: PlannedExecution.found_planned(several.path)),
        (names.RESULT, one.result),
    ):
        with withheld(monkeypatch, name, number), pytest.raises(OSError, match=os.strerror(number)):
            find()


def test_where_nothing_was_written_down_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "file"):
        assert Execution.found(place) is None
        assert PlannedExecution.found_planned(place) is None


def test_an_attempt_whose_claim_the_disk_withholds_is_nobodys_to_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have begun: it must not go on in another run."""
    execution = PlannedExecution.planned(tmp_path, [assignment("t1")], {})
    assert execution.claim(0) == ""
    assert execution.begin(0)

    def refuse(*_: Any) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "readlink", refuse)
        with pytest.raises(OSError, match="Input/output error"):
            execution.claim(0)
    assert execution.claim(0) == names.BEGUN


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda told: told["assignment"].update(later="x"), id="a-field-of-a-newer-version"),
        pytest.param(lambda told: told["assignment"].update(target="watch"), id="a-word-of-a-newer-version"),
        pytest.param(lambda told: told.pop("assignment"), id="another-shape"),
    ],
)
async def test_what_this_version_does_not_know_is_said_with_its_jobs(
    tmp_path: Path, damage: Callable[[dict[str, Any]], object]
) -> None:
    told = Told()
    execution = await running(told, tmp_path)
    change(execution.path / names.SPEC, damage)
    with pytest.raises(RecordError, match=r"spec\.json is not as this version writes it"):
        Execution.found(execution.path)
    with capture_logs() as logs:
        assert await recovered(tmp_path) == []
    (said,) = [each for each in logs if each["event"] == "execution_not_known"]
    assert said["job_ids"] == ([] if "pop" in damage.__code__.co_names else ["acme~t1"])
    assert str(execution.path) == said["path"]
    reaped(execution)


async def running(told: Told, folder: Path) -> Execution:
    """An execution of t1 that lives, of a daemon that has ended."""
    runner = runner_of(told, folder, "sh", "-c", "sleep 600; :")  # which outlives its supervisor
    runner.start(DEVICE, [assignment("t1")])
    await until(lambda: told.events, "the command does not start")
    execution = runner._attempts["t1"].execution
    BEGUN.append(execution.path.name)
    await runner.close()
    assert lives(execution)
    return execution


def reaped(execution: Execution) -> None:
    """Its supervisor has ended, and was this process's child."""
    assert execution.process is not None
    execution.process.wait(DEADLINE_SECONDS)


def lives(execution: Execution) -> list[int]:
    return marked(names.MARKER, execution.path.name)


def change(path: Path, how: Callable[[dict[str, Any]], object]) -> None:
    told = json.loads(path.read_text())
    how(told)
    path.write_text(json.dumps(told))


async def recovered(folder: Path) -> list[str]:
    """The tokens that the next daemon shows. Of what it does not show nothing lives, and nothing is left."""
    told = Told()
    runner = runner_of(told, folder)
    recovery = await runner.recover(set())
    shown = {each.assignment.token for each in recovery.attempts}
    left = [path for path in (folder / "executions").iterdir() if path.name not in shown_paths(runner)]
    assert [pid for path in left for pid in marked(names.MARKER, path.name)] == []
    await until(lambda: not any(path.exists() for path in left), "the folder is still there")
    await runner.close()
    return sorted(shown)


def shown_paths(runner: CommandRunner) -> list[str]:
    return [each.execution.path.name for each in runner._attempts.values()]


async def test_an_execution_that_the_disk_withholds_for_a_while_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = await running(Told(), tmp_path)
    try:
        with capture_logs() as logs, withheld(monkeypatch, names.SPEC, errno.EMFILE, times=3) as tried:
            assert await recovered(tmp_path) == ["t1"]
        assert len(tried) == 3
        assert [(each["event"], each["error"]) for each in logs] == [("execution_not_read", "Too many open files")]
        assert lives(execution)
    finally:
        change(execution.path / names.SPEC, lambda told: told.clear())
        await recovered(tmp_path)
        reaped(execution)


@pytest.mark.parametrize("for_long", [False, True])
async def test_that_the_disk_withholds_which_executions_there_are_is_no_sign_of_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, for_long: bool
) -> None:
    """Nothing may be begun beside them."""
    monkeypatch.setattr(unread, "PATIENCE_SECONDS", 0.1 if for_long else 60.0)
    execution = Execution.new(tmp_path / "executions", assignment("t1"))
    really, tried = os.listdir, list[str]()

    def refuse(path: Any) -> list[str]:
        if Path(path) == tmp_path / "executions" and (for_long or len(tried) < 2):
            tried.append(str(path))
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))
        return really(path)

    async def found() -> list[Path]:
        given = await unread.look_through(tmp_path / "executions", lambda _: None, 0.2, log)
        return [path for path, _ in given]

    log: Any = structlog.get_logger()
    with capture_logs() as logs, monkeypatch.context() as patch:
        patch.setattr(os, "listdir", refuse)
        if for_long:
            with pytest.raises(StateDirError, match=r"executions' can't be read: Too many open files"):
                await found()
        else:
            assert await found() == [execution.path]
    assert [each["event"] for each in logs] == ["execution_not_read"]


@pytest.mark.parametrize(
    "how",
    ["its supervisor ends it", "its supervisor is dead", "its supervisor does not hear", "its supervisor is not known"],
)
async def test_what_is_withheld_for_long_is_ended_before_another_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Which device it is on is not known, so none may be used while it lives."""
    monkeypatch.setattr(unread, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(unread, "SUPERVISOR_SECONDS", 0.1)
    execution = await running(Told(), tmp_path)
    assert execution.process is not None
    if how == "its supervisor is dead":
        execution.process.kill()
        execution.process.wait()
        assert lives(execution)
    if how == "its supervisor is not known":
        (execution.path / names.LOCK).write_text("a test has overwritten it")
    if how == "its supervisor does not hear":
        monkeypatch.setattr(ExecutionFolder, "cancel", lambda *_: None)
    with capture_logs() as logs, withheld(monkeypatch, names.SPEC, errno.EIO):
        assert await recovered(tmp_path) == []
    assert not execution.supervised
    reaped(execution)
    assert [each["event"] for each in logs] == ["execution_not_read", "execution_not_known"]


async def test_a_result_that_the_disk_withholds_for_a_while_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt whose test has passed would count as lost."""
    told = Told()
    runner = runner_of(told, tmp_path, "true")
    with withheld(monkeypatch, names.RESULT, errno.EMFILE, times=2) as tried:
        monkeypatch.setattr("qgjob_agent.executions.result_file.ResultEar.heard", lambda _: "")
        runner.start(DEVICE, [assignment("t1")])
        await until(lambda: told.events and isinstance(told.events[-1], AttemptFinished), "it does not end")
    assert len(tried) == 2
    assert [each.finished.outcome for each in told.events if isinstance(each, AttemptFinished)] == [Outcome.PASSED]
    await runner.close()


async def test_a_supervisor_of_which_the_disk_does_not_say_whether_it_lives_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system has no better way to see its end than its lock."""
    monkeypatch.delattr(os, "pidfd_open")
    told, faults = Told(), list[Exception]()
    told.failed = faults.append  # type: ignore[method-assign,assignment]
    runner = runner_of(told, tmp_path, "true")
    runner.start(DEVICE, [assignment("t1")])
    execution = runner._attempts["t1"].execution
    with withheld(monkeypatch, names.LOCK, errno.EMFILE, times=4) as tried:  # each look tries two ways
        await until(lambda: faults or any(isinstance(x, AttemptFinished) for x in told.events), "it does not end")
    assert (faults, len(tried)) == ([], 4)
    await runner.close()
    reaped(execution)


async def test_a_result_that_was_read_is_asked_for_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may withhold it then: that ended the agent."""
    told, faults = Told(), list[Exception]()
    (tmp_path / "suite").mkdir()
    bench = Bench(tmp_path)
    bench.failed = told.failed = faults.append  # type: ignore[method-assign,assignment]
    monkeypatch.setattr("qgjob_agent.executions.result_file.ResultEar.heard", lambda _: "")
    command, appwright = runner_of(told, tmp_path, "true"), bench.runner()
    with withheld(monkeypatch, names.RESULT, errno.EMFILE, after=1):
        command.start(DEVICE, [assignment("t1")])
        await until(lambda: faults or (told.events and isinstance(told.events[-1], AttemptFinished)), "it does not end")
    with withheld(monkeypatch, names.RESULT, errno.EMFILE, after=1):
        appwright.start(PHONE, [bench.job("a")])
        await until(lambda: faults or not appwright._lines["d1"], "it does not end")
    assert faults == []
    await command.close()
    await appwright.close()


@pytest.mark.parametrize("for_long", [False, True])
async def test_what_a_run_told_at_its_end_is_read_when_the_disk_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, for_long: bool
) -> None:
    """Its tests have passed: without it each would count as one that took its app with it."""
    monkeypatch.setattr(unread, "PATIENCE_SECONDS", 0.1 if for_long else 60.0)
    (tmp_path / "suite").mkdir()
    bench = Bench(tmp_path)
    runner = bench.runner()

    def said() -> list[str]:
        return [each["event"] for each in logs]

    def ends() -> list[AttemptFinished | AttemptKilled | None]:
        return [bench.last("a"), bench.last("b")]

    with capture_logs() as logs:
        with withheld(monkeypatch, names.EVENTS, errno.EMFILE):
            runner.start(PHONE, [bench.job("a"), bench.job("b")])
            await until(lambda: said() or all(ends()), "it does not end")
            if for_long:
                await until(lambda: all(ends()), "it does not end")
        await until(lambda: all(ends()), "it does not end")
    if for_long:
        assert [each.cause for each in ends() if isinstance(each, AttemptKilled)] == [DeathCause.AGENT_LOST] * 2
        assert said() == ["execution_not_read", "execution_result_not_read"]
    else:
        assert [each.finished.outcome for each in ends() if isinstance(each, AttemptFinished)] == [Outcome.PASSED] * 2
        assert said() == ["execution_not_read"]
    await runner.close()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda told: told["assignments"][0].update(later="x"), id="a-field-of-a-newer-version"),
        pytest.param(lambda told: told["facts"]["device"].update(slot=7), id="a-fact-of-a-newer-version"),
    ],
)
async def test_a_run_that_this_version_does_not_know_is_ended_and_said(
    tmp_path: Path, damage: Callable[[dict[str, Any]], object]
) -> None:
    (tmp_path / "suite").mkdir()
    bench = Bench(tmp_path)
    runner = bench.runner()
    runner.start(PHONE, [bench.job("a", json.dumps({"until": str(tmp_path / "never")})), bench.job("b")])
    await until(lambda: any(isinstance(each, AttemptStarted) for each in bench.events), "it does not begin")
    execution = runner._attempts["a"][0].execution
    await runner.close()
    (run,) = (tmp_path / "runs").iterdir()
    BEGUN.append(run.name)
    assert marked(names.MARKER, run.name)
    change(run / names.PLAN, damage)
    later = bench.runner()
    with capture_logs() as logs:
        recovery = await later.recover(set())
    assert (recovery.attempts, recovery.ended) == ([], [])
    assert not marked(names.MARKER, run.name)
    reaped(execution)
    (said,) = [each for each in logs if each["event"] == "execution_not_known"]
    assert said["job_ids"] == ["acme~a", "acme~b"]
    await until(lambda: not run.exists(), "its folder is still there")
    await later.close()
