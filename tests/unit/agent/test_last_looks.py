"""What hangs is looked at before it is ended, and what Appium said meanwhile is kept with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from qgjob_agent.core.events import AttemptFinished, AttemptKilled
from qgjob_agent.core.values import Assignment, DeathCause, Finished, Outcome
from qgjob_agent.executions import names
from qgjob_agent.executions.planned import PlannedExecution
from qgjob_agent.host.leftovers import Leftovers
from qgjob_agent.runners import last_looks
from qgjob_agent.runners.appwright.appium_log import AppiumLog
from qgjob_agent.runners.appwright.leaving import Leaving
from qgjob_agent.runners.appwright.run import Attempt, Run
from qgjob_agent.runners.last_looks import NAME
from tests.fakes.agent_core import assignment
from tests.fakes.waiting import DEADLINE_SECONDS, until
from tests.unit.agent.test_appwright_runner import DEVICE, Bench, idle
from tests.unit.agent.test_command_runner import Told, runner_of

PICTURE = b"\x89PNG\r\n\x1a\nwhat hangs"
HANGS = '{"until": "/nowhere/at/all"}'


class Screens:
    """Shows a picture, maybe only when it is told to."""

    def __init__(self, shown: bytes | Exception | None = PICTURE) -> None:
        self.shown = shown
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.given_up = False

    async def __call__(self, device_id: str) -> bytes | None:
        self.asked.append(device_id)
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.given_up = True
            raise
        if isinstance(self.shown, Exception):
            raise self.shown
        return self.shown


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "suite").mkdir()
    made = Bench(tmp_path)
    made.screens = Screens()
    return made


def files_of(bench: Bench, index: int = 0) -> Path:
    (run,) = (bench.folder / "runs").iterdir()
    return run / names.ATTEMPTS / str(index) / names.OUT


def hanging(bench: Bench, token: str = "a") -> Assignment:  # noqa: S107 - an attempt's
    """Over its limit soon after it has begun, however late that is."""
    return replace(bench.job(token, HANGS), silence_timeout_ms=200)


async def test_what_hangs_is_seen_before_it_is_ended_and_what_passes_is_not(bench: Bench) -> None:
    runner = bench.runner()
    runner.start(DEVICE, [bench.job("a"), hanging(bench, "b")])
    assert [outcome for outcome, _ in await bench.outcomes("a", "b")] == [Outcome.PASSED, Outcome.TIMED_OUT]
    assert bench.screens.asked == ["d1"]
    assert [each.name for each in files_of(bench, 0).iterdir()] == []
    assert (files_of(bench, 1) / NAME).read_bytes() == PICTURE
    assert [each.name for each in files_of(bench, 1).iterdir()] == [NAME]
    await idle(runner)


async def test_a_device_that_shows_nothing_costs_its_bound_and_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_looks, "_PICTURE_SECONDS", 0.2)
    bench.screens.may_answer.clear()
    with capture_logs() as lines:
        runner = bench.runner()
        runner.start(DEVICE, [hanging(bench)])
        assert [outcome for outcome, _ in await bench.outcomes("a")] == [Outcome.TIMED_OUT]
    (line,) = (each for each in lines if each["event"] == "last_look_failed")
    assert line["error"] == "the device did not answer within 0.2 s"
    assert bench.screens.given_up
    assert list(files_of(bench).iterdir()) == []
    await idle(runner)


@pytest.mark.parametrize(("shown", "said"), [(OSError("the device is not connected"), True), (None, False)])
async def test_without_a_picture_it_is_ended_as_ever(bench: Bench, shown: Any, said: bool) -> None:
    bench.screens.shown = shown
    with capture_logs() as lines:
        runner = bench.runner()
        runner.start(DEVICE, [hanging(bench)])
        assert [outcome for outcome, _ in await bench.outcomes("a")] == [Outcome.TIMED_OUT]
    assert [each["error"] for each in lines if each["event"] == "last_look_failed"] == [str(shown)] * said
    assert list(files_of(bench).iterdir()) == []
    await idle(runner)


async def test_a_cancel_does_not_wait_for_the_picture(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_looks, "_PICTURE_SECONDS", 600.0)
    monkeypatch.setattr(last_looks, "LOOK_SECONDS", 600.0)
    bench.screens.may_answer.clear()
    runner = bench.runner()
    runner.start(DEVICE, [hanging(bench)])
    await until(lambda: bench.screens.asked, "nobody looks")
    runner.kill("a", DeathCause.REVOKED, 0.0)
    assert [outcome for outcome, _ in await bench.outcomes("a")] == [Outcome.TIMED_OUT]
    await until(lambda: bench.screens.given_up, "somebody still looks")
    await idle(runner)


async def test_the_next_daemon_looks_where_the_one_before_did_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_looks, "LOOK_SECONDS", 600.0)
    bench.screens.may_answer.clear()
    first = bench.runner()
    first.start(DEVICE, [hanging(bench)])
    monkeypatch.setattr(last_looks.LastLooks, "look", lambda *_: None)
    (run,) = first._lines["d1"]
    await until(lambda: run.execution.overdue() is not None, "its time is not over")
    process = run.execution.process
    await first.close()
    monkeypatch.undo()
    bench.screens.may_answer.set()
    second = bench.runner()
    await second.recover(set())
    assert [outcome for outcome, _ in await bench.outcomes("a")] == [Outcome.TIMED_OUT]
    assert (files_of(bench) / NAME).read_bytes() == PICTURE
    await idle(second)
    assert process is not None
    process.wait(DEADLINE_SECONDS)


async def test_a_command_that_hangs_is_seen_too(tmp_path: Path) -> None:
    told, screens = Told(), Screens()
    runner = runner_of(told, tmp_path, "sleep", "60", screens=screens)
    runner.start(DEVICE, [replace(assignment("t1"), timeout_ms=100)])
    await until(lambda: any(isinstance(x, AttemptFinished) for x in told.events), "it does not end")
    execution, _ = runner._ended["t1"]
    assert (execution.output_dir / NAME).read_bytes() == PICTURE
    await runner.close()


@pytest.mark.parametrize("theirs", ["a link", "nothing"])
async def test_a_picture_goes_nowhere_but_into_the_test_s_own_folder(tmp_path: Path, theirs: str) -> None:
    """Where a test has put something else in place of that."""
    told, elsewhere = Told(), tmp_path / "elsewhere"
    elsewhere.mkdir()
    put = {"a link": f"ln -s {elsewhere}", "nothing": "test -n"}[theirs]
    command = f'rmdir "$QGJOB_OUTPUT_DIR"; {put} "$QGJOB_OUTPUT_DIR"; sleep 60'
    screens = Screens()
    screens.may_answer.clear()
    runner = runner_of(told, tmp_path, "sh", "-c", command, screens=screens)
    runner.start(DEVICE, [replace(assignment("t1"), timeout_ms=300)])
    folder = runner._attempts["t1"].execution.output_dir
    with capture_logs() as lines:
        await until(lambda: folder.is_symlink() or not folder.exists(), "it does not put anything there")
        screens.may_answer.set()
        await until(lambda: any(isinstance(x, AttemptFinished) for x in told.events), "it does not end")
    assert list(elsewhere.iterdir()) == []
    assert [each["event"] for each in lines] == ["last_look_failed"]
    await runner.close()


# ---- what Appium said ----


class Taker:
    """Reads what it is given."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def take(self, _what: Assignment, files: Path, _output: Path, _end: object, _began_at_ms: int = 0) -> None:
        self.files = {each.name: each.read_bytes() for each in files.iterdir() if each.is_file()}


class Host:
    """Runs that use one Appium."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = AppiumLog(folder / "appium.log")
        self.log.path.write_bytes(b"of before\n")
        self.taker = Taker()
        log: Any = structlog.get_logger()
        self.leftovers = Leftovers(log, self.failed)
        self.leaving = Leaving(self.taker, self.log, self.leftovers, log)

    def failed(self, error: Exception) -> None:
        raise error

    def report(self, events: Any) -> None:
        raise AssertionError(events)

    def say(self, text: bytes) -> list[int]:
        with self.log.path.open("ab") as file:
            file.write(text)
        status = self.log.path.stat()
        return [status.st_ino, status.st_size]

    def run(self, token: str = "t0") -> Run:  # noqa: S107 - an attempt's
        execution = PlannedExecution.planned(self.folder / "runs", [assignment(token)], {})
        run = Run(execution, DEVICE, [0], self)  # type: ignore[arg-type]
        self.leaving.begins(run)
        return run

    def tell(self, run: Run, **event: Any) -> None:
        with (run.execution.path / names.EVENTS).open("a") as file:
            file.write(json.dumps({"attempt": 0, "at_ms": 5} | event) + "\n")
        run.read()

    def left(self, run: Run, end: Callable[[str], Any]) -> dict[str, bytes]:
        attempt: Attempt = run.attempts[0]
        if not attempt.over:
            run.close(attempt, end(attempt.assignment.token))
        self.leaving.put_aside(run, attempt)
        return self.taker.files


def timed_out(token: str) -> AttemptFinished:
    return AttemptFinished(token, Finished(Outcome.TIMED_OUT, 1, 2, 1, error="over"))


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    made = Host(tmp_path)
    yield made
    await made.leftovers.close()


async def test_what_appium_said_since_the_begin_is_kept_of_what_hung(host: Host) -> None:
    run = host.run()
    host.tell(run, event="begin", appium_log=host.say(b""))
    host.say(b"\x1b[38;5;9m[HTTP]\x1b[0m --> POST /session\n")
    assert host.left(run, timed_out) == {"appium.log": b"[HTTP] --> POST /session\n"}


async def test_of_a_test_that_failed_it_is_kept_up_to_its_end_and_of_one_that_passed_not_at_all(host: Host) -> None:
    for failed, kept in ((1, {"appium.log": b"meanwhile\n"}), (0, {})):
        run = host.run(f"t{failed}")
        host.tell(run, event="begin", appium_log=host.say(b""))
        host.tell(run, event="end", appium_log=host.say(b"meanwhile\n"), passed=1 - failed, failed=failed)
        host.say(b"of the next\n")
        assert host.left(run, timed_out) == kept
        host.leaving.ends(run)


async def test_of_what_other_devices_did_meanwhile_nothing_is_kept(host: Host) -> None:
    run, other = host.run("t0"), host.run("t1")
    host.leaving.ends(other)
    host.tell(run, event="begin", appium_log=host.say(b""))
    host.tell(run, event="has_session", session_id="0a1b2c3d-aaaa")
    host.say(b"[0a1b2c3d][HTTP] --> ours\n[9f8e7d6c][HTTP] --> theirs\n[ADB] adb -s emulator-5554 shell\n")
    kept = host.left(run, lambda token: AttemptKilled(token, 9, DeathCause.REVOKED))["appium.log"]
    assert kept.startswith(b"[other devices used this Appium meanwhile")
    assert kept.endswith(b"\n[0a1b2c3d][HTTP] --> ours\n[ADB] adb -s emulator-5554 shell\n")
    assert b"theirs" not in kept


async def test_what_appium_said_is_written_through_no_link(host: Host) -> None:
    run = host.run()
    host.tell(run, event="begin", appium_log=host.say(b""))
    host.say(b"meanwhile\n")
    files = run.execution.files_of(0)
    files.rmdir()
    files.symlink_to(host.folder)
    with capture_logs() as lines:
        host.left(run, timed_out)
    assert [each["event"] for each in lines] == ["appium_log_not_kept"]
    assert host.log.path.read_bytes() == b"of before\nmeanwhile\n"


async def test_runs_one_after_the_other_share_nothing(host: Host) -> None:
    first = host.run("t0")
    host.leaving.ends(first)
    second = host.run("t1")
    assert (first.shares_appium, second.shares_appium) == (False, False)


async def test_a_log_that_is_gone_is_told_and_costs_no_other_evidence(host: Host) -> None:
    run = host.run()
    host.tell(run, event="begin", appium_log=host.say(b""))
    (run.execution.files_of(0) / "shot.png").write_bytes(b"x")
    host.log.path.unlink()
    with capture_logs() as lines:
        assert host.left(run, timed_out) == {"shot.png": b"x"}
    assert [line["event"] for line in lines] == ["appium_log_not_kept"]
