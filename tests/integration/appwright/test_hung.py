"""What a test with the real AppWright leaves that hangs in its session: a picture, and what Appium said of it."""

from __future__ import annotations

import sys

from qgjob_agent.core.values import Outcome
from tests.fakes.waiting import until
from tests.integration.appwright.conftest import MakeLab
from tests.integration.appwright.files import Kept
from tests.integration.appwright.lab import DEVICE, OTHER, ROOT

HANGS = """import { test } from "appwright";
test("hangs", async ({ device }) => {
  await device.getByText("Sign in", { exact: true }).tap();
  await new Promise(() => setInterval(() => {}, 1000));
});
"""


async def test_what_hangs_leaves_a_picture_and_its_own_part_of_appiums_log(make_lab: MakeLab) -> None:
    lab = await make_lab(begin=False)
    (lab.suite / "tests" / "hangs.spec.ts").write_text(HANGS)
    lab.appium_argv = (sys.executable, "-m", "tests.fakes.appium", "--port", "{port}", "--log")
    lab.environ["PYTHONPATH"] = str(ROOT)
    lab.picture = b"\x89PNG\r\n\x1a\n of lab.one"
    runner = await lab.begin()
    kept = Kept()
    runner._leaving.evidence = kept
    runner.start(DEVICE, [lab.job("hangs.spec.ts", silence_timeout_ms=3_000)])
    runner.start(OTHER, [lab.job("sign-out.spec.ts", device=OTHER)])
    await lab.ended("hangs", "sign-out")
    assert [lab.told.finished(x).outcome for x in ("hangs", "sign-out")] == [Outcome.TIMED_OUT, Outcome.PASSED]
    runner.settled("sign-out")
    assert set(kept.files) == {"junit.xml", "output"}, "of what passed nobody asks"
    runner.settled("hangs")
    assert kept.files["hung.png"].endswith(" of lab.one")
    log = kept.files["appium.log"]
    assert log.startswith("[other devices used this Appium meanwhile")
    assert "/click" in log
    assert OTHER.udid not in log
    assert log.count("POST /session {") == 1, log
    await until(lab.idle, "the end of the runs")
