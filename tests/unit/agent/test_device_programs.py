"""A program is run within its bound, and its whole process group is dead when that is said."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qgjob_agent.host import program
from qgjob_agent.host.program import ProgramError, run_program
from tests.fakes.program import processes_of
from tests.fakes.waiting import until

ENVIRON = {"PATH": os.environ["PATH"]}
ADVICE = "install the tools"


async def test_it_gives_what_was_printed_and_the_exit_code() -> None:
    ended = await run_program(["sh", "-c", "echo out; echo err >&2; exit 3"], ENVIRON, 30, advice=ADVICE)
    assert (ended.code, ended.output) == (3, "out\nerr\n")


async def test_what_prints_without_end_is_cut_and_not_kept_from_ending() -> None:
    ended = await run_program(["sh", "-c", "head -c 3000000 /dev/zero"], ENVIRON, 30, advice=ADVICE)
    assert (ended.code, len(ended.output)) == (0, 256 * 1024)


@pytest.mark.parametrize("how", ["in time", "too late", "cancelled"])
async def test_nothing_of_it_lives_afterwards(tmp_path: Path, how: str) -> None:
    environ = ENVIRON | {"MARK": str(tmp_path)}
    wait = "" if how == "in time" else "; wait"
    script = f"trap '' TERM HUP INT; sleep 300 & sleep 300 & touch {tmp_path}/up{wait}"
    running = asyncio.create_task(
        run_program(["sh", "-c", script], environ, 1.0 if how == "too late" else 60.0, advice=ADVICE)
    )
    await until(lambda: (tmp_path / "up").exists() or running.done(), "it does not run")
    if how == "cancelled":
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    else:
        assert (await running).code == (0 if how == "in time" else None)
    assert processes_of(tmp_path) == {}


@pytest.mark.parametrize("steps", [1, 2, 3])
async def test_nothing_lives_of_one_that_was_cancelled_while_it_was_started(tmp_path: Path, steps: int) -> None:
    environ = ENVIRON | {"MARK": str(tmp_path)}
    script = f"trap '' TERM HUP INT; sleep 300 & touch {tmp_path}/up; wait"
    running = asyncio.create_task(run_program(["sh", "-c", script], environ, 60.0, advice=ADVICE))
    for _ in range(steps):
        await asyncio.sleep(0)
    stalled_until((tmp_path / "up").exists)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert processes_of(tmp_path) == {}


def stalled_until(look: Callable[[], bool], most_seconds: float = 1.0) -> None:
    """The event loop stands still until then, as on a busy host; or for long enough, where nothing was started yet."""
    end = time.monotonic() + most_seconds
    while not look() and time.monotonic() < end:
        time.sleep(0.005)


async def test_who_cancels_twice_waits_for_its_death_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    killed: list[int] = []

    def lives(group: int) -> bool:
        looks.append(group)
        return len(looks) < 10

    def kill(group: int) -> bool:
        if not killed:  # once: afterwards the group may be gone, and here something of it is to live on
            os.killpg(group, signal.SIGKILL)
            killed.append(group)
        return True

    monkeypatch.setattr(program, "_DEATH_SECONDS", 600.0)
    monkeypatch.setattr(program, "_kill", kill)
    monkeypatch.setattr(program, "_lives", lives)
    script = f"touch {tmp_path}/up; sleep 300"
    running = asyncio.create_task(run_program(["sh", "-c", script], ENVIRON, 60.0, advice=ADVICE))
    await until((tmp_path / "up").exists, "it does not run")
    running.cancel()
    await until(lambda: looks, "nobody looks")
    for _ in range(3):
        running.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(looks) == 10


@pytest.mark.parametrize("how", ["too late", "cancelled", "too late for who asked"])
async def test_what_would_not_die_is_said_but_replaces_no_cancel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Who was cancelled and hears of another error would go on, and take the fault of its own bound for the host's."""
    kill = program._kill

    def kill_in_vain(group: int) -> bool:
        kill(group)
        return True

    monkeypatch.setattr(program, "_DEATH_SECONDS", 0.1)
    monkeypatch.setattr(program, "_kill", kill_in_vain)
    monkeypatch.setattr(program, "_lives", lambda _: True)
    script = f"touch {tmp_path}/up; sleep 300"
    seconds, bound = (1.0 if how == each else 60.0 for each in ("too late", "too late for who asked"))

    async def bounded() -> None:
        async with asyncio.timeout(bound):
            await run_program(["sh", "-c", script], ENVIRON, seconds, advice=ADVICE)

    running = asyncio.create_task(bounded())
    if how == "cancelled":
        await until((tmp_path / "up").exists, "it does not run")
        running.cancel()
    with pytest.raises({"too late": ProgramError, "cancelled": asyncio.CancelledError}.get(how, TimeoutError)):
        await running


async def test_a_daemon_that_left_its_group_is_not_waited_for(tmp_path: Path) -> None:
    daemon = (
        f"import os, time; os.fork() and os._exit(0); os.setsid(); open({str(tmp_path / 'up')!r}, 'w'); time.sleep(300)"
    )
    script = f'{sys.executable} -c "{daemon}"; while [ ! -e {tmp_path}/up ]; do sleep 0.02; done'
    ended = await run_program(["sh", "-c", script], ENVIRON | {"MARK": str(tmp_path)}, 30, advice=ADVICE)
    assert ended.code == 0
    (daemon_pid,) = processes_of(tmp_path)
    os.kill(daemon_pid, 9)


async def test_a_host_without_room_for_what_is_printed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    with pytest.raises(ProgramError, match="no room for what it prints"):
        await run_program(["true"], ENVIRON, 5, advice=ADVICE)


@pytest.mark.parametrize("path", ["/nowhere/adb", "/"])
async def test_a_program_that_can_not_be_started_is_said(path: str) -> None:
    with pytest.raises(ProgramError, match="install the tools"):
        await run_program([path], ENVIRON, 5, advice=ADVICE)
