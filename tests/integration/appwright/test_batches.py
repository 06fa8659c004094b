"""Many test files in one process: each has its own verdict, and what hits one of them costs the others nothing."""

from __future__ import annotations

import asyncio
import os
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from qgjob_agent.clock import wall_ms
from qgjob_agent.core.events import AttemptFinished, AttemptProgressed
from qgjob_agent.core.values import Assignment, DeathCause, Outcome
from tests.fakes.waiting import until
from tests.integration.appwright.conftest import MakeLab
from tests.integration.appwright.lab import DEVICE, Lab

HEAD = 'import { test, expect } from "@playwright/test";\nimport * as fs from "node:fs";\n'
SOUND = HEAD + 'test("one", async () => { console.log("said by", process.env.QGJOB_TEST_PATH); });\n'
TWO = SOUND + 'test("two", async () => { expect(1 + 1).toBe(2); });\n'
FAILING = HEAD + 'test("sum", async () => { console.log("before"); expect(1 + 1).toBe(3); });\n'


def waiting(mark: Path, go_on: str = "false") -> str:
    """A test that says that it runs, then waits until told or for ever."""
    return (
        HEAD + 'test("waits", async () => {\n'
        f'  fs.writeFileSync({str(mark)!r}, "");\n'
        f"  while (!({go_on})) await new Promise((done) => setTimeout(done, 20));\n"
        "});\n"
    )


class Kept:
    """Takes the evidence of an attempt, and reads it."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}

    def take(self, _what: Assignment, files: Path, output: Path, _end: object) -> None:
        self.files = {each.name: each.read_text() for each in (*files.iterdir(), output)}


def start(lab: Lab, *tests: str, **fields: object) -> None:
    assert lab.runner is not None
    lab.runner.start(DEVICE, [lab.job(test, **fields) for test in tests])


def outcomes(lab: Lab, *tokens: str) -> list[Outcome]:
    return [lab.told.finished(token).outcome for token in tokens]


def costs_little(begun_ms: int, ends_ms: list[int]) -> None:
    """Between the ends of two files, which do nothing, is what a file costs: 0.3 s, where a start takes 2 s.

    A busy machine takes longer for both.
    """
    first, further = ends_ms[0] - begun_ms, sorted(later - earlier for earlier, later in pairwise(ends_ms))
    print(f"the first file took {first} ms, further ones {further} ms")
    assert further[len(further) // 2] <= max(300, 0.15 * first), (first, further)


async def test_each_file_has_its_own_verdict_counts_and_log(make_lab: MakeLab) -> None:
    lab = await make_lab({"a.spec.ts": TWO, "b.spec.ts": FAILING, "c.spec.ts": SOUND})
    start(lab, "a.spec.ts", "b.spec.ts", "c.spec.ts")
    await lab.ended("a", "b", "c")
    assert outcomes(lab, "a", "b", "c") == [Outcome.PASSED, Outcome.TEST_FAILED, Outcome.PASSED]
    results = [lab.told.finished(token).result for token in "abc"]
    assert [(x.passed, x.failed, x.skipped) for x in results if x] == [(2, 0, 0), (0, 1, 0), (1, 0, 0)]
    assert (lab.told.finished("b").error or "").startswith("sum: Error: expect(received).toBe(expected)")
    assert b"said by tests/a.spec.ts" in lab.told.logs["a"]
    assert b"said by tests/c.spec.ts" in lab.told.logs["c"]
    assert b"before" in lab.told.logs["b"]
    assert lab.runner is not None
    kept = Kept()
    lab.runner._evidence = kept
    lab.runner.settled("b")
    results = kept.files["junit.xml"]
    assert kept.files["output"].startswith("before\n")
    assert '<testsuite name="b.spec.ts" tests="1" failures="1" errors="0" skipped="0">' in results
    assert '<testcase name="sum" classname="b.spec.ts"' in results
    assert '<failure message="Error: expect(received).toBe(expected)' in results
    assert b"said by" not in lab.told.logs["b"]
    progress = [event.percent for event in lab.told.of("a") if isinstance(event, AttemptProgressed)]
    assert progress == [50]
    assert [token for token in "abc" if lab.told.begun(token)] == ["a", "b", "c"]


async def test_a_further_file_costs_little(make_lab: MakeLab) -> None:
    """From the end of one file to the end of the next, both of which do nothing: what a file adds to a run."""
    names = [f"f{number}.spec.ts" for number in range(8)]
    lab = await make_lab(dict.fromkeys(names, SOUND))
    begun = wall_ms()
    start(lab, *names)
    await lab.ended(*(name.partition(".")[0] for name in names))
    costs_little(begun, [lab.told.finished(name.partition(".")[0]).ended_at_ms for name in names])


async def test_an_attempt_that_is_cancelled_before_its_turn_never_begins(make_lab: MakeLab, tmp_path: Path) -> None:
    mark, go, touched = tmp_path / "runs", tmp_path / "go", tmp_path / "touched"
    touching = HEAD + f'test("touches", async () => {{ fs.writeFileSync({str(touched)!r}, ""); }});\n'
    lab = await make_lab(
        {"a.spec.ts": waiting(mark, f"fs.existsSync({str(go)!r})"), "b.spec.ts": touching, "c.spec.ts": SOUND}
    )
    start(lab, "a.spec.ts", "b.spec.ts", "c.spec.ts")
    await until(mark.exists, "the first file's test")
    assert lab.runner is not None
    lab.runner.kill("b", DeathCause.REVOKED, 5.0)
    assert lab.told.killed("b") == (DeathCause.REVOKED, False)
    go.touch()
    await lab.ended("a", "b", "c")
    assert outcomes(lab, "a", "c") == [Outcome.PASSED, Outcome.PASSED]
    assert not touched.exists()
    assert not lab.told.begun("b")
    await until(lab.idle, "the end of the run")
    assert len(list((tmp_path / "executions").iterdir())) == 1  # no fresh process was needed


async def test_a_cancel_of_the_one_that_runs_costs_only_that_one(make_lab: MakeLab, tmp_path: Path) -> None:
    mark = tmp_path / "runs"
    lab = await make_lab({"a.spec.ts": SOUND, "b.spec.ts": waiting(mark), "c.spec.ts": SOUND, "d.spec.ts": TWO})
    start(lab, "a.spec.ts", "b.spec.ts", "c.spec.ts", "d.spec.ts")
    await until(mark.exists, "the second file's test")
    assert lab.runner is not None
    lab.runner.kill("b", DeathCause.REVOKED, 5.0)
    await lab.ended("a", "b", "c", "d")
    assert lab.told.killed("b") == (DeathCause.REVOKED, True)
    assert outcomes(lab, "a", "c", "d") == [Outcome.PASSED] * 3


@pytest.mark.parametrize(
    ("blow", "outcome", "text"),
    [
        ("process.kill(process.ppid, 'SIGKILL'); await new Promise(() => {});", Outcome.APP_CRASHED, "SIGKILL"),
        ("process.kill(process.pid, 'SIGSEGV'); await new Promise(() => {});", Outcome.TEST_FAILED, "SIGSEGV"),
    ],
    ids=["kills_its_parent", "crashes"],
)
async def test_what_a_file_does_to_its_process_costs_only_that_file(
    make_lab: MakeLab, blow: str, outcome: Outcome, text: str
) -> None:
    lab = await make_lab(
        {"a.spec.ts": SOUND, "b.spec.ts": HEAD + f'test("blow", async () => {{ {blow} }});\n', "c.spec.ts": TWO}
    )
    start(lab, "a.spec.ts", "b.spec.ts", "c.spec.ts")
    await lab.ended("a", "b", "c")
    assert outcomes(lab, "a", "b", "c") == [Outcome.PASSED, outcome, Outcome.PASSED]
    assert text in (lab.told.finished("b").error or "")


async def test_the_time_limit_is_each_attempts_own_and_holds_without_the_daemon(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    mark = tmp_path / "runs"
    lab = await make_lab({"a.spec.ts": SOUND, "b.spec.ts": waiting(mark), "c.spec.ts": SOUND})
    assert lab.runner is not None
    jobs = [lab.job("a.spec.ts"), lab.job("b.spec.ts", timeout_ms=1_500), lab.job("c.spec.ts")]
    lab.runner.start(DEVICE, jobs)
    await until(mark.exists, "the second file's test")
    await lab.die()  # the daemon is gone, its supervisor not
    (run,) = (run for line in lab.runner._lines.values() for run in line)
    await until(lambda: run.execution.result() is not None, "the supervisor's own decision")
    await lab.begin()
    assert lab.runner is not None
    settled = {"a"} if lab.told.last("a") else set()
    recovery = await lab.runner.recover(settled)
    assert {attempt.assignment.token for attempt in recovery.attempts} == {"a", "b", "c"} - settled
    lab.told.events += recovery.ended
    await lab.ended("a", "b", "c")
    assert outcomes(lab, "a", "b", "c") == [Outcome.PASSED, Outcome.TIMED_OUT, Outcome.PASSED]


async def test_silence_ends_only_the_attempt_that_is_silent(make_lab: MakeLab, tmp_path: Path) -> None:
    steps = HEAD + (
        'test("moves", async () => {\n'
        "  const pause = () => new Promise((done) => setTimeout(done, 300));\n"
        '  for (let i = 0; i < 12; i++) await test.step("a step", pause);\n'
        "});\n"
    )
    lab = await make_lab({"a.spec.ts": steps, "b.spec.ts": waiting(tmp_path / "runs"), "c.spec.ts": SOUND})
    assert lab.runner is not None
    jobs = [lab.job("a.spec.ts", silence_timeout_ms=8_000), lab.job("b.spec.ts", silence_timeout_ms=1_000)]
    lab.runner.start(DEVICE, [*jobs, lab.job("c.spec.ts")])
    await lab.ended("a", "b", "c")
    assert outcomes(lab, "a", "b", "c") == [Outcome.PASSED, Outcome.TIMED_OUT, Outcome.PASSED]
    assert "nothing having moved for too long" in (lab.told.finished("b").error or "")


async def test_a_file_that_can_not_be_loaded_is_named_and_the_others_run(make_lab: MakeLab) -> None:
    lab = await make_lab({"a.spec.ts": SOUND, "b.spec.ts": HEAD + "this is no test {\n", "c.spec.ts": SOUND})
    start(lab, "a.spec.ts", "b.spec.ts", "c.spec.ts")
    await lab.ended("a", "b", "c")
    assert outcomes(lab, "a", "b", "c") == [Outcome.PASSED, Outcome.TEST_FAILED, Outcome.PASSED]
    assert "SyntaxError" in (lab.told.finished("b").error or "")


async def test_files_without_tests_and_files_that_are_not_there(make_lab: MakeLab) -> None:
    lab = await make_lab({"a.spec.ts": "export {};\n", "b.spec.ts": SOUND})
    start(lab, "a.spec.ts", "b.spec.ts", "gone.spec.ts")
    await lab.ended("a", "b", "gone")
    assert outcomes(lab, "a", "b", "gone") == [Outcome.TEST_FAILED, Outcome.PASSED, Outcome.TEST_FAILED]
    assert "found no test in it" in (lab.told.finished("a").error or "")
    assert "is no file in the suite" in (lab.told.finished("gone").error or "")


async def test_a_config_that_fails_is_told_of_each_and_is_no_devices_fault(make_lab: MakeLab) -> None:
    lab = await make_lab({"a.spec.ts": SOUND, "b.spec.ts": SOUND})
    (lab.suite / "appwright.config.ts").write_text('throw new Error("no such account");\n')
    start(lab, "a.spec.ts", "b.spec.ts")
    await lab.ended("a", "b")
    assert outcomes(lab, "a", "b") == [Outcome.PROVIDER_ERROR] * 2
    assert "no such account" in (lab.told.finished("a").error or "")


async def test_100_mb_of_output_are_cut_and_the_next_file_is_not_touched(make_lab: MakeLab) -> None:
    loud = HEAD + (
        'test("loud", async () => {\n'
        '  const line = "x".repeat(999_999) + "\\n";\n'
        "  for (let i = 0; i < 100; i++) { console.log(line); await new Promise(setImmediate); }\n"
        '  console.log("the last line");\n'
        "});\n"
    )
    lab = await make_lab({"a.spec.ts": loud, "b.spec.ts": SOUND})
    start(lab, "a.spec.ts", "b.spec.ts")
    await lab.ended("a", "b")
    assert outcomes(lab, "a", "b") == [Outcome.PASSED, Outcome.PASSED]
    (execution,) = (lab.folder / "executions").iterdir()
    output = (execution / "attempts" / "0" / "output").read_bytes()
    assert b"bytes of output left out]" in output
    assert b"the last line" in output[-200:]
    assert len(output) < 200_000
    assert b"said by tests/b.spec.ts" in lab.told.logs["b"]


async def test_what_a_file_forks_away_is_dead_when_its_process_is(make_lab: MakeLab, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    forking = HEAD + (
        'import { spawn } from "node:child_process";\n'
        'test("forks", async () => {\n'
        '  const child = spawn("setsid", ["sleep", "300"], { detached: true, stdio: "ignore" });\n'
        f"  fs.writeFileSync({str(pids)!r}, String(child.pid));\n"
        "  child.unref();\n"
        "});\n"
    )
    lab = await make_lab({"a.spec.ts": SOUND, "b.spec.ts": forking})
    start(lab, "a.spec.ts", "b.spec.ts")
    await lab.ended("a", "b")
    assert outcomes(lab, "a", "b") == [Outcome.PASSED, Outcome.PASSED]
    await until(lab.idle, "the end of the run")
    assert not Path(f"/proc/{int(pids.read_text())}").exists()


async def test_the_next_daemon_tells_what_ended_once_and_adopts_what_runs(make_lab: MakeLab, tmp_path: Path) -> None:
    mark, go = tmp_path / "runs", tmp_path / "go"
    waits = waiting(mark, f"fs.existsSync({str(go)!r})")
    lab = await make_lab({"a.spec.ts": SOUND, "b.spec.ts": waits, "c.spec.ts": SOUND, "d.spec.ts": SOUND})
    start(lab, "a.spec.ts", "b.spec.ts", "c.spec.ts", "d.spec.ts")
    assert lab.runner is not None
    lab.runner.start(DEVICE, [lab.job("a.spec.ts", number=2)])  # waits behind the others
    await until(lambda: mark.exists() and lab.told.begun("b"), "the second file's test")
    assert outcomes(lab, "a") == [Outcome.PASSED]
    await lab.die()
    run = lab.runner._lines[DEVICE.device_id][0]
    assert run.execution.take_back(2, DeathCause.REVOKED)  # as if it had died before it could tell that
    await lab.begin()
    recovery = await lab.runner.recover({"a"})
    assert [(x.assignment.token, x.started_at_ms > 0) for x in recovery.attempts] == [
        ("b", True),
        ("c", False),
        ("d", False),
        ("a2", False),
    ]
    go.touch()
    await lab.ended("a", "b", "c", "d", "a2")
    assert outcomes(lab, "a", "b", "d", "a2") == [Outcome.PASSED] * 4
    assert lab.told.killed("c") == (DeathCause.REVOKED, False)
    for token in ("a", "b", "c", "d", "a2"):
        lab.runner.settled(token)
        lab.runner.told(token)
    await until(lab.idle, "the end of the runs")
    assert list((tmp_path / "executions").iterdir()) == []


async def test_a_supervisor_that_is_killed_costs_only_the_attempt_that_ran(make_lab: MakeLab, tmp_path: Path) -> None:
    mark = tmp_path / "runs"
    lab = await make_lab({"a.spec.ts": SOUND, "b.spec.ts": waiting(mark), "c.spec.ts": SOUND})
    start(lab, "a.spec.ts", "b.spec.ts", "c.spec.ts")
    await until(mark.exists, "the second file's test")
    assert lab.runner is not None
    (run,) = (run for line in lab.runner._lines.values() for run in line)
    os.kill(run.execution.supervisor_pid, 9)
    await lab.ended("a", "b", "c")
    assert outcomes(lab, "a", "b", "c") == [Outcome.PASSED, Outcome.DEVICE_ERROR, Outcome.PASSED]


async def test_cancels_at_any_moment_and_what_was_taken_back_has_never_begun(make_lab: MakeLab, tmp_path: Path) -> None:
    """The files are short, so that cancels meet each moment of their lives; who has an attempt is always settled."""
    random = Random(5)  # noqa: S311 - not for secrets
    names = [f"f{number}" for number in range(16)]
    marks = tmp_path / "marks"
    marks.mkdir()
    text = HEAD + f'test("touches", async () => {{ fs.writeFileSync({str(marks)!r} + "/NAME", ""); }});\n'
    lab = await make_lab({f"{name}.spec.ts": text.replace("NAME", name) for name in names})
    lab.attempts_per_run = len(names)
    runner = await lab.begin()
    runner.start(DEVICE, [lab.job(f"{name}.spec.ts") for name in names])
    await until(lambda: any(marks.iterdir()), "the first file's test")
    victims = random.sample(names, 6)
    for name in victims:
        await asyncio.sleep(random.uniform(0, 0.05))  # no wait for anything: the moment is what is tried
        runner.kill(name, DeathCause.REVOKED, 0.2)
    await lab.ended(*names)
    for name in names:
        event = lab.told.last(name)
        if isinstance(event, AttemptFinished):
            assert event.finished.outcome is Outcome.PASSED
        else:
            assert name in victims
            cause, begun = lab.told.killed(name)
            assert cause is DeathCause.REVOKED
            assert begun or not (marks / name).exists()
    assert all((marks / name).exists() for name in names if name not in victims)


async def test_what_comes_later_finds_the_process_running(make_lab: MakeLab, tmp_path: Path) -> None:
    """As a coordinator gives it: one attempt, and the next when that has ended."""
    names = [f"f{number}" for number in range(6)]
    lab = await make_lab({f"{name}.spec.ts": SOUND for name in names})
    assert lab.runner is not None
    begun = wall_ms()
    for name in names:
        lab.runner.start(DEVICE, [lab.job(f"{name}.spec.ts")])
        await lab.ended(name)
    assert outcomes(lab, *names) == [Outcome.PASSED] * len(names)
    assert [f"said by tests/{name}.spec.ts".encode() in lab.told.logs[name] for name in names] == [True] * len(names)
    assert len(list((tmp_path / "executions").iterdir())) == 1
    costs_little(begun, [lab.told.finished(name).ended_at_ms for name in names])
    for name in names:
        lab.runner.settled(name)
        lab.runner.told(name)
    await until(lab.idle, "the end of the run")
    assert list((tmp_path / "executions").iterdir()) == []


async def test_what_comes_later_and_can_not_be_run_is_told_and_does_not_end_the_process(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    files = {
        "a.spec.ts": SOUND,
        "b.spec.ts": HEAD + "this is no test {\n",
        "c.spec.ts": "export {};\n",
        "d.spec.ts": TWO,
    }
    lab = await make_lab(files)
    assert lab.runner is not None
    for name in "abcd":
        lab.runner.start(DEVICE, [lab.job(f"{name}.spec.ts")])
        await lab.ended(name)
    expected = [Outcome.PASSED, Outcome.TEST_FAILED, Outcome.TEST_FAILED, Outcome.PASSED]
    assert outcomes(lab, "a", "b", "c", "d") == expected
    assert "SyntaxError" in (lab.told.finished("b").error or "")
    assert "found no test in it" in (lab.told.finished("c").error or "")
    assert len(list((tmp_path / "executions").iterdir())) == 1


async def test_what_may_not_share_the_process_ends_it_and_has_its_own(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = await make_lab({"a.spec.ts": SOUND, "b.spec.ts": SOUND})
    lab.linger_seconds = 600.0
    runner = await lab.begin()
    runner.start(DEVICE, [lab.job("a.spec.ts")])
    await lab.ended("a")
    runner.start(DEVICE, [lab.job("a.spec.ts", number=2)])  # the same file again
    await lab.ended("a2")
    runner.start(DEVICE, [lab.job("b.spec.ts", env={"OTHER": "1"})])
    await lab.ended("b")
    assert outcomes(lab, "a", "a2", "b") == [Outcome.PASSED] * 3
    assert len(list((tmp_path / "executions").iterdir())) == 3
    (idle,) = lab.runs()
    await lab.die()
    lab.runner = None
    await until(idle.execution.result, "the end of the idle process")


async def test_one_that_comes_later_has_its_own_time_limit(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = await make_lab({"a.spec.ts": SOUND, "b.spec.ts": waiting(tmp_path / "runs"), "c.spec.ts": SOUND})
    assert lab.runner is not None
    lab.runner.start(DEVICE, [lab.job("a.spec.ts")])
    await lab.ended("a")
    lab.runner.start(DEVICE, [lab.job("b.spec.ts", timeout_ms=700), lab.job("c.spec.ts")])
    await lab.ended("b", "c")
    assert outcomes(lab, "a", "b", "c") == [Outcome.PASSED, Outcome.TIMED_OUT, Outcome.PASSED]
