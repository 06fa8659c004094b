"""The example's test files with the real AppWright, on emulators that a fake Appium stands for."""

from __future__ import annotations

from pathlib import Path

from qgjob_agent.core.events import AttemptInstalled
from qgjob_agent.core.values import DeathCause, Outcome
from qgjob_agent.devices.adb.server import AdbServer
from tests.fakes.waiting import until
from tests.integration.appwright.conftest import MakeLab
from tests.integration.appwright.lab import DEVICE, OTHER, counts, told_by_own


async def test_two_devices_run_the_example_at_once_and_nothing_is_installed_whichever_local_provider_they_have(
    make_lab: MakeLab,
) -> None:
    """The provider "emulator" names no device to Appium, and wants to see a JDK and an emulator that it could start."""
    lab = await make_lab(begin=False)
    config = lab.suite / "appwright.config.ts"
    local = '{ provider: "local-device", udid }'
    text = config.read_text()
    assert local in text
    config.write_text(text.replace(local, f'udid === "{OTHER.udid}" ? {{ provider: "emulator" }} : {local}'))
    emulator = Path(lab.environ["ANDROID_HOME"], "emulator", "emulator")
    emulator.parent.mkdir()
    emulator.write_text("#!/bin/sh\necho Pixel_7\n")
    emulator.chmod(0o755)
    lab.environ["JAVA_HOME"] = "/usr/lib/jvm/default"
    await lab.begin()
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
    used: dict[str, set[int]] = {}
    for capabilities in lab.hub.hub.capabilities:
        ports = {value for name, value in capabilities.items() if name.endswith("Port")}
        assert len(ports) == 3
        used.setdefault(capabilities["appium:udid"], set()).update(ports)
    assert not used[DEVICE.udid] & used[OTHER.udid]


async def test_plain_mode_installs_for_each_test_and_says_so(make_lab: MakeLab) -> None:
    """On the one port that AppWright knows, so no other test may use it. Its sessions don't name the adb server."""
    lab = await make_lab(plain=True, adb=AdbServer("10.0.0.7", 6000))
    assert lab.runner is not None
    lab.runner.start(DEVICE, [lab.job("sign-in.spec.ts"), lab.job("sign-out.spec.ts")])
    await lab.ended("sign-in", "sign-out")
    assert [lab.told.finished(x).outcome for x in ("sign-in", "sign-out")] == [Outcome.PASSED, Outcome.PASSED]
    told = [(x.token, x.installs, x.install_ms > 0) for x in lab.told.events if isinstance(x, AttemptInstalled)]
    assert told == [("sign-in", 2, True), ("sign-out", 1, True)]
    seen = told_by_own(lab)
    assert {udid: (x["sessions"], x["installs"], x["resets"]) for udid, x in seen["devices"].items()} == {
        DEVICE.udid: (3, 3, 0)
    }
    elsewhere = [(x.get("appium:adbPort"), x.get("appium:remoteAdbHost")) for x in seen["capabilities"]]
    assert elsewhere == [(6000, "10.0.0.7")] * 3


async def test_what_ends_in_the_middle_of_a_session_is_told_in_plain_words_and_leaves_the_device_free(
    make_lab: MakeLab,
) -> None:
    """Cancelled, over its time, its process killed; and behind those that pass one that gets no session."""
    signed_in = '  await device.getByText("Sign in", { exact: true }).tap();\n'
    hangs = "  await new Promise(() => setInterval(() => {}, 1000));\n"
    files = {
        "a-waits": signed_in + hangs,
        "b-forks": signed_in + '  spawn("setsid", ["sleep", "300"], { detached: true, stdio: "ignore" }).unref();\n',
        "c-floods": signed_in + '  for (let i = 0; i < 10; i++) console.log("x".repeat(1_000_000));\n',
        "d-hangs": signed_in + hangs,
        "e-kills": signed_in + '  process.kill(process.ppid, "SIGKILL");\n  await new Promise(() => {});\n',
        "no-session": signed_in,
    }
    head = 'import { test } from "appwright";\nimport { spawn } from "node:child_process";\n'
    lab = await make_lab()
    for name, body in files.items():
        text = f'{head}test("a test", async ({{ device }}) => {{\n{body}}});\n'
        (lab.suite / "tests" / f"{name}.spec.ts").write_text(text)
    assert lab.runner is not None
    names = [*list(files)[:-1], "sign-in", "sign-out"]
    jobs = [lab.job(f"{x}.spec.ts", timeout_ms=5_000 if x == "d-hangs" else 0) for x in names]
    lab.runner.start(DEVICE, jobs)
    clicked = lab.hub.hub.counts
    await until(lambda: DEVICE.udid in clicked and clicked[DEVICE.udid].clicks, "the test in its session", seconds=180)
    lab.runner.kill("a-waits", DeathCause.REVOKED, 5.0)
    await lab.ended("a-waits")
    assert lab.told.killed("a-waits") == (DeathCause.REVOKED, True)
    await lab.ended(*names)
    told = {name: lab.told.finished(name) for name in names[1:]}
    ends = dict.fromkeys(told, Outcome.PASSED) | {"d-hangs": Outcome.TIMED_OUT, "e-kills": Outcome.APP_CRASHED}
    assert {name: x.outcome for name, x in told.items()} == ends
    assert "its time limit being over" in (told["d-hangs"].error or "")
    assert "the run ended in the middle of it, ended by SIGKILL" in (told["e-kills"].error or "")
    assert len(lab.told.logs["c-floods"]) < 200_000
    sessions, installs, resets, refused = counts(lab)[DEVICE.udid]
    assert (sessions >= 7, installs, resets, refused) == (True, 0, sessions, 0)  # a busy machine may have none in 5 s
    lab.hub.hub.control.refuse_sessions = 100
    lab.runner.start(DEVICE, [lab.job("no-session.spec.ts")])
    await lab.ended("no-session")
    finished = lab.told.finished("no-session")
    assert finished.outcome is Outcome.DEVICE_ERROR
    assert "the emulator does not answer" in (finished.error or "")
