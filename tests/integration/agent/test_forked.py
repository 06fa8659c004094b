"""A process that was forked and one that was started by itself are the same to a test: `tests.fakes.forked`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes import command_line
from tests.fakes.coordinator_stub import CoordinatorStub
from tests.fakes.forked import PATH, Process, begin
from tests.fakes.program import processes_of
from tests.fakes.waiting import until

AGENT = (sys.executable, "-m", "qgjob_agent")
Begin = Callable[..., Process]


@pytest.fixture(params=["forked", "started"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Begin:
    """Starts an agent, whose log is `log` and whose pid is kept from no one."""

    settings = {"AGENT_ID": "agent-1", "STATE_DIR": str(tmp_path / "state")}

    def started(*arguments: str, **changes: str) -> Process:
        keep = {name: os.environ[name] for name in ("PATH", PATH) if name in os.environ}
        if request.param == "started":  # another search path: nothing that has it was imported
            keep[PATH] = os.pathsep.join([*keep.get(PATH, "").split(os.pathsep), str(tmp_path / "nothing")]).strip(":")
        with (tmp_path / "log").open("ab") as log:
            return begin([*AGENT, *arguments], keep | settings | changes, tmp_path, log)

    return started


def test_it_exits_with_its_code_and_prints_into_its_log(start: Begin, tmp_path: Path) -> None:
    assert start("--check", AGENT_ID="agent-2").wait(60.0) == 0
    assert "agent-2" in (tmp_path / "log").read_text()
    assert start("--check", DRAIN_SECONDS="soon").wait(60.0) == 2
    assert "'soon'" in (tmp_path / "log").read_text()
    assert start("--no-such-option").wait(60.0) == 2
    assert "usage:" in (tmp_path / "log").read_text()


def test_it_has_no_setting_but_those_it_is_given(start: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAIN_SECONDS", "soon")
    assert start("--check").wait(60.0) == 0


async def test_a_command_s_words_beside_its_answer_are_kept_apart(tmp_path: Path) -> None:
    version, wrong = await command_line.qgjob(tmp_path, "--version"), await command_line.qgjob(tmp_path, "status", "x")
    assert (version.code, version.err) == (0, "")
    assert version.out.startswith("qgjob ")
    assert (wrong.code, wrong.out) == (2, "")
    assert "is not a job id" in wrong.err


async def test_it_hears_signals_and_is_found_by_its_folder(start: Begin, tmp_path: Path) -> None:
    async with CoordinatorStub() as stub:
        agent = start(QGJOB_COORDINATOR=stub.address)
        await stub.session()
        assert agent.poll() is None
        assert set(processes_of(tmp_path)) == {agent.pid}
        with pytest.raises(subprocess.TimeoutExpired):
            agent.wait(0.01)
        agent.terminate()
        await until(lambda: agent.poll() is not None, "it runs on")
        assert agent.wait() == 0

        agent = start(QGJOB_COORDINATOR=stub.address)
        await stub.session(2)
        agent.kill()
        assert agent.wait(60.0) == -signal.SIGKILL
        agent.send_signal(signal.SIGTERM)  # which nobody hears
        assert not processes_of(tmp_path)
