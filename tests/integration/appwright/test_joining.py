"""Files that come later find a process that has nothing to do, and are its own as the first ones were."""

from __future__ import annotations

import json
from pathlib import Path

import psutil

from qgjob_agent.clock import wall_ms
from qgjob_agent.core.values import Outcome
from qgjob_agent.devices.adb.server import AdbServer
from tests.fakes.waiting import until
from tests.integration.appwright.conftest import MakeLab
from tests.integration.appwright.files import HEAD, SOUND, TWO, costs_little, outcomes, waiting
from tests.integration.appwright.lab import DEVICE


async def test_what_comes_later_finds_the_process_running_and_what_of_it_can_not_be_run_does_not_end_it(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    """As a coordinator gives it: one attempt, and the next when that has ended."""
    names = [f"f{number}" for number in range(6)]
    further = {"wrong": HEAD + "this is no test {\n", "none": "export {};\n", "two": TWO}
    files = dict.fromkeys(names, SOUND) | further
    lab = await make_lab({f"{name}.spec.ts": text for name, text in files.items()}, whole=True, begin=False)
    lab.linger_seconds = 5.0
    runner = await lab.begin()
    begun = wall_ms()
    for name in files:
        runner.start(DEVICE, [lab.job(f"{name}.spec.ts")])
        await lab.ended(name)
    assert outcomes(lab, *names) == [Outcome.PASSED] * len(names)
    assert [f"said by tests/{name}.spec.ts".encode() in lab.told.logs[name] for name in names] == [True] * len(names)
    assert outcomes(lab, *further) == [Outcome.TEST_FAILED, Outcome.TEST_FAILED, Outcome.PASSED]
    assert "SyntaxError" in (lab.told.finished("wrong").error or "")
    assert "found no test in it" in (lab.told.finished("none").error or "")
    assert len(list((tmp_path / "executions").iterdir())) == 1
    costs_little(begun, [lab.told.finished(name).ended_at_ms for name in names])
    for name in files:
        runner.settled(name)
        runner.told(name)
    await until(lab.idle, "the end of the run")
    await until(lambda: not list((tmp_path / "executions").iterdir()), "what it left is still there")


async def test_one_that_comes_later_has_its_own_time_limit_and_what_may_not_share_the_process_its_own(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    lab = await make_lab({"a.spec.ts": SOUND, "b.spec.ts": waiting(tmp_path / "runs"), "c.spec.ts": SOUND})
    lab.linger_seconds = 600.0
    runner = await lab.begin()
    runner.start(DEVICE, [lab.job("a.spec.ts")])
    await lab.ended("a")
    runner.start(DEVICE, [lab.job("b.spec.ts", timeout_ms=700), lab.job("c.spec.ts")])
    await lab.ended("b", "c")
    assert outcomes(lab, "a", "b", "c") == [Outcome.PASSED, Outcome.TIMED_OUT, Outcome.PASSED]
    runs = len(list((tmp_path / "executions").iterdir()))
    runner.start(DEVICE, [lab.job("c.spec.ts", number=2)])  # the same file again
    await lab.ended("c2")
    runner.start(DEVICE, [lab.job("a.spec.ts", number=2, env={"OTHER": "1"})])
    await lab.ended("a2")
    assert outcomes(lab, "c2", "a2") == [Outcome.PASSED] * 2
    assert len(list((tmp_path / "executions").iterdir())) == runs + 2
    (idle,) = lab.runs()
    await lab.die()
    lab.runner = None
    await until(idle.execution.result, "the end of the idle process")


async def test_what_comes_after_one_that_had_no_session_finds_an_appium_that_answers(make_lab: MakeLab) -> None:
    """It died, and the process that waits for more knows no other: each file that joined would fail the same."""
    uses = 'import { test } from "appwright";\ntest("uses the device", async ({ device }) => { void device; });\n'
    lab = await make_lab({f"{name}.spec.ts": uses for name in "abc"}, whole=True, adb=AdbServer())
    runner = lab.runner
    assert runner is not None
    for name in "abc":
        runner.start(DEVICE, [lab.job(f"{name}.spec.ts")])
        await lab.ended(name)
        if name == "a":
            psutil.Process(json.loads((lab.folder / "appium" / "appium.json").read_text())["pid"]).kill()
    assert outcomes(lab, "a", "b", "c") == [Outcome.PASSED, Outcome.DEVICE_ERROR, Outcome.PASSED]
    assert "the device gave no session: " in (lab.told.finished("b").error or "")
