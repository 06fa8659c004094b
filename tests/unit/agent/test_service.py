"""The agent as a service: what is written, that it is written once, and what is never written over."""

from __future__ import annotations

import configparser
import os
import plistlib
import shlex
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from qgjob_agent.config import load_config
from qgjob_agent.service.rendering import Service, is_ours, plist, sealed, unit, variables
from qgjob_agent.setting_names import NAMES
from tests.fakes.service_lab import ENABLED, ENV, OLD, UNIT, USER, Lab

ROOT = Path(__file__).parents[3]


def read_unit(text: str) -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]  # the names as they are
    parsed.read_string(text)
    return parsed


def test_it_is_written_and_enabled_and_done_again_changes_nothing(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    assert lab.install(run_as=USER) == 0
    assert lab.files == {UNIT: "-rw-r--r--", ENV: "-rw-------"}
    assert lab.told == ENABLED
    service = read_unit((tmp_path / UNIT).read_text())["Service"]
    assert (service["User"], service["EnvironmentFile"]) == (USER, str(tmp_path / ENV))
    assert service["ExecStart"].endswith(f" --config {lab.config}")
    assert int(service["TimeoutStopSec"]) > 100 + 10 + 15
    assert "QGJOB_TOKEN" not in service["ExecStart"]
    assert 'QGJOB_TOKEN="a \\"secret\\""' in (tmp_path / ENV).read_text()
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in lab.files}
    (tmp_path / ENV).chmod(0o644)
    assert lab.install(run_as=USER) == 0
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in lab.files} == before
    assert lab.files[ENV] == "-rw-------"
    assert lab.told == ENABLED


def test_what_it_did_not_write_is_left_alone_without_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab(tmp_path)
    file = tmp_path / UNIT
    file.parent.mkdir(parents=True)
    file.write_text("[Service]\nExecStart=/bin/mine\n")
    assert lab.install(run_as=USER) == 1
    assert "--force" in capsys.readouterr().err
    assert (lab.files, lab.told) == ({UNIT: "-rw-r--r--"}, [])
    assert lab.install(run_as=USER, force=True) == 0
    ours = file.read_text()
    file.write_text(ours.replace("RestartSec=1", "RestartSec=9"))  # by somebody who had a reason
    assert lab.install(run_as=USER) == 1
    file.write_text(ours)
    lab.config.write_text("drain_seconds = 200\nagent_id = 'agent-1'\n")
    assert lab.install(run_as=USER) == 0  # its own it replaces
    assert "TimeoutStopSec=230" in file.read_text()
    assert "systemctl restart qgjob-agent.service" in capsys.readouterr().out


def test_the_state_directory_is_made_for_its_user_where_it_is_named(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    state = tmp_path / "var" / "rack-1"
    lab.config.write_text(f'agent_id = "agent-1"\nstate_dir = "{state}"\n')
    assert lab.install(run_as=USER) == 0
    assert (stat.filemode(state.stat().st_mode), state.owner()) == ("drwx------", USER)
    (state / "epoch").write_text("7")
    assert lab.install(run_as=USER) == 0
    assert (state / "epoch").read_text() == "7"


def test_what_is_there_of_variables_stays(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    (tmp_path / ENV).parent.mkdir(parents=True)
    (tmp_path / ENV).write_text("QGJOB_TOKEN=older\n")
    assert lab.install(run_as=USER) == 0
    assert (tmp_path / ENV).read_text() == "QGJOB_TOKEN=older\n"
    assert lab.files[ENV] == "-rw-------"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Whoever installs has no setting in their shell yet."""
    for name in [each for each in os.environ if each.removeprefix("QGJOB_") in (*NAMES, "TOKEN", "NODE_ENV")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return monkeypatch


@pytest.mark.parametrize("show", [True, False])
def test_a_setting_that_only_the_shell_has_is_told_with_where_to_write_it(
    tmp_path: Path, shell: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], show: bool
) -> None:
    lab, env = Lab(tmp_path), tmp_path / ENV
    shell.setenv("QGJOB_TOKEN", "that of the lab's variables, which is passed on")
    assert lab.install(run_as=USER, show=True) == 0
    assert "warning" not in capsys.readouterr().err
    shell.setenv("QGJOB_COORDINATOR", "control:50051")
    shell.setenv("BROWSERSTACK_ACCESS_KEY", "hush")
    shell.setenv("NODE_ENV", "production")
    dotenv = tmp_path / "cwd" / ".env"
    dotenv.write_text("ADB_ENABLED=true\n")
    assert lab.install(run_as=USER, show=show) == 0
    err = capsys.readouterr().err
    told = [line for line in err.splitlines() if line.startswith("warning: ")]
    into, adb, where = (
        f"COORDINATOR=... into {env}",
        f"ADB_ENABLED=... into {env}",
        "the service does not get it; write",
    )
    assert told == [
        f"warning: QGJOB_COORDINATOR (from the environment): {where} coordinator into {lab.config}, or QGJOB_{into}",
        f"warning: NODE_ENV (from the environment): {where} environment into {lab.config}, or NODE_ENV=... into {env}",
        f"warning: ADB_ENABLED (from {dotenv}): {where} enabled of [adb] into {lab.config}, or {adb}",
        f"warning: BROWSERSTACK_ACCESS_KEY (from the environment): {where} BROWSERSTACK_ACCESS_KEY=... into {env}",
    ]
    assert "hush" not in err


def test_a_setting_that_the_file_of_variables_has_is_not_told(
    tmp_path: Path, shell: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab, env = Lab(tmp_path), tmp_path / ENV
    env.parent.mkdir(parents=True)
    env.write_text('# QGJOB_TOKEN=\n COORDINATOR = control:50051\nQGJOB_LOG_LEVEL=\nMIN_FREE_MB="" \nexport CREDIT=1\n')
    for name in ("QGJOB_COORDINATOR", "QGJOB_LOG_LEVEL", "QGJOB_TOKEN"):
        shell.setenv(name, "debug")
    shell.setenv("MIN_FREE_MB", "8")
    shell.setenv("CREDIT", "1")
    assert lab.install(run_as=USER) == 0
    told = [line.split()[1] for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    # The file is kept as it is, and has none of these: to systemd what is exported is no variable.
    assert sorted(told) == ["CREDIT", "MIN_FREE_MB", "QGJOB_LOG_LEVEL", "QGJOB_TOKEN"]


def test_a_setting_that_the_file_of_settings_has_too_is_not_told(
    tmp_path: Path, shell: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service runs with the same, however it is written there; one that is another is told."""
    lab = Lab(tmp_path)
    file = 'agent_id = "agent-1"\ncoordinator = ["a:1", "b:2"]\ncredit = 40\nmin_free_mb = 7\n[simulated]\nseed = 3\n'
    lab.config.write_text(file)
    for name, value in (("QGJOB_COORDINATOR", "a:1,b:2"), ("CREDIT", "40"), ("SIMULATED_SEED", "3")):
        shell.setenv(name, value)
    shell.setenv("MIN_FREE_MB", "8")
    assert lab.install(run_as=USER) == 0
    told = [line.split()[1] for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert told == ["MIN_FREE_MB"]
    shell.setenv("RUNNER", "command")
    shell.setenv("COMMAND_ARGV", "true")
    lab.config.write_text('agent_id = "agent-1"\nrunner = "command"\n')  # no settings without the environment
    assert lab.install(run_as=USER) == 0
    told = [line.split()[1] for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert "COMMAND_ARGV" in told


def test_a_setting_of_a_dotenv_beside_the_file_of_variables_is_told(
    tmp_path: Path, shell: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever installs it is there, and the service is not."""
    lab, folder = Lab(tmp_path), (tmp_path / ENV).parent
    folder.mkdir(parents=True)
    (folder / ".env").write_text("MIN_FREE_MB=8\n")
    shell.chdir(folder)
    assert lab.install(run_as=USER) == 0
    assert f"warning: MIN_FREE_MB (from {folder / '.env'}): " in capsys.readouterr().err


def test_on_a_mac_the_variables_are_those_that_the_agent_reads(
    tmp_path: Path, shell: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = Lab(tmp_path, "darwin", 501)
    env = tmp_path / "home/Library/Application Support/qgjob/qgjob-agent/.env"
    env.parent.mkdir(parents=True)
    env.write_text("export QGJOB_COORDINATOR=control:50051\nMIN_FREE_MB='' # none\nCREDIT= # none\n")
    for name, value in (("QGJOB_COORDINATOR", "control:50051"), ("MIN_FREE_MB", "8"), ("CREDIT", "1")):
        shell.setenv(name, value)
    assert lab.install() == 0
    told = [line.split()[1] for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert sorted(told) == ["CREDIT", "MIN_FREE_MB"]


@pytest.mark.parametrize(
    ("platform", "uid", "asked", "code", "words"),
    [
        ("linux", 0, {}, 2, "--run-as"),
        ("linux", 0, {"user": True}, 2, "you are root"),
        ("linux", 1000, {"user": True, "run_as": "root"}, 2, "leave out --user"),
        ("linux", 1000, {"run_as": "root"}, 1, "use sudo"),
        ("linux", 0, {"run_as": "nobody-of-that-name"}, 2, "useradd"),
        ("darwin", 0, {}, 2, "leave out sudo"),
        ("darwin", 501, {"run_as": "root"}, 2, "log in as that user"),
    ],
)
def test_nothing_runs_as_root_unasked_and_a_wish_that_cannot_be_met_changes_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    platform: str,
    uid: int,
    asked: dict[str, str | bool],
    code: int,
    words: str,
) -> None:
    lab = Lab(tmp_path, platform, uid)
    assert lab.install(**asked) == code  # type: ignore[arg-type]
    assert words in capsys.readouterr().err
    assert (lab.files, lab.told) == ({}, [])


def test_a_wrong_setting_is_told_before_anything_is_written(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.config.write_text("drain_seconds = -1\n")
    assert lab.install(run_as=USER) == 2
    assert (lab.files, lab.told) == ({}, [])


def test_a_manager_that_fails_is_told_with_its_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab(tmp_path)
    lab.manager("systemctl", "echo 'System has not been booted with systemd' >&2; exit 1")
    assert lab.install(run_as=USER) == 1
    assert "System has not been booted with systemd" in capsys.readouterr().err


def test_print_shows_the_file_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab(tmp_path)
    assert lab.install(run_as="somebody-elsewhere", show=True) == 0
    shown = capsys.readouterr()
    assert is_ours(shown.out)
    assert read_unit(shown.out)["Service"]["User"] == "somebody-elsewhere"
    assert "secret" not in shown.out + shown.err
    assert (lab.files, lab.told) == ({}, [])


def test_a_user_has_a_service_in_the_folder_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab(tmp_path, uid=1000)
    assert lab.install(user=True) == 0
    assert "journalctl --user -u qgjob-agent.service" in capsys.readouterr().out
    base = "home/.config"
    assert set(lab.files) == {f"{base}/systemd/user/qgjob-agent.service", f"{base}/qgjob/qgjob-agent.env"}
    assert lab.told == [line.replace("systemctl", "systemctl --user") for line in ENABLED]
    parsed = read_unit((tmp_path / base / "systemd/user/qgjob-agent.service").read_text())
    assert "User" not in parsed["Service"]
    assert parsed["Install"]["WantedBy"] == "default.target"


def test_on_a_mac_it_is_a_launch_agent_of_the_session_at_the_screen(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "darwin", 501)
    running = f"state = running\n\tpid = {OLD}\n"
    lab.launchd("", running)  # it is not loaded yet
    assert lab.install() == 0
    file = tmp_path / "home/Library/LaunchAgents/qgjob-agent.plist"
    env = "home/Library/Application Support/qgjob/qgjob-agent/.env"
    assert lab.files[env] == "-rw-------"
    loaded = "launchctl print gui/501/qgjob-agent"
    enabled = "launchctl enable gui/501/qgjob-agent"
    assert lab.told == [loaded, enabled, f"launchctl bootstrap gui/501 {file}", loaded]
    read = plistlib.loads(file.read_bytes())
    assert read["ProgramArguments"][-2:] == ["--config", str(lab.config)]
    assert read["WorkingDirectory"] == str((tmp_path / env).parent)
    assert read["EnvironmentVariables"] == {"PATH": str(tmp_path / "bin"), "ANDROID_HOME": "/opt/sdk"}
    assert (read["LimitLoadToSessionType"], read["AbandonProcessGroup"], read["RunAtLoad"]) == ("Aqua", True, True)
    assert read["KeepAlive"] == {"SuccessfulExit": False}
    assert "secret" not in file.read_text()
    assert lab.install() == 0
    assert lab.told == [loaded, enabled, loaded]


AWKWARD = '/srv/a b/100%/$HOME/"q"\\.toml'


def a_service(config: str = "/etc/qgjob/agent.toml", user: str | None = "qgjob") -> Service:
    argv = ("/opt/qgjob/bin/qgjob", "agent", "start", "--config", config)
    return Service("qgjob-agent", argv, Path("/etc/qgjob/qgjob-agent.env"), 30, 10, user)


def test_the_unit_of_the_docs_is_the_one_that_is_written() -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    assert f"```ini\n{unit(a_service())}```" in page


@pytest.mark.parametrize("user", [None, "qgjob"])
def test_systemd_takes_the_unit_whatever_the_paths_are(tmp_path: Path, user: str | None) -> None:
    text = unit(a_service(AWKWARD, user))
    (line,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    words = shlex.split(line.removeprefix("ExecStart=").replace("%%", "%").replace("$$", "$"))
    assert words[-1] == AWKWARD
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("this machine has no systemd")
    file = tmp_path / "qgjob-agent.service"
    file.write_text(sealed(text).replace("/opt/qgjob/bin/qgjob", "/bin/true"))
    done = subprocess.run([analyze, "verify", "--man=no", file], check=False, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if file.name in line]
    assert (done.returncode, said) == (0, [])


def test_a_property_list_may_hold_any_path() -> None:
    text = sealed(plist(a_service("/x/<&>.toml", None), {"PATH": "/a&b"}, Path("/l")))
    assert is_ours(text)
    assert plistlib.loads(text.encode())["ProgramArguments"][-1] == "/x/<&>.toml"


def test_a_file_that_was_changed_is_not_ours() -> None:
    text = sealed("a\nb\n")
    assert is_ours(text)
    assert not is_ours(text.replace("b", "c"))
    assert not is_ours("a\nb\n")


def test_the_agent_reads_back_what_was_written_of_a_token(tmp_path: Path) -> None:
    written = 'a b"c\\d$e'
    (tmp_path / ".env").write_text(variables({"QGJOB_TOKEN": written}, ()))
    config = load_config(None, {"AGENT_ID": "agent-1"}, tmp_path)
    assert config.token is not None
    assert config.token.get_secret_value() == written


def test_variables_without_a_token_say_where_it_goes() -> None:
    assert variables({"PATH": "/a b"}, ("PATH", "JAVA_HOME")).splitlines()[1:] == ["# QGJOB_TOKEN=", 'PATH="/a b"']
