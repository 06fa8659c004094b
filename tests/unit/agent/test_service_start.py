"""The agent as a service: that its user may do what an agent does, and whether it runs, are looked at and told."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import qgjob_agent
from qgjob_agent.service import manager
from tests.fakes.service_lab import USER, Lab
from tests.fakes.unprivileged import open_to_all


def closed(lab: Lab, what: str) -> str:
    """Closes something to another user, and gives what is told of it. `lab` is in a folder that all may enter."""
    state = lab.folder / "state"
    lab.config.write_text(f'agent_id = "agent-1"\nstate_dir = "{state / "rack-1"}"\n')
    if what == "the file":
        lab.config.chmod(0o600)
        return f"may not read {lab.config} (--config); open it"
    if what == "its folder":
        lab.config = lab.config.rename(_made(lab.folder / "conf", 0o700) / "agent.toml")
        return f"may not enter {lab.config.parent}, and has to read {lab.config} (--config); open it"
    if what == "another's state":
        _made(state / "rack-1", 0o755)
        return f"may not write {state / 'rack-1'} (state_dir); give it to that user (chown -R nobody "
    if what == "another's lock":
        _made(state / "rack-1", 0o777)
        (state / "rack-1" / "lock").touch(0o600)
        return f"may not write {state / 'rack-1' / 'lock'} (state_dir); give it"
    if what == "above the state":
        _made(state, 0o700)
        return f"may not enter {state} (state_dir); open it to that user (chmod o+x {state})"
    assert what == "no home"
    lab.config.write_text('agent_id = "agent-1"\n')
    return "the home /nonexistent of 'nobody' is not there, and the agent keeps its state below it; make it"


def _made(folder: Path, mode: int) -> Path:
    folder.mkdir(parents=True)
    folder.chmod(mode)
    return folder


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may try what another user may")
@pytest.mark.parametrize(
    "what", ["the file", "its folder", "another's state", "another's lock", "above the state", "no home"]
)
def test_a_user_who_may_not_do_what_an_agent_does_is_told_before_anything_is_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/sh")  # that of this machine may be out of everybody's reach
    monkeypatch.setattr(qgjob_agent, "__file__", "/etc/passwd")
    with open_to_all() as folder:
        lab = Lab(folder)
        words = closed(lab, what)
        before = sorted(folder.rglob("*"))
        assert lab.install(run_as="nobody") == 2
        said = capsys.readouterr().err
        assert (said.startswith("error: --run-as: "), words in said) == (True, True), said
        assert (sorted(folder.rglob("*")), lab.told) == (before, [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may try what another user may")
def test_a_home_that_is_the_systems_is_not_to_be_given_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/sh")
    monkeypatch.setattr(qgjob_agent, "__file__", "/etc/passwd")
    home = pwd.getpwnam("daemon").pw_dir
    with open_to_all() as folder:
        lab = Lab(folder)
        assert lab.install(run_as="daemon") == 2
    said = capsys.readouterr().err
    assert f"may not write {home} (for its state, since state_dir is not set); set state_dir" in said
    assert "chown" not in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may try what another user may")
@pytest.mark.parametrize("closed_to_all", [True, False])
def test_a_program_that_the_user_can_not_reach_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, closed_to_all: bool
) -> None:
    monkeypatch.setattr(qgjob_agent, "__file__", "/etc/passwd")
    with open_to_all() as folder:
        lab = Lab(folder)
        lab.config.write_text(f'agent_id = "agent-1"\nstate_dir = "{folder / "state"}"\n')
        python = _made(folder / "roots", 0o700 if closed_to_all else 0o755) / "python"
        python.symlink_to("/bin/sh")
        monkeypatch.setattr(sys, "executable", str(python))
        assert lab.install(run_as="nobody") == (2 if closed_to_all else 0)
        words = (
            f"may not enter {python.parent}, and has to start {python} (the program); install qgjob where every user"
        )
        assert (words in capsys.readouterr().err) == closed_to_all
        assert bool(lab.files) != closed_to_all


ENDED = {"ActiveState": "failed", "SubState": "failed", "Result": "exit-code", "ExecMainStatus": 2, "MainPID": 0}
AGAIN = ENDED | {"ActiveState": "activating", "SubState": "auto-restart", "ExecMainStatus": 1}
STARTING = {"ActiveState": "activating", "SubState": "start", "MainPID": 0}


@pytest.mark.parametrize(
    ("looks", "words"),
    [
        ([ENDED], "failed (exit-code): exit code 2, a setting is wrong"),
        ([{}, ENDED], "failed (exit-code): exit code 2"),
        ([STARTING, AGAIN], "activating (auto-restart): exit code 1"),
        ([ENDED | {"ExecMainStatus": 203}], "exit code 203, its program can't be started"),
        ([ENDED | {"Result": "signal", "ExecMainStatus": 9}], "failed (signal): signal 9"),
        ([{"ActiveState": "inactive", "SubState": "dead", "MainPID": 0}], "inactive (dead)"),
        ([STARTING], "not within 0.3 s: activating (start)"),
    ],
)
def test_a_service_that_does_not_run_is_told_with_where_its_log_is(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    looks: list[dict[str, object]],
    words: str,
) -> None:
    monkeypatch.setattr(manager, "START_SECONDS", 0.3)
    monkeypatch.setattr(manager, "SETTLED_SECONDS", float("inf") if looks[0] == {} else 0.0)
    lab = Lab(tmp_path)
    lab.systemd(*looks)
    assert lab.install(run_as=USER) == 1
    shown = capsys.readouterr()
    assert "enabled: qgjob-agent" in shown.out
    assert words in shown.err
    assert "journalctl -u qgjob-agent.service -n 50" in shown.err


def test_a_service_that_just_began_is_watched_for_a_while(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "SETTLED_SECONDS", 0.5)
    lab = Lab(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as young:
        began = psutil.Process(young.pid).create_time()
        lab.systemd(STARTING, {"MainPID": young.pid})
        assert lab.install(run_as=USER) == 0
        assert time.time() - began >= 0.5
        young.communicate(b"\n")
    shown = capsys.readouterr().out
    assert f"it runs (process {young.pid})" in shown
    assert "journalctl -u qgjob-agent.service" in shown


def test_a_program_that_can_not_be_started_is_told_with_where_the_log_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = Lab(tmp_path)
    lab.manager("systemctl", "[ $1 != enable ] || { echo 'Job for qgjob-agent.service failed' >&2; exit 1; }")
    assert lab.install(run_as=USER) == 1
    said = capsys.readouterr().err
    assert "Job for qgjob-agent.service failed" in said
    assert "journalctl -u qgjob-agent.service" in said


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("\tstate = spawn scheduled\n\tlast exit code = 2\n", "spawn scheduled: exit code 2, a setting is wrong"),
        ("\tstate = not running\n\tlast exit code = 78: EX_CONFIG\n", "not running: exit code 78"),
        ("\tstate = not running\n\tlast terminating signal = Killed: 9\n", "not running: signal Killed: 9"),
        ("\tstate = waiting\n\tlast exit code = (never exited)\n", "not within 0.3 s: waiting"),
    ],
)
def test_a_launch_agent_that_does_not_run_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, said: str, words: str
) -> None:
    monkeypatch.setattr(manager, "START_SECONDS", 0.3)
    lab = Lab(tmp_path, "darwin", 501)
    lab.launchd("", said)
    assert lab.install() == 1
    shown = capsys.readouterr().err
    assert words in shown
    assert f"tail -n 50 {tmp_path}/home/Library/Logs/qgjob-agent.log" in shown
