"""What the command runner does with the executions of an earlier daemon."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import structlog
from structlog.testing import capture_logs

from qgjob_agent.clock import monotonic_seconds, wall_ms
from qgjob_agent.core.events import AttemptEvent, AttemptFinished, AttemptKilled, TreeStuck
from qgjob_agent.core.values import Assignment, DeathCause, DeviceFacts, Outcome, Target
from qgjob_agent.executions import kill_pace, names, oom_kills
from qgjob_agent.executions.execution import Command, Execution
from qgjob_agent.executions.lease_file import LeaseTime
from qgjob_agent.host.leftovers import remove_tree
from qgjob_agent.host.process_tree import hunt
from qgjob_agent.runners.command import CommandRunner, CommandSettings
from tests.fakes.agent_core import assignment
from tests.fakes.immune import SCALED, Immune
from tests.fakes.waiting import until
from tests.unit.agent.test_supervisor import until as at_once

DEADLINE_SECONDS = 10.0
DEVICE = DeviceFacts("emulator-1", "emulator-5554", Target.EMULATOR)


class Told:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.events: list[AttemptEvent] = []
        self.output = b""
        self.fault: Exception | None = None

    def failed(self, error: Exception) -> None:
        self.fault = error

    def report(self, events: list[AttemptEvent]) -> None:
        self.events += events

    def log(self, job_id: str, token: str, offset: int, data: bytes) -> None:
        self.output += data

    def stuck(self) -> list[TreeStuck]:
        return [each for each in self.events if isinstance(each, TreeStuck)]


def lease() -> LeaseTime:
    return LeaseTime(monotonic_seconds(), 60.0, 0.2)


def runner_of(told: Told, folder: Path, *argv: str, screens: Any = None, suite: Path | None = None) -> CommandRunner:
    environ = {"PATH": os.environ["PATH"]}
    settings = CommandSettings(argv, folder, environ, 10_000, 0.2, folder / "executions", folder / "lease")
    return CommandRunner(told, settings, lease, structlog.get_logger(), suite_of=lambda _: suite, screens=screens)


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
    runner = runner_of(told, tmp_path)
    recovery = await runner.recover({"t1"})
    assert (recovery.attempts, told.events, told.output) == ([], [], b"text\n")
    await until(lambda: not execution.output_dir.exists(), "what the test left is still there")
    await until(lambda: not (execution.path / names.TMP).exists(), "its TMPDIR is still there")
    assert (execution.path / names.OUTPUT).read_bytes() == b"text\n"
    runner.told("t1")
    await until(lambda: not execution.path.exists(), "it is still there")
    await runner.close()


@pytest.mark.parametrize(
    ("program", "env", "suite", "unfit"),
    [
        ("no-such-program", {}, False, True),
        ("/no/such/program", {"PATH": "/nowhere"}, True, True),
        ("./run.sh", {}, False, True),
        ("./run.sh", {}, True, False),
        ("sh", {"PATH": "/nowhere"}, False, False),
        ("{test_path}", {}, False, False),
    ],
    ids=["of PATH", "a path", "of a folder here", "of the job's suite", "of the job's PATH", "of the job's name"],
)
@pytest.mark.parametrize("restarted", [False, True], ids=["", "told by the next daemon"])
async def test_a_host_is_blamed_for_no_program_that_a_job_has_a_say_in(
    tmp_path: Path, program: str, env: dict[str, str], suite: bool, unfit: bool, restarted: bool
) -> None:
    """Else a broken suite of one org would take the host from all of them."""
    (tmp_path / "suite").mkdir()
    told = Told()
    runner = runner_of(told, tmp_path, program, suite=tmp_path / "suite" if suite else None)
    runner.start(DEVICE, [replace(assignment("t1"), env=env)])
    await until(lambda: told.events, "its end is not told")
    if restarted:
        await runner.close()
        runner = runner_of(told, tmp_path, program)
        told.events = list((await runner.recover(set())).ended)
    (event,) = told.events
    assert isinstance(event, AttemptFinished)
    assert (event.finished.outcome, event.finished.host_unfit) == (Outcome.DEVICE_ERROR, unfit)
    await runner.close()


def broken(*_: Any) -> None:
    raise ArithmeticError("a fault of ours")


async def test_a_fault_while_an_end_is_settled_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt would be shown as running, and keep its device, for as long as the agent lives."""
    told = Told()
    runner = runner_of(told, tmp_path, "sleep", "60")
    runner.start(DEVICE, [assignment("t1")])
    await until(lambda: told.events, "the command does not start")
    execution = runner._attempts["t1"].execution
    assert execution.process is not None
    monkeypatch.setattr("qgjob_agent.runners.living_trees.hunt", broken)
    execution.process.kill()
    try:
        await until(lambda: told.fault, "nobody is told", seconds=5)
    finally:
        assert hunt(names.MARKER, execution.path.name, execution.cgroup, DEADLINE_SECONDS) == []
        await runner.close()
    assert isinstance(told.fault, ArithmeticError)


LEAVES_IMMUNE = "(trap '' TERM; exec sleep 60) & echo $! > immune; "


@pytest.fixture
def immune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Immune]:
    """What a command writes to `immune` does not die."""
    made = Immune(tmp_path / "immune")
    monkeypatch.setattr("qgjob_agent.executions.execution._BOOT", made.boot)
    monkeypatch.setattr("qgjob_agent.runners.living_trees.LOOK_SECONDS", 0.1)
    for name, value in SCALED.items():
        monkeypatch.setattr(kill_pace, name, value)
    yield made
    made.end()


async def test_what_will_not_die_is_told_until_it_does(tmp_path: Path, immune: Immune) -> None:
    told = Told()
    runner = runner_of(told, tmp_path, "sh", "-c", LEAVES_IMMUNE + "exit 0")
    runner.start(DEVICE, [assignment("t1")])
    await until(told.stuck, "it is not told")
    (stuck,) = told.stuck()
    pid = int(immune.path.read_text())
    assert (stuck.token, stuck.job_id, stuck.device_id) == ("t1", "acme~t1", "d1")
    assert stuck.tree is not None
    assert [(each.pid, each.name) for each in stuck.tree.processes] == [(pid, "sleep")]
    immune.end()
    await until(lambda: isinstance(told.events[-1], AttemptFinished), "it does not end")
    assert [each.tree for each in told.stuck()] == [stuck.tree, None]
    assert isinstance(told.events[-2], TreeStuck)  # the device is well before it is free
    await runner.close()


async def test_what_will_not_die_without_its_supervisor_is_told_until_it_does(
    tmp_path: Path, immune: Immune, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    monkeypatch.setattr(os, "kill", immune.kill())
    runner = runner_of(told, tmp_path, "sh", "-c", LEAVES_IMMUNE + "sleep 60")
    runner.start(DEVICE, [assignment("t1")])
    await until(lambda: immune.path.exists() and immune.path.read_text().strip(), "the command does not start")
    process = runner._attempts["t1"].execution.process
    assert process is not None
    process.send_signal(signal.SIGKILL)
    await until(told.stuck, "it is not told")
    await until(lambda: immune.rate() <= 10, "it is hunted without a pause")
    immune.end()
    await until(lambda: isinstance(told.events[-1], AttemptFinished), "it does not end")
    assert [each.tree is None for each in told.stuck()] == [False, True]
    await runner.close()


@pytest.mark.parametrize("then", ["sleep 60", "exit 0"])
async def test_a_test_that_removes_its_execution_has_failed_and_is_told_why(tmp_path: Path, then: str) -> None:
    told = Told()
    script = f'[ $QGJOB_JOB_ID = acme~t2 ] && exec sleep 60; rm -rf "$(dirname "$0")"; {then}'
    runner = runner_of(told, tmp_path, "sh", "-c", script, "{output_dir}")
    runner.start(replace(DEVICE, device_id="d2"), [assignment("t2")])
    runner.start(DEVICE, [assignment("t1")])
    await until(lambda: told.events and isinstance(told.events[-1], AttemptFinished), "it does not end")
    end = told.events[-1]
    assert isinstance(end, AttemptFinished)
    assert (end.token, end.finished.outcome) == ("t1", Outcome.TEST_FAILED)
    assert "folder of this execution was removed" in (end.finished.error or "")
    runner.kill("t2", DeathCause.REVOKED, 0.0)
    await until(lambda: isinstance(told.events[-1], AttemptKilled), "the other one does not end")
    runner.settled("t2")
    runner.told("t2")
    runner.settled("t1")
    runner.told("t1")
    await runner.close()
    assert told.fault is None
    assert list((tmp_path / "executions").iterdir()) == []


def stopped_at_end(execution: Execution, folder: Path) -> Execution:
    """Its command has ended, and its supervisor does not know it yet. The agent wakes it when the loop goes on."""
    assert execution.process is not None
    supervisor = psutil.Process(execution.process.pid)
    (command,) = supervisor.children()
    supervisor.suspend()
    at_once(lambda: supervisor.status() == psutil.STATUS_STOPPED, "its supervisor runs on")
    (folder / execution.assignment.job_id).touch()
    at_once(lambda: command.status() == psutil.STATUS_ZOMBIE, "its command runs on")
    return execution


async def test_where_the_folders_of_several_are_removed_nobody_knows_whose_test_did_it(tmp_path: Path) -> None:
    """None of them is charged with it, and one that has passed meanwhile keeps that: its supervisor tells the agent."""
    told = Told()
    script = "until [ -e $QGJOB_JOB_ID ]; do sleep 0.02; done; [ $QGJOB_JOB_ID != acme~t3 ]"
    runner = runner_of(told, tmp_path, "sh", "-c", script)
    for token in ("t1", "t2", "t3"):
        runner.start(replace(DEVICE, device_id=f"d-{token}"), [assignment(token)])
    await until(lambda: len(told.events) == 3, "they do not begin")
    stopped = [stopped_at_end(runner._attempts[token].execution, tmp_path) for token in ("t2", "t3")]
    with capture_logs() as logs:
        (tmp_path / "executions").rename(tmp_path / "elsewhere")
        for execution in stopped:
            execution.wake_supervisor()
        await until(lambda: len(told.events) == 6, lambda: f"they do not end: {told.events}")
        runner.start(DEVICE, [assignment("t4")])
        (tmp_path / "acme~t4").touch()
        await until(lambda: len(told.events) == 8, "none begins after them")
    ends = {each.token: each for each in told.events if isinstance(each, AttemptFinished | AttemptKilled)}
    assert [getattr(ends[token], "cause", None) for token in ("t1", "t3")] == [DeathCause.AGENT_LOST] * 2
    finished = [each.finished.outcome for each in ends.values() if isinstance(each, AttemptFinished)]
    assert finished == [Outcome.PASSED] * 2
    assert [each["count"] for each in logs if each["event"] == "executions_removed"] == [3]
    await runner.close()
    assert told.fault is None


async def test_a_test_that_kills_its_supervisor_has_crashed_and_its_device_is_not_blamed(tmp_path: Path) -> None:
    told = Told()
    runner = runner_of(told, tmp_path, "sh", "-c", "kill -9 $PPID; sleep 60")
    runner.start(DEVICE, [assignment("t1")])
    await until(lambda: told.events and isinstance(told.events[-1], AttemptFinished), "it does not end")
    end = told.events[-1]
    assert isinstance(end, AttemptFinished)
    assert end.finished.outcome is Outcome.APP_CRASHED
    assert "supervisor was ended by SIGKILL" in (end.finished.error or "")
    await runner.close()


@pytest.mark.parametrize(("counted", "outcome"), [(8, Outcome.PROVIDER_ERROR), (7, Outcome.APP_CRASHED)])
async def test_one_whose_supervisor_the_kernel_may_have_killed_for_memory_is_not_charged_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: int, outcome: Outcome
) -> None:
    """The kernel counts what it kills, before that is dead; a test that kills its supervisor itself is charged."""
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("nr_free_pages 5\noom_kill 7\n")
    monkeypatch.setattr(oom_kills, "VMSTAT", vmstat)
    told = Told()
    runner = runner_of(told, tmp_path, "sh", "-c", f"echo oom_kill {counted} > {vmstat}; kill -9 $PPID; sleep 60")
    runner.start(DEVICE, [assignment("t1")])
    await until(lambda: told.events and isinstance(told.events[-1], AttemptFinished), "it does not end")
    end = told.events[-1]
    assert isinstance(end, AttemptFinished)
    assert end.finished.outcome is outcome
    assert ("out of memory" in (end.finished.error or "")) == (outcome is Outcome.PROVIDER_ERROR)
    await runner.close()


@pytest.mark.parametrize("text", ["", "oom_kill\n", "oom_kill x\n", "oom_kills 3\n"])
def test_where_the_kernel_counts_nothing_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(oom_kills, "VMSTAT", tmp_path / "vmstat")
    assert oom_kills.oom_kills() is None
    (tmp_path / "vmstat").write_text(text)
    assert oom_kills.oom_kills() is None


class Deaf(Told):
    """Fails at the first piece of a log."""

    def log(self, job_id: str, token: str, offset: int, data: bytes) -> None:
        broken()


async def test_a_fault_while_an_attempt_is_watched_is_told(tmp_path: Path) -> None:
    told = Deaf()
    runner = runner_of(told, tmp_path, "sh", "-c", "echo up; sleep 60")
    runner.start(DEVICE, [assignment("t1")])
    process = runner._attempts["t1"].execution.process
    assert process is not None
    try:
        await until(lambda: told.fault, "nobody is told", seconds=5)
    finally:
        runner.kill("t1", DeathCause.SHUTDOWN, 0)
        await asyncio.to_thread(process.wait, DEADLINE_SECONDS)
        await runner.close()
    assert isinstance(told.fault, ArithmeticError)


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


def test_a_folder_that_a_read_only_disk_keeps_is_said_to_be_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is refused there: the result was taken, and the agent goes on."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    (tmp_path / "execution" / "out").mkdir(parents=True)
    with monkeypatch.context() as patch:
        for name in ("chmod", "rmdir", "unlink"):
            patch.setattr(os, name, refuse)
        assert not remove_tree(tmp_path / "execution")
    assert remove_tree(tmp_path / "execution")


class Takes:
    """Remembers when the tests began whose evidence it is given."""

    def __init__(self) -> None:
        self.began: dict[str, int] = {}

    def take(self, what: Assignment, files: Path, output: Path, end: object, began_at_ms: int = 0) -> None:
        self.began[what.token] = began_at_ms


async def test_of_a_test_that_was_killed_it_is_told_when_it_began(tmp_path: Path) -> None:
    """What its device logged can be asked for then, also by the next life of the agent."""
    told, takes, before = Told(), Takes(), wall_ms()
    runner = runner_of(told, tmp_path, "sleep", "60")
    runner._evidence = takes
    runner.start(DEVICE, [assignment("t1")])
    await until(lambda: told.events, "the command does not start")
    runner.kill("t1", DeathCause.REVOKED, 0.1)
    await until(lambda: isinstance(told.events[-1], AttemptKilled), "it is not killed")
    runner.settled("t1")
    await runner.close()
    assert before <= takes.began["t1"] <= wall_ms()
    again = runner_of(told, tmp_path)
    again._evidence = later = Takes()
    await again.recover({"t1"})
    await again.close()
    assert later.began == takes.began


async def test_a_test_that_stops_its_supervisor_does_not_keep_its_device(tmp_path: Path) -> None:
    """No limit, and no cancel, is more than a word to a process that is stopped."""
    told = Told()
    runner = runner_of(told, tmp_path, "sh", "-c", "kill -STOP $PPID; exec sleep 60")
    runner.start(DEVICE, [replace(assignment("t1"), timeout_ms=300)])
    execution = runner._attempts["t1"].execution
    try:
        await until(lambda: any(isinstance(each, AttemptFinished) for each in told.events), "its limit ends nothing")
    finally:
        execution.kill_supervisor()
        assert hunt(names.MARKER, execution.path.name, execution.cgroup, DEADLINE_SECONDS) == []
        await runner.close()
    (end,) = (each for each in told.events if isinstance(each, AttemptFinished))
    assert end.finished.outcome is Outcome.TIMED_OUT
    assert (end.finished.error or "").endswith("its time limit being over"), "its supervisor has ended it"
