"""The AppWright runner without AppWright: a program stands for node, and tells of files what they say themselves."""

from __future__ import annotations

import asyncio
import errno
import json
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.core.events import AttemptEvent, AttemptFinished, AttemptKilled, AttemptStarted, TreeStuck
from qgjob_agent.core.values import Assignment, DeathCause, DeviceFacts, LivingProcess, LivingTree, Outcome, Target
from qgjob_agent.devices.app import App, AppUnknownError
from qgjob_agent.executions import names, stopped_supervisor
from qgjob_agent.executions.folder import ExecutionFolder
from qgjob_agent.executions.lease_file import LeaseTime
from qgjob_agent.executions.planned import PlannedExecution
from qgjob_agent.host.process_tree import kill_descendants
from qgjob_agent.runners.appwright.appium import Appium
from qgjob_agent.runners.appwright.appium_settings import AppiumSettings
from qgjob_agent.runners.appwright.fits import TRIED_PLAYWRIGHT, Part
from qgjob_agent.runners.appwright.launching import AppwrightSettings
from qgjob_agent.runners.appwright.ports import PortSlots
from qgjob_agent.runners.appwright.projects import Projects
from qgjob_agent.runners.appwright.run import PLAN_FILE, Run
from qgjob_agent.runners.appwright.runner import AppwrightRunner
from tests.fakes.waiting import until
from tests.unit.agent.test_appwright_versions import suite as packages

DEVICE = DeviceFacts("d1", "emulator-5554", Target.EMULATOR, platform="android")
NODE = f"""#!{sys.executable} -IS
import json, os, signal, sys, time
plan = json.load(open(os.environ["QGJOB_APPWRIGHT_PLAN"]))
def tell(**event):
    with open(plan["events"], "a") as file:
        file.write(json.dumps({{"at_ms": time.time_ns() // 1_000_000}} | event) + "\\n")
for attempt in plan["attempts"]:
    try:
        os.symlink("begun", attempt["claim"])
    except FileExistsError:
        continue
    tell(event="begin", attempt=attempt["index"])
    told = {{"passed": 1, "failed": 0, "skipped": 0, "duration_ms": 5}} | json.load(open(attempt["file"]))
    print(json.dumps(sorted(os.environ)), flush=True)
    if "stops" in told:
        os.kill(os.getppid(), signal.SIGSTOP)
    while "until" in told and not os.path.exists(told["until"]):
        time.sleep(0.01)
    if "exit" in told:
        sys.exit(told["exit"])
    tell(event="end", attempt=attempt["index"], **told)
tell(event="done", status="passed")
"""


class Bench:
    """A runner with a suite whose test files are JSON, and what it told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.suite = packages(folder / "suite", appwright=None)
        self.events: list[AttemptEvent] = []
        self.refused: list[tuple[str, str]] = []
        self.node = folder / "node"
        self.node.write_text(NODE)
        self.node.chmod(0o700)
        self.app_of: Any = None
        self.appium_argv: tuple[str, ...] = ("no-such-appium", "{port}")
        self.appium_url: str | None = None
        self.screens: Any = None

    def report(self, events: list[AttemptEvent]) -> None:
        self.events += events

    def not_begun(self, token: str, error: str) -> None:
        self.refused.append((token, error))

    def failed(self, error: Exception) -> None:
        raise error

    def log(self, job_id: str, token: str, offset: int, data: bytes) -> None:
        """Nobody looks."""

    def runner(self, slots: PortSlots | None = None, **changed: Any) -> AppwrightRunner:
        log: Any = structlog.get_logger()
        environ = {"PATH": "/usr/bin:/bin"}
        settings = AppwrightSettings(
            suite=self.suite,
            projects=Projects("android"),
            config="appwright.config.ts",
            node=str(self.node),
            environ=environ,
            output_bytes=10_000,
            attempts_per_run=4,
            plain=False,
            grace_seconds=0.2,
            executions=self.folder / "runs",
            lease_path=self.folder / "lease",
        )
        of_appium = AppiumSettings(self.appium_argv, environ, self.folder / "state", self.suite, self.appium_url)
        self.appium = Appium(of_appium, log)
        return AppwrightRunner(
            self,
            replace(settings, **changed),
            self.appium,
            lambda: LeaseTime(monotonic_seconds(), 60.0, 0.2),
            log,
            self.app_of,
            suite_of=lambda what: None if what.suite_digest is None else self.folder / what.suite_digest,
            slots=slots,
            screens=self.screens,
        )

    def job(self, token: str, text: str | None = "{}") -> Assignment:
        if text is not None:
            (self.suite / f"{token}.spec.ts").write_text(text)
        return Assignment(f"acme~{token}", token, 1, 0, "d1", "acme", "1.0", f"{token}.spec.ts", Target.EMULATOR)

    def last(self, token: str) -> AttemptFinished | AttemptKilled | None:
        ends = [x for x in self.events if x.token == token and isinstance(x, AttemptFinished | AttemptKilled)]
        assert len(ends) <= 1
        return ends[0] if ends else None

    async def outcomes(self, *tokens: str) -> list[tuple[Outcome, str]]:
        await until(lambda: all(self.last(token) for token in tokens), lambda: f"no end of {tokens}: {self.events}")
        found = [self.last(token) for token in tokens]
        return [(x.finished.outcome, x.finished.error or "") for x in found if isinstance(x, AttemptFinished)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "suite").mkdir()
    return Bench(tmp_path)


async def idle(runner: AppwrightRunner) -> None:
    await until(lambda: not any(runner._lines.values()), "the end of all runs")
    await runner.close()


async def test_a_crash_costs_the_one_that_ran_and_the_rest_goes_on(bench: Bench) -> None:
    runner = bench.runner()
    texts = {"a": "{}", "b": '{"exit": 3}', "c": '{"failed": 1, "error": "cart: 0"}', "d": "{}"}
    runner.start(DEVICE, [bench.job(token, text) for token, text in texts.items()])
    assert [outcome for outcome, _ in await bench.outcomes(*texts)] == [
        Outcome.PASSED,
        Outcome.APP_CRASHED,
        Outcome.TEST_FAILED,
        Outcome.PASSED,
    ]
    for token in texts:
        runner.settled(token)
        runner.told(token)
    await idle(runner)
    assert list((bench.folder / "runs").iterdir()) == []


async def test_where_the_folders_of_several_runs_are_removed_nobody_knows_whose_test_did_it(bench: Bench) -> None:
    runner, never = bench.runner(), json.dumps({"until": str(bench.folder / "never")})
    others = replace(DEVICE, device_id="d2", udid="emulator-5556")
    runner.start(DEVICE, [bench.job("a"), bench.job("b", never), bench.job("c")])
    runner.start(others, [replace(bench.job("d", never), device_id="d2")])

    def begun() -> set[str]:
        return {each.token for each in bench.events if isinstance(each, AttemptStarted)}

    await until(lambda: begun() == {"a", "b", "d"}, lambda: f"begun: {begun()}")
    (bench.folder / "runs").rename(bench.folder / "elsewhere")
    await until(lambda: all(map(bench.last, "abcd")), lambda: f"no end: {bench.events}")
    ends = {token: bench.last(token) for token in "abcd"}
    assert [getattr(ends[token], "cause", None) for token in "bd"] == [DeathCause.AGENT_LOST] * 2
    assert [outcome for outcome, _ in await bench.outcomes("a", "c")] == [Outcome.PASSED] * 2
    await idle(runner)


async def test_what_will_not_die_of_a_run_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qgjob_agent.runners.living_trees.LOOK_SECONDS", 0.0)
    runner = bench.runner()
    runner.start(DEVICE, [bench.job("a")])
    (run,) = (bench.folder / "runs").iterdir()
    (run / names.LIVING).write_text('{"since_ms": 1, "processes": [[7, "D", "dd"]]}')
    await bench.outcomes("a")
    await idle(runner)
    trees = [event.tree for event in bench.events if isinstance(event, TreeStuck)]
    assert trees == [LivingTree(1, (LivingProcess(7, "D", "dd"),)), None]


async def test_what_is_killed_while_its_run_is_made_ready_never_begins(bench: Bench) -> None:
    runner = bench.runner()
    runner.start(DEVICE, [bench.job("a"), bench.job("b")])
    for token in "ab":
        runner.kill(token, DeathCause.REVOKED, 1.0)
        killed = bench.last(token)
        assert isinstance(killed, AttemptKilled)
        assert (killed.cause, killed.begun) == (DeathCause.REVOKED, False)
    await idle(runner)
    assert not any((path / "spec.json").exists() for path in (bench.folder / "runs").iterdir())


@pytest.mark.parametrize("taken", ["b", "bc"])
async def test_what_is_taken_back_while_sessions_end_does_not_go_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    """A crash leaves a session behind, and Appium takes its time over it; another device may have the rest by then."""
    runner = bench.runner()
    closing, over = asyncio.Event(), asyncio.Event()
    close = runner._ends.close

    async def slowly(run: Run) -> None:
        closing.set()
        await over.wait()
        await close(run)

    monkeypatch.setattr(runner._ends, "close", slowly)
    runner.start(DEVICE, [bench.job("a", '{"exit": 3}'), bench.job("b"), bench.job("c")])
    await asyncio.wait_for(closing.wait(), 20)
    for token in taken:
        runner.kill(token, DeathCause.REVOKED, 1.0)
    over.set()
    await bench.outcomes("a", "b", "c")
    await idle(runner)
    ends = [(x.token, type(x)) for x in bench.events if isinstance(x, AttemptFinished | AttemptKilled)]
    assert sorted(ends, key=str) == [(token, AttemptKilled if token in taken else AttemptFinished) for token in "abc"]
    for token in taken:
        killed = bench.last(token)
        assert isinstance(killed, AttemptKilled)
        assert (killed.cause, killed.begun) == (DeathCause.REVOKED, False)


async def test_what_an_earlier_daemon_only_planned_begins_with_the_next(bench: Bench) -> None:
    first = bench.runner()
    first.start(DEVICE, [bench.job("a"), bench.job("b")])
    await first.close()  # before it could begin anything
    second = bench.runner()
    recovery = await second.recover(set())
    assert [(x.assignment.token, x.started_at_ms) for x in recovery.attempts] == [("a", 0), ("b", 0)]
    assert [outcome for outcome, _ in await bench.outcomes("a", "b")] == [Outcome.PASSED] * 2
    await idle(second)


async def test_a_suite_that_can_not_run_says_what_to_do_and_is_no_devices_fault(bench: Bench) -> None:
    (bench.suite / "node_modules" / "playwright" / "package.json").unlink()
    runner = bench.runner()
    runner.start(DEVICE, [bench.job("a"), bench.job("b")])
    ended = await bench.outcomes("a", "b")
    assert [outcome for outcome, _ in ended] == [Outcome.PROVIDER_ERROR] * 2
    assert "has no Playwright; run `npm ci` in it" in ended[0][1]
    await idle(runner)


async def test_what_keeps_a_run_from_beginning_is_told_of_each_attempt_by_itself(bench: Bench) -> None:
    """The core writes into each what is its own: the installation that one of them waited for was lost with it."""
    (bench.suite / "node_modules" / "playwright" / "package.json").unlink()
    runner = bench.runner()
    runner.start(DEVICE, [bench.job("a"), bench.job("b")])
    await bench.outcomes("a", "b")
    first, second = (bench.last(token) for token in "ab")
    assert isinstance(first, AttemptFinished)
    assert isinstance(second, AttemptFinished)
    assert first.finished is not second.finished
    await idle(runner)


async def test_without_appium_or_node_the_device_can_not_be_used(bench: Bench) -> None:
    bench.node = bench.folder / "gone"
    runner = bench.runner()
    runner.start(DEVICE, [bench.job("a"), bench.job("b")])
    assert [outcome for outcome, _ in await bench.outcomes("a", "b")] == [Outcome.DEVICE_ERROR] * 2
    packages(bench.folder / "other")
    bench.suite = bench.folder / "other"
    runner = bench.runner()
    runner.start(DEVICE, [bench.job("c")])
    ((outcome, error),) = await bench.outcomes("c")
    assert outcome is Outcome.DEVICE_ERROR
    assert "Appium can't be started: no-such-appium" in error
    ends = [bench.last(token) for token in "abc"]
    assert all(isinstance(x, AttemptFinished) and x.finished.host_unfit for x in ends), (
        "other devices have no other one"
    )
    bench.suite = bench.folder / "suite"
    runner = bench.runner(node="node")
    runner.start(DEVICE, [replace(bench.job("d"), env={"PATH": "/nowhere"})])
    ((outcome, error),) = await bench.outcomes("d")
    assert (outcome, "node: is not on PATH" in error) == (Outcome.DEVICE_ERROR, True), error
    told = bench.last("d")
    assert isinstance(told, AttemptFinished)
    assert not told.finished.host_unfit, "it is the job's PATH that has none"
    await idle(runner)


async def test_what_the_system_refuses_before_a_run_begins_costs_its_attempts_and_not_the_agent(bench: Bench) -> None:
    (bench.folder / "state" / "appium.json" / "no file").mkdir(parents=True)
    packages(bench.folder / "other")
    bench.suite = bench.folder / "other"
    runner = bench.runner()
    runner.start(DEVICE, [bench.job("a"), bench.job("b")])
    assert [outcome for outcome, _ in await bench.outcomes("a", "b")] == [Outcome.DEVICE_ERROR] * 2
    end = bench.last("a")
    assert isinstance(end, AttemptFinished)
    assert end.finished.host_unfit
    assert (end.finished.error or "").startswith("not startable: ")
    await idle(runner)
    assert runner._attempts == {}


async def test_a_build_that_nobody_knows_is_told_and_one_that_is_known_reaches_the_test(bench: Bench) -> None:
    async def unknown(what: Assignment, device: DeviceFacts) -> App:
        raise AppUnknownError(f"nobody pushed {what.app_version_id}", unresolvable=True)

    async def known(what: Assignment, device: DeviceFacts) -> App:
        return App(Path("/builds/12.apk"), "com.example")

    bench.app_of = unknown
    runner = bench.runner()
    runner.start(DEVICE, [bench.job("a")])
    assert await bench.outcomes("a") == [(Outcome.PROVIDER_ERROR, "nobody pushed 1.0")]
    end = bench.last("a")
    assert isinstance(end, AttemptFinished)
    assert end.finished.unresolvable
    bench.app_of = known
    runner = bench.runner()
    runner.start(DEVICE, [bench.job("b")])
    assert await bench.outcomes("b") == [(Outcome.PASSED, "")]
    await idle(runner)
    (output,) = (bench.folder / "runs").glob("*/output")
    assert "QGJOB_BUILD_PATH" in output.read_text()
    assert "QGJOB_APP_PACKAGE" in output.read_text()


async def test_a_file_that_is_not_there_is_tried_no_more_as_in_a_suite_that_was_pushed(bench: Bench) -> None:
    runner = bench.runner()
    runner.start(DEVICE, [bench.job("a"), bench.job("gone", None)])
    (passed, _), (outcome, error) = await bench.outcomes("a", "gone")
    assert (passed, outcome) == (Outcome.PASSED, Outcome.PROVIDER_ERROR)
    assert "test_path 'gone.spec.ts' is no file in the suite" in error
    end = bench.last("gone")
    assert isinstance(end, AttemptFinished)
    assert end.finished.unresolvable
    await idle(runner)


async def test_a_disk_that_refuses_the_files_gives_the_attempts_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> PlannedExecution:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PlannedExecution, "planned", refuse)
    runner = bench.runner()
    runner.start(DEVICE, [bench.job("a"), bench.job("b")])
    assert bench.refused == [("a", "No space left on device"), ("b", "No space left on device")]
    runner.kill("a", DeathCause.REVOKED, 1.0)  # nothing of it is left
    assert bench.events == []
    await idle(runner)


async def test_a_file_runs_in_the_suite_that_came_with_its_job(bench: Bench) -> None:
    """Files of different suites share no process; without a suite of either kind it is told what to do."""
    packages(bench.folder / "two", appwright=None)
    (bench.folder / "two" / "a.spec.ts").write_text('{"failed": 1, "summary": "of the other suite"}')
    runner = bench.runner()
    of_suite = replace(bench.job("b"), suite_digest="two", test_path="a.spec.ts")
    runner.start(DEVICE, [bench.job("a"), of_suite])
    assert [outcome for outcome, _ in await bench.outcomes("a", "b")] == [Outcome.PASSED, Outcome.TEST_FAILED]
    await idle(runner)
    runner = bench.runner(suite=None)
    runner.start(DEVICE, [bench.job("c")])
    ((outcome, error),) = await bench.outcomes("c")
    assert (outcome, error) == (
        Outcome.PROVIDER_ERROR,
        "the job brings no suite, and this agent has none; submit it with --suite DIR",
    )
    await idle(runner)


@pytest.mark.parametrize(("parts", "linger_ms"), [({Part.FILES, Part.JOINING}, 5_000), ({Part.FILES}, 0)])
async def test_a_process_waits_for_further_files_only_where_it_can_take_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, parts: set[Part], linger_ms: int
) -> None:
    monkeypatch.setitem(TRIED_PLAYWRIGHT, "1.59.1", frozenset(parts))
    runner = bench.runner()
    runner.start(DEVICE, [bench.job("a"), bench.job("b")])
    assert [outcome for outcome, _ in await bench.outcomes("a", "b")] == [Outcome.PASSED] * 2
    (run,) = (bench.folder / "runs").iterdir()
    assert json.loads((run / PLAN_FILE).read_text())["linger_ms"] == linger_ms
    await idle(runner)


async def test_what_was_spooled_by_a_daemon_that_died_then_is_put_aside_by_the_next(bench: Bench) -> None:
    """It died before the evidence was taken; what the run says of the attempt's end is known by its events too."""
    first = bench.runner()
    first.start(DEVICE, [bench.job("a"), bench.job("b")])
    await bench.outcomes("a", "b")
    await idle(first)
    (run,) = (bench.folder / "runs").iterdir()
    files = [run / names.ATTEMPTS / str(index) / names.OUT for index in (0, 1)]
    taken: list[tuple[str, Path, Any]] = []

    class Taker:
        def take(self, what: Assignment, left: Path, output: Path, end: Any, began_at_ms: int) -> None:
            taken.append((what.token, left, end))

    second = bench.runner()
    second._leaving.evidence = Taker()
    bench.events.clear()
    recovery = await second.recover({"a", "b"})
    assert (recovery.attempts, recovery.ended) == ([], [])
    assert [(token, left, end.finished.outcome) for token, left, end in taken] == [
        ("a", files[0], Outcome.PASSED),
        ("b", files[1], Outcome.PASSED),
    ]
    await until(lambda: not any(each.exists() for each in files), "their files are still there")
    for token in ("a", "b"):
        second.told(token)
    await until(lambda: not run.exists(), "the run is still there")
    await second.close()


STOPS = '{"stops": true, "until": "/never"}'


async def stopping(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, second: str = STOPS, third: str = "{}", **limits: int
) -> AppwrightRunner:
    """A runner whose second file of three keeps its supervisor stopped, whoever wakes it."""
    monkeypatch.setattr(ExecutionFolder, "wake_supervisor", lambda self: None)
    monkeypatch.setattr(stopped_supervisor, "LOOK_SECONDS", 0.05)
    runner = bench.runner()
    jobs = [bench.job("a"), replace(bench.job("b", second), **limits), bench.job("c", third)]
    runner.start(DEVICE, jobs)
    await until(lambda: _stopped(runner), "its supervisor is not stopped")
    return runner


def _stopped(runner: AppwrightRunner) -> bool:
    return any(run.execution.supervisor_stopped() for line in runner._lines.values() for run in line)


@pytest.mark.parametrize("limit", ["timeout_ms", "silence_timeout_ms"])
@pytest.mark.parametrize("restarted", [False, True], ids=["", "with a restarted agent"])
async def test_a_file_that_keeps_its_supervisor_stopped_runs_over_its_limits_and_costs_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, limit: str, restarted: bool
) -> None:
    runner = await stopping(bench, monkeypatch, **{limit: 5_000})
    (process,) = (run.execution.process for line in runner._lines.values() for run in line)
    assert process is not None
    if restarted:
        await runner.close()
        runner = bench.runner()
        recovery = await runner.recover({"a"} if bench.last("a") else set())
        bench.events += recovery.ended
    (first, _), (second, error), (third, _) = await bench.outcomes("a", "b", "c")
    assert [first, second, third] == [Outcome.PASSED, Outcome.TIMED_OUT, Outcome.PASSED]
    assert "its supervisor was kept stopped, which no test may do" in error
    await idle(runner)
    assert len(list((bench.folder / "runs").iterdir())) == 2
    assert await asyncio.to_thread(process.wait, 20) == -signal.SIGKILL


async def test_a_cancel_of_a_file_that_keeps_its_supervisor_stopped_costs_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = await stopping(bench, monkeypatch)
    runner.kill("b", DeathCause.REVOKED, 0.1)
    assert [outcome for outcome, _ in await bench.outcomes("a", "b", "c")] == [Outcome.PASSED] * 2
    killed = bench.last("b")
    assert isinstance(killed, AttemptKilled)
    assert (killed.cause, killed.begun) == (DeathCause.REVOKED, True)
    await idle(runner)


async def test_of_a_run_whose_supervisor_is_kept_stopped_nothing_begins_any_more_before_it_is_dead(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would begin while it is ended would have crashed, by all that could be told."""
    go, dead = bench.folder / "go", bench.folder / "dead"

    def kill_late(root: int) -> None:
        go.touch()  # the file that held it up ends, and the next one may begin
        (run,) = (run for line in runner._lines.values() for run in line)
        while not run.execution.claim(2):
            time.sleep(0.01)
        kill_descendants(root)
        dead.touch()

    monkeypatch.setattr("qgjob_agent.runners.execution_watch.kill_descendants", kill_late)
    second, third = json.dumps({"stops": True, "until": str(go)}), json.dumps({"until": str(dead)})
    runner = await stopping(bench, monkeypatch, second, third, timeout_ms=4_000)
    assert [outcome for outcome, _ in await bench.outcomes("c")] == [Outcome.PASSED]
    await idle(runner)
