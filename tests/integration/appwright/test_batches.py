"""Many test files in one process: each has its own verdict, and one that is wrong costs the others nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qgjob_agent.clock import wall_ms
from qgjob_agent.core.events import AttemptProgressed
from qgjob_agent.core.values import Outcome
from qgjob_agent.executions.execution import Several
from qgjob_agent.runners.appwright import launching
from tests.fakes.waiting import until
from tests.integration.appwright.conftest import MakeLab
from tests.integration.appwright.files import FAILING, HEAD, SOUND, TWO, Kept, costs_little, outcomes, start
from tests.integration.appwright.lab import DEVICE


async def test_each_file_has_its_own_verdict_counts_and_log_and_one_that_can_not_be_loaded_is_named(
    make_lab: MakeLab,
) -> None:
    """Of a run with a file that can't be loaded Playwright runs none: the others go on in a run without it."""
    files = {"a": TWO, "b": FAILING, "c": SOUND, "none": "export {};\n", "wrong": HEAD + "this is no test {\n"}
    lab = await make_lab({f"{name}.spec.ts": text for name, text in files.items()})
    start(lab, *(f"{name}.spec.ts" for name in (*files, "gone")))
    await lab.ended(*files, "gone")
    assert outcomes(lab, "wrong") == [Outcome.TEST_FAILED]
    assert "SyntaxError" in (lab.told.finished("wrong").error or "")
    assert outcomes(lab, "a", "b", "c") == [Outcome.PASSED, Outcome.TEST_FAILED, Outcome.PASSED]
    results = [lab.told.finished(token).result for token in "abc"]
    assert [(x.passed, x.failed, x.skipped) for x in results if x] == [(2, 0, 0), (0, 1, 0), (1, 0, 0)]
    assert (lab.told.finished("b").error or "").startswith("sum: Error: expect(received).toBe(expected)")
    assert b"said by tests/a.spec.ts" in lab.told.logs["a"]
    assert b"said by tests/c.spec.ts" in lab.told.logs["c"]
    assert b"before" in lab.told.logs["b"]
    assert lab.runner is not None
    kept = Kept()
    lab.runner._leaving.evidence = kept
    lab.runner.settled("b")
    assert kept.began_at_ms == lab.told.finished("b").started_at_ms
    junit = kept.files["junit.xml"]
    assert kept.files["output"].startswith("before\n")
    assert '<testsuite name="b.spec.ts" tests="1" failures="1" errors="0" skipped="0">' in junit
    assert '<testcase name="sum" classname="b.spec.ts"' in junit
    assert '<failure message="Error: expect(received).toBe(expected)' in junit
    assert b"said by" not in lab.told.logs["b"]
    progress = [event.percent for event in lab.told.of("a") if isinstance(event, AttemptProgressed)]
    assert progress == [50]
    assert [token for token in "abc" if lab.told.begun(token)] == ["a", "b", "c"]
    assert outcomes(lab, "none", "gone") == [Outcome.TEST_FAILED, Outcome.PROVIDER_ERROR]
    assert "found no test in it" in (lab.told.finished("none").error or "")
    gone = lab.told.finished("gone")
    assert "is no file in the suite" in (gone.error or "")
    assert gone.unresolvable, "no other try has it, as with a suite that was pushed"


async def test_a_further_file_costs_little(make_lab: MakeLab) -> None:
    """From the end of one file to the end of the next, both of which do nothing: what a file adds to a run."""
    names = [f"f{number}.spec.ts" for number in range(8)]
    lab = await make_lab(dict.fromkeys(names, SOUND), whole=True)
    begun = wall_ms()
    start(lab, *names)
    await lab.ended(*(name.partition(".")[0] for name in names))
    costs_little(begun, [lab.told.finished(name.partition(".")[0]).ended_at_ms for name in names])


async def test_what_a_file_does_to_its_process_costs_only_that_file(make_lab: MakeLab) -> None:
    crashes = "process.kill(process.pid, 'SIGSEGV'); await new Promise(() => {});"
    kills = "process.kill(process.ppid, 'SIGKILL'); await new Promise(() => {});"
    blows = [HEAD + f'test("blow", async () => {{ {blow} }});\n' for blow in (crashes, kills)]
    lab = await make_lab({"a.spec.ts": SOUND, "b.spec.ts": blows[0], "c.spec.ts": blows[1], "d.spec.ts": TWO})
    start(lab, *(f"{name}.spec.ts" for name in "abcd"))
    await lab.ended(*"abcd")
    assert outcomes(lab, *"abcd") == [Outcome.PASSED, Outcome.TEST_FAILED, Outcome.APP_CRASHED, Outcome.PASSED]
    assert "SIGSEGV" in (lab.told.finished("b").error or "")
    assert "SIGKILL" in (lab.told.finished("c").error or "")


async def test_a_file_that_hangs_while_it_is_loaded_is_the_only_one_that_runs_over_its_time(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Playwright loads all files of a run before the first begins, and nobody can say which of them hangs.

    The run of all is over its limit soon; alone, those that are sound have all the time that they need.
    """
    firsts = iter([4.0])
    monkeypatch.setattr(launching, "Several", lambda limits, first, last: Several(limits, next(firsts, first), last))
    hangs = "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);\n"
    lab = await make_lab({"a.spec.ts": SOUND, "b.spec.ts": hangs, "c.spec.ts": SOUND})
    assert lab.runner is not None
    a, b, c = lab.job("a.spec.ts"), lab.job("b.spec.ts", timeout_ms=4_000), lab.job("c.spec.ts")
    lab.runner.start(DEVICE, [replace(a, silence_timeout_ms=4_000), b, c])
    await lab.ended(*"abc")
    assert outcomes(lab, *"abc") == [Outcome.PASSED, Outcome.TIMED_OUT, Outcome.PASSED]
    assert "before its first test began" in (lab.told.finished("b").error or "")


async def test_a_config_that_fails_is_told_of_each_and_is_no_devices_fault(make_lab: MakeLab) -> None:
    lab = await make_lab({"a.spec.ts": SOUND, "b.spec.ts": SOUND})
    (lab.suite / "appwright.config.ts").write_text('throw new Error("no such account");\n')
    start(lab, "a.spec.ts", "b.spec.ts")
    await lab.ended("a", "b")
    assert outcomes(lab, "a", "b") == [Outcome.PROVIDER_ERROR] * 2
    assert "no such account" in (lab.told.finished("a").error or "")


async def test_100_mb_of_output_are_cut_and_what_a_file_forks_away_is_dead_when_its_process_is(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    loud = HEAD + (
        'test("loud", async () => {\n'
        '  const line = "x".repeat(999_999) + "\\n";\n'
        "  for (let i = 0; i < 100; i++) { console.log(line); await new Promise(setImmediate); }\n"
        '  console.log("the last line");\n'
        "});\n"
    )
    forking = HEAD + (
        'import { spawn } from "node:child_process";\n'
        'test("forks", async () => {\n'
        '  const child = spawn("setsid", ["sleep", "300"], { detached: true, stdio: "ignore" });\n'
        f"  fs.writeFileSync({str(pids)!r}, String(child.pid));\n"
        "  child.unref();\n"
        "});\n"
    )
    lab = await make_lab({"a.spec.ts": loud, "b.spec.ts": SOUND, "c.spec.ts": forking})
    start(lab, "a.spec.ts", "b.spec.ts", "c.spec.ts")
    await lab.ended("a", "b", "c")
    assert outcomes(lab, "a", "b", "c") == [Outcome.PASSED] * 3
    (execution,) = (lab.folder / "executions").iterdir()
    output = (execution / "attempts" / "0" / "output").read_bytes()
    assert b"bytes of output left out]" in output
    assert b"the last line" in output[-200:]
    assert len(output) < 200_000
    assert b"said by tests/b.spec.ts" in lab.told.logs["b"]
    await until(lab.idle, "the end of the run")
    assert not Path(f"/proc/{int(pids.read_text())}").exists()
