"""What the doctor of a host finds: each check is made to fail on a host of the test's own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from bench.processes import free_port
from qgjob_agent.config import AgentConfig, load_config
from qgjob_agent.doctor import android, android_devices, appium_adb, apple, appwright, asking, checkup, host
from qgjob_agent.doctor.findings import Finding, Level
from qgjob_agent.doctor.host import Host
from qgjob_agent.runners.appwright.fits import TRIED_PLAYWRIGHT, Part
from qgjob_agent.state_dir import StateDir
from tests.fakes.adb_server import FakeAdbServer, FakeDevice
from tests.fakes.waiting import until

OK, NOTE, WARNING, PROBLEM = Level


class Bench:
    """A host: its programs, its agent.toml, its variables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.suite = folder / "suite"
        self.suite.mkdir()
        self.environ = {"PATH": str(self.bin), "AGENT_ID": "agent-1"}

    def program(self, name: str, body: str) -> Path:
        """A program that a shell runs, by its absolute path: PATH has nothing else."""
        path = self.bin / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    def package(self, name: str, version: str) -> None:
        folder = self.suite / "node_modules" / name
        folder.mkdir(parents=True)
        (folder / "package.json").write_text(json.dumps({"version": version}))

    def config(self, toml: str, **environ: str) -> AgentConfig:
        file = self.folder / "agent.toml"
        file.write_text(f'state_dir = "state"\n{toml}')
        return load_config(file, self.environ | environ, self.folder)

    def host(self, toml: str, platform: str = "linux", **environ: str) -> Host:
        return Host(self.config(toml, **environ), platform)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def told(found: list[Finding], check: str) -> list[tuple[Level, str | None]]:
    """The levels and subjects of a check; whoever is told of trouble is told what to do."""
    mine = [each for each in found if each.check == check]
    assert all(each.advice for each in mine if each.level in (WARNING, PROBLEM))
    return [(each.level, each.subject) for each in mine]


EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "appwright"
APPWRIGHT = 'runner = "appwright"\n[appwright]\nsuite_dir = "suite"\nproject = "android"\n'


async def test_what_the_settings_have_no_use_for_is_told_as_not_used(bench: Bench) -> None:
    found = await checkup.examine(bench.config(""), "linux")
    assert {each.level for each in found} == {OK}
    unused = {each.check for each in found if each.found.startswith("not used: ")}
    assert unused == {each.check for each in found} - {"host.state", "host.disk"}
    assert {each.check for each in found} >= set(checkup.CHECKS)


def test_wrong_settings_are_findings_each_with_its_name(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "loud")
    monkeypatch.setenv("MIN_FREE_MB", "-1")
    settled = checkup.settle(None)
    assert settled.config is None
    assert [(each.level, each.found.partition(":")[0]) for each in settled.findings] == [
        (PROBLEM, "LOG_LEVEL"),
        (PROBLEM, "MIN_FREE_MB"),
    ]


def test_each_setting_is_told_with_where_it_is_from(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    file, other = bench.folder / "agent.toml", bench.folder / ".env"
    file.write_text('agent_id = "of-file"\nrunner = "command"\nstate_dir = "state"\n[command]\nargv = ["true"]\n')
    other.write_text("COORDINATOR=of-env:1\n")
    monkeypatch.chdir(bench.folder)
    for name in ("QGJOB_COORDINATOR", "COORDINATOR", "AGENT_ID", "RUNNER", "QGJOB_RUNNER", "MIN_FREE_MB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("QGJOB_AGENT_ID", "agent-1")
    monkeypatch.setenv("MIN_FREE_MB", "7")

    def said(path: Path | None) -> str:
        return next(each.found for each in checkup.settle(path).findings if each.check == "host.settings")

    of_file = said(file)
    assert of_file.startswith("agent agent-1 (from the environment) has 2 devices, ")
    assert f"runner command (from {file}); " in of_file
    assert of_file.endswith(f"; from the environment are QGJOB_AGENT_ID, MIN_FREE_MB; from {other} is COORDINATOR")
    assert "runner simulated (from the defaults); " in said(None)
    for path in (file, None):
        settled = checkup.settle(path)
        assert settled.config is not None
        assert settled.config.source_of("coordinator") == str(other)
    other.unlink()
    file.write_text('coordinator = ["of-file:1"]\nstate_dir = "state"\n')
    for path, source in ((file, str(file)), (None, "the defaults")):
        settled = checkup.settle(path)
        assert settled.config is not None
        assert settled.config.source_of("coordinator") == source


async def test_a_check_that_breaks_or_hangs_is_a_finding_and_keeps_nobody(bench: Bench) -> None:
    async def breaks(_: Host) -> list[Finding]:
        raise ZeroDivisionError("by nothing")

    never = threading.Event()

    def wait() -> list[Finding]:
        never.wait(60)
        return []

    async def hangs(_: Host) -> list[Finding]:
        return await asking.beside(wait)

    looked_at = bench.host("")
    begun = time.monotonic()
    for check, words in ((breaks, "ZeroDivisionError: by nothing"), (hangs, "did not end within 0.05 s")):
        (finding,) = await checkup.bounded("some.check", check, looked_at, 0.05)
        assert (finding.check, finding.level) == ("some.check", WARNING)
        assert words in finding.found
        assert finding.advice
    assert time.monotonic() - begun < 10
    never.set()


def _zombie(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


async def test_a_program_that_hangs_is_killed_with_what_it_started(bench: Bench) -> None:
    sleep = shutil.which("sleep")
    hanging = bench.program("hangs", f"{sleep} 60 &\necho $! > {bench.folder}/pid\necho begun\n{sleep} 60")
    asked = asyncio.create_task(asking.ask([str(hanging)], bench.environ, 0.3))
    answer = await asked
    assert (answer.code, answer.first_line) in ((None, "begun"), (None, ""))
    pid = (bench.folder / "pid").read_text() if (bench.folder / "pid").exists() else ""
    await until(lambda: not pid or not psutil.pid_exists(int(pid)) or _zombie(int(pid)), "it lives")


def test_who_holds_the_state_directory_is_seen_without_its_lock(tmp_path: Path) -> None:
    assert host.holder(tmp_path) is None
    held = StateDir.open(tmp_path)
    assert host.holder(tmp_path) == os.getpid()
    held.close()
    (tmp_path / "lock").write_text(f"{os.getpid():<31}\n")
    os.utime(tmp_path / "lock", (1, 1))  # of a process that had this number before
    assert host.holder(tmp_path) is None
    (tmp_path / "lock").write_text("no number")
    assert host.holder(tmp_path) is None


async def test_a_daemon_of_another_user_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = bench.host("")
    held = StateDir.open(looked_at.config.state_path)
    assert told(await host.state(looked_at), "host.state") == [(OK, None)]
    names = iter(["lab", "ada"])
    monkeypatch.setattr(psutil.Process, "username", lambda _: next(names))
    (other,) = await host.state(looked_at)
    held.close()
    assert (other.level, other.advice) == (NOTE, "ask as lab")


async def test_too_little_disk_is_a_problem(bench: Bench) -> None:
    (full,) = await host.disk(bench.host("min_free_mb = 100_000_000\n"))
    assert (full.level, "no work is taken" in full.found) == (PROBLEM, True)


async def test_a_command_that_is_not_there_is_a_problem(bench: Bench) -> None:
    toml = 'runner = "command"\n[command]\nargv = ["maestro", "{test_path}"]\n'
    assert told(await host.command(bench.host(toml)), "host.command") == [(PROBLEM, "command.argv")]
    bench.program("maestro", "exit 0")
    assert told(await host.command(bench.host(toml)), "host.command") == [(OK, None)]


async def test_found_devices_on_which_tests_would_pass_without_running_are_warned_of(bench: Bench) -> None:
    found = "[adb]\nenabled = true\n"
    assert told(await host.command(bench.host(found)), "host.command") == [(WARNING, "runner")]
    assert told(await host.command(bench.host(APPWRIGHT + found)), "host.command") == [(OK, None)]


async def test_each_android_device_is_told_with_what_to_do(bench: Bench) -> None:
    devices = [FakeDevice("emulator-5554"), FakeDevice("R5A", emulator=False, state="unauthorized")]
    devices.append(FakeDevice("R5B", emulator=False, state="offline"))
    bench.program("adb", 'echo "Android Debug Bridge version 1.0.41"')
    async with FakeAdbServer(*devices) as fake:
        toml = f'[adb]\nenabled = true\nport = {fake.port}\n[[devices]]\nudid = "R5C"\ntarget = "device"\n'
        looked_at = bench.host(toml)
        assert told(await android_devices.devices(looked_at), "android.devices") == [
            (OK, "emulator-5554"),
            (PROBLEM, "R5A"),
            (PROBLEM, "R5B"),
            (WARNING, "R5C"),
        ]
        assert [each.level for each in await android.adb(looked_at)] == [OK, OK]
        bench.program("adb", 'echo "Android Debug Bridge version 1.0.39"')
        program, server = await android.adb(looked_at)
        assert (program.level, server.level) == (OK, WARNING)
        assert "version 39" in server.found
        assert "41" in server.found
        fake.silent = True
    assert [each.level for each in await android.adb(looked_at)] == [OK, NOTE]  # the agent starts a server
    assert told(await android_devices.devices(looked_at), "android.devices") == [(NOTE, None)]
    bench.program("adb", "echo no >&2; exit 3")
    assert (await android.adb(looked_at))[0].level is PROBLEM
    (bench.bin / "adb").unlink()
    missing, nowhere = await android.adb(looked_at)
    assert (missing.level, str(bench.bin) in missing.found) == (PROBLEM, True)
    assert (nowhere.level, "can't start one" in nowhere.found) == (NOTE, True), nowhere


@pytest.mark.parametrize(
    ("make", "environ", "levels"),
    [
        ("", {}, [PROBLEM, PROBLEM]),
        ("", {"ANDROID_HOME": "{folder}/nowhere"}, [PROBLEM, PROBLEM]),
        ("sdk/build-tools/35.0.0/lld", {"ANDROID_HOME": "{folder}/sdk"}, [OK, PROBLEM]),
        ("sdk/build-tools/35.0.0/aapt", {"ANDROID_HOME": "{folder}/sdk"}, [OK, OK]),
    ],
)
async def test_the_sdk_that_appwright_wants(
    bench: Bench, make: str, environ: Mapping[str, str], levels: list[Level]
) -> None:
    if make:
        (bench.folder / make).parent.mkdir(parents=True)
        (bench.folder / make).touch()
    given = {name: value.format(folder=bench.folder) for name, value in environ.items()}
    found = await android.sdk(bench.host(f"{APPWRIGHT}[adb]\nenabled = true\n", **given))
    assert [each.level for each in found] == levels
    assert [each.check for each in found] == ["android.home", "android.aapt"]


async def test_the_tools_and_the_suite_of_appwright(bench: Bench) -> None:
    looked_at = bench.host(f"{APPWRIGHT}[adb]\nenabled = true\n")

    async def levels() -> dict[str, Level]:
        found = [
            finding
            for check in (appwright.node, appwright.npm, appwright.suite, appwright.appium, appwright.drivers)
            for finding in await check(looked_at)
        ]
        assert all(each.advice for each in found if each.level in (WARNING, PROBLEM))
        return {each.check.removeprefix("appwright."): each.level for each in found}

    assert await levels() == {"node": PROBLEM, "npm": WARNING, "suite": PROBLEM, "appium": PROBLEM, "drivers": OK}
    bench.program("node", "echo v16.20.0")
    bench.program("npm", "echo 10.9.0")
    (bench.suite / "appwright.config.ts").touch()
    bench.package("appwright", "0.1.1")
    bench.package("playwright", "1.58.0")
    appium = bench.program("../suite/node_modules/.bin/appium", '[ "$1" = --version ] && echo 3.1.0 || echo "{}"')
    assert await levels() == {"node": PROBLEM, "npm": OK, "suite": WARNING, "appium": OK, "drivers": PROBLEM}
    bench.program("node", "echo v20.1.0")
    installed = json.dumps(
        {"uiautomator2": {"pkgName": "appium-uiautomator2-driver", "version": "3.10.0", "installed": True}}
    )
    asked = '[ "$*" = "driver list --installed --json" ] || exit 9'
    appium.write_text(f"#!/bin/sh\n[ \"$1\" = --version ] && echo 3.1.0 && exit\n{asked}\necho '{installed}'\n")
    assert await levels() == {"node": OK, "npm": OK, "suite": WARNING, "appium": OK, "drivers": OK}
    appium.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    assert (await levels())["appium"] is PROBLEM
    assert (await levels())["drivers"] is WARNING


async def test_a_suite_that_is_fast_but_for_one_thing_is_told_which(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRIED_PLAYWRIGHT, "1.40.0", frozenset({Part.FILES}))
    (bench.suite / "appwright.config.ts").touch()
    bench.package("appwright", "0.1.1")
    bench.package("playwright", "1.40.0")
    worker = bench.suite / "node_modules" / "playwright" / "lib" / "worker" / "workerMain.js"
    worker.parent.mkdir(parents=True)
    worker.write_text("  async runTestGroup(payload) {\n")
    (finding,) = await appwright.suite(bench.host(APPWRIGHT))
    assert finding.level is WARNING
    assert (
        "files that come later wait for a process of their own, since Playwright 1.40.0 is not known" in finding.found
    )


@pytest.mark.parametrize(
    ("apple_table", "level"),
    [("", NOTE), ('[apple]\nenabled = true\nudids = ["A"]\n', NOTE), ("[apple]\nenabled = true\n", WARNING)],
)
async def test_simulators_that_would_end_each_others_sessions_in_plain_mode(
    bench: Bench, apple_table: str, level: Level
) -> None:
    """XCUITest has WebDriverAgent on port 8100 where a session names no other, and ends what it finds there."""
    (bench.suite / "appwright.config.ts").touch()
    bench.package("appwright", "0.1.1")
    bench.package("playwright", "1.59.1")
    (found,) = await appwright.suite(bench.host(f'{APPWRIGHT}mode = "plain"\n{apple_table}', AGENT_ID="agent-1"))
    assert (found.level, "port 8100" in found.found) == (level, level is WARNING)


@pytest.mark.parametrize(
    ("adb_table", "config", "level"),
    [
        ("enabled = true", "", WARNING),
        ('enabled = true\nserials = ["A", "B"]', "{ platform: Platform.ANDROID }", WARNING),
        ("enabled = true", 'device: { provider: "local-device", udid: process.env.QGJOB_UDID }', NOTE),
        ('enabled = true\nserials = ["A"]', "", NOTE),
        ("", "", NOTE),
    ],
)
async def test_a_project_that_names_no_android_device_in_plain_mode(
    bench: Bench, adb_table: str, config: str, level: Level
) -> None:
    """UiAutomator2 takes the first one that it finds, also one that another test has."""
    (bench.suite / "appwright.config.ts").write_text(config)
    bench.package("appwright", "0.1.1")
    bench.package("playwright", "1.59.1")
    table = f'{APPWRIGHT}mode = "plain"\n[adb]\n{adb_table}\n'
    (found,) = await appwright.suite(bench.host(table, AGENT_ID="agent-1"))
    assert (found.level, "does not name QGJOB_UDID" in found.found) == (level, level is WARNING)
    assert level is NOTE or "udid: process.env.QGJOB_UDID" in (found.advice or "")


async def test_several_devices_of_both_kinds_in_plain_mode_are_told_of_both(bench: Bench) -> None:
    (bench.suite / "appwright.config.ts").touch()
    bench.package("appwright", "0.1.1")
    bench.package("playwright", "1.59.1")
    both = "[adb]\nenabled = true\n[apple]\nenabled = true\n"
    (found,) = await appwright.suite(bench.host(f'{APPWRIGHT}mode = "plain"\n{both}', AGENT_ID="agent-1"))
    assert all(word in found.found for word in ("port 8100", "does not name QGJOB_UDID"))
    assert all(word in (found.advice or "") for word in ("apple.udids", "process.env.QGJOB_UDID"))


def test_a_driver_that_is_missing_is_to_be_one_that_the_appium_takes() -> None:
    """The newest ones refuse Appium 2, which is what AppWright has."""
    own = json.loads((EXAMPLE / "package.json").read_text())["dependencies"]
    has, lacks = appwright.judge_drivers({"xcuitest": {"version": "7.35.1"}}, {"uiautomator2", "xcuitest"}, "appium")
    assert (has.level, lacks.level, lacks.subject) == (OK, PROBLEM, "uiautomator2")
    assert f"appium-uiautomator2-driver {own['appium-uiautomator2-driver']} and appium" in (lacks.advice or "")
    assert f"`appium driver install uiautomator2@{own['appium-uiautomator2-driver']}`" in (lacks.advice or "")


async def test_an_appium_of_somebody_else_has_to_answer(bench: Bench) -> None:
    looked_at = bench.host(f'{APPWRIGHT}appium_url = "http://127.0.0.1:{free_port()}"\n')
    assert told(await appwright.appium(looked_at), "appwright.appium") == [(PROBLEM, None)]
    assert told(await appwright.drivers(looked_at), "appwright.drivers") == [(OK, None)]


@pytest.mark.parametrize(
    ("adb", "more", "level", "said"),
    [
        ("", "", OK, "look for the adb server at 127.0.0.1:5037 by themselves"),
        ("port = 6000", "", OK, "the agent's Appium is told of the adb server at 127.0.0.1:6000"),
        ("port = 6000", 'appium = ["appium", "-dc", "caps.json", "--port", "{port}"]', NOTE, "appium names default"),
        ("port = 6000", 'appium_url = "http://127.0.0.1:4723"', NOTE, "http://127.0.0.1:4723 is somebody else's"),
        ("port = 6000", 'appium_url = "http://127.0.0.1:4723"\nmode = "plain"', WARNING, "is somebody else's"),
    ],
)
async def test_sessions_that_do_not_name_an_adb_server_that_is_elsewhere(
    bench: Bench, adb: str, more: str, level: Level, said: str
) -> None:
    (finding,) = await appium_adb.sessions(bench.host(f"{APPWRIGHT}{more}\n[adb]\nenabled = true\n{adb}\n"))
    assert (finding.level, said in finding.found) == (level, True)
    assert level is OK or '{"appium:adbPort": 6000}' in (finding.advice or "")


SIMULATORS = [f"1A5B64C2-98E3-4D6F-9E0A-7C3D2B1F503{n}" for n in range(3)]
IOS = '[[devices]]\nudid = "0000-1"\ntarget = "emulator"\nplatform = "ios"\n'


async def test_ios_devices_need_a_mac_with_xcode(bench: Bench) -> None:
    assert told(await apple.xcrun(bench.host(IOS)), "apple.xcrun") == [(PROBLEM, None)]
    mac = bench.host(IOS, "darwin")
    assert told(await apple.xcrun(mac), "apple.xcrun") == [(PROBLEM, None)]
    runtimes = {
        "com.apple.CoreSimulator.SimRuntime.iOS-26-4": [
            {"udid": SIMULATORS[0], "name": "Till", "state": "Booted", "isAvailable": True},
            {"udid": SIMULATORS[1], "isAvailable": False, "availabilityError": "runtime profile not found"},
        ],
        "com.apple.CoreSimulator.SimRuntime.watchOS-11": [{"udid": "w", "isAvailable": True}],
    }
    listed = json.dumps({"devices": runtimes})
    bench.program("xcrun", f'[ "$1" = simctl ] && echo \'{listed}\' && exit\n[ "$2" = simctl ] && echo /x/simctl')
    assert told(await apple.xcrun(mac), "apple.xcrun") == [(OK, "simctl")]
    phones = bench.host("[apple]\nenabled = true\nphysical = true\n", "darwin")
    assert told(await apple.xcrun(phones), "apple.xcrun") == [(OK, "simctl"), (PROBLEM, "devicectl")]
    (found,) = await apple.simulators(mac)
    assert (found.level, found.found) == (OK, "1 can be booted")
    named = bench.host(f"[apple]\nenabled = true\nudids = {json.dumps(SIMULATORS)}\n", "darwin")
    levels = [(OK, SIMULATORS[0]), (PROBLEM, SIMULATORS[1]), (PROBLEM, SIMULATORS[2])]
    assert told(await apple.simulators(named), "apple.simulators") == levels
    bench.program("xcrun", 'echo "{}"')
    assert told(await apple.simulators(mac), "apple.simulators") == [(PROBLEM, None)]
