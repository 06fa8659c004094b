"""The example's test files with the real AppWright, on emulators that a fake Appium stands for."""

from __future__ import annotations

from qgjob_agent.core.values import Outcome
from tests.integration.appwright.conftest import MakeLab
from tests.integration.appwright.lab import DEVICE, OTHER, counts


async def test_two_devices_run_the_example_at_once_and_nothing_is_installed(make_lab: MakeLab) -> None:
    lab = await make_lab()
    assert lab.runner is not None
    for device in (DEVICE, OTHER):
        jobs = [lab.job(f"{x}.spec.ts", number=device.udid, device=device) for x in ("sign-in", "sign-out")]
        lab.runner.start(device, jobs)
    tokens = [f"{x}{device.udid}" for x in ("sign-in", "sign-out") for device in (DEVICE, OTHER)]
    await lab.ended(*tokens)
    told = {token: lab.told.finished(token) for token in tokens}
    assert {token: (x.outcome, x.error) for token, x in told.items()} == dict.fromkeys(tokens, (Outcome.PASSED, None))
    assert [told[f"{x}{DEVICE.udid}"].result.passed for x in ("sign-in", "sign-out")] == [2, 1]  # type: ignore[union-attr]
    assert counts(lab) == {DEVICE.udid: (3, 0, 3, 0), OTHER.udid: (3, 0, 3, 0)}
