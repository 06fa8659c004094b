"""The parent with children that only say that they serve: what goes wrong at one costs the others nothing."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from qgjob_coordinator.config import HANDED_DOWN, Settings
from qgjob_coordinator.processes import ports
from qgjob_coordinator.processes.parent import Parent
from tests.fakes.waiting import until

CHILD = """
import json, os, signal, sys
channel = json.loads(sys.argv[-1])["channel"]
os.write(channel, sys.argv[1].encode() + b"\\n")
signal.pause()
"""
SERVES = '{"say":"beat","ready":true,"counts":{}}'
POPEN = subprocess.Popen
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class Children:
    """What `Popen` is meanwhile. `faults` are what happens at the next starts, `says` what each child says at first."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []
        self.faults: list[OSError] = []
        self.says = SERVES
        self.commands: list[list[str]] = []
        self.environs: list[dict[str, str]] = []

    def start(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        if self.faults:
            raise self.faults.pop()
        process = POPEN([sys.executable, "-SEc", CHILD, self.says, command[-1]], **options)
        self.started.append(process)
        self.commands.append(command)
        self.environs.append(dict(os.environ))  # which a child inherits
        return process

    def alive(self) -> int:
        return sum(process.poll() is None for process in self.started)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Children:
    monkeypatch.chdir(tmp_path)
    for name in ("PORT", "GRPC_PORT"):
        monkeypatch.setenv(f"QGJOB_{name}", "0")
    monkeypatch.setenv(HANDED_DOWN, "{}")  # puts back what the test leaves
    monkeypatch.delenv(HANDED_DOWN)
    made = Children()
    monkeypatch.setattr("subprocess.Popen", made.start)
    return made


@asynccontextmanager
async def running(children: Children) -> AsyncIterator[tuple[Parent, asyncio.Task[int]]]:
    """A parent of two that serve; it ends with the block, and so do they."""
    parent = Parent(Settings.load_to_hand_down(), 2)
    run = asyncio.create_task(parent.run())
    try:
        await until(lambda: run.done() or parent._supervision.states()["serving"] == 2, "not both serve")
        yield parent, run
        if not run.done():
            parent._stop()
            assert await asyncio.wait_for(run, 5) == 0
    finally:
        run.cancel()
        for process in children.started:
            process.kill()
            process.wait()
        for number in HANDLED:
            asyncio.get_running_loop().remove_signal_handler(number)


async def test_a_replacement_that_can_not_be_started_is_tried_again_and_the_others_go_on(children: Children) -> None:
    with capture_logs() as lines:
        async with running(children) as (parent, run):
            children.faults = [OSError(errno.ENOMEM, "Cannot allocate memory")]
            children.started[0].kill()
            await until(lambda: run.done() or len(children.started) == 3, "it is not tried again")
            await until(lambda: run.done() or parent._supervision.states()["serving"] == 2, "no replacement serves")
            assert not run.done()
            assert children.started[1].poll() is None
    (line,) = [line for line in lines if line["event"] == "process_not_started"]
    assert (line["process"], line["error"]) == (1, "[Errno 12] Cannot allocate memory")
    assert [line["process"] for line in lines if line["event"] == "process_ended" and line["how"] == "crashed"] == [
        1,
        1,
    ]


async def test_a_parent_that_is_told_to_stop_while_it_takes_its_ports_starts_nobody(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has them a moment later: the signal would be one that nobody heard."""
    take, held = ports.take, []

    async def told_meanwhile(host: str, http_port: int, grpc_port: int) -> ports.Ports:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.01)  # the loop hears of it
        held.append(await take(host, http_port, grpc_port))
        return held[0]

    monkeypatch.setattr(ports, "take", told_meanwhile)
    try:
        assert await asyncio.wait_for(Parent(Settings.load_to_hand_down(), 2).run(), 5) == 0
    finally:
        for process in children.started:
            process.kill()
            process.wait()
        for number in HANDLED:
            asyncio.get_running_loop().remove_signal_handler(number)
    assert children.started == []
    assert all(each.fileno() == -1 for each in held[0].http), "they are not let go"


async def test_a_process_that_makes_no_sense_is_told_to_end_alone(children: Children) -> None:
    with capture_logs() as lines:
        async with running(children) as (parent, run):
            children.says = '{"say":"beat","ready":true,"counts":{"plan_ms":[[1.0],[1],2.5]}}'
            children.started[0].kill()
            await until(lambda: run.done() or any(x["event"] == "process_not_understood" for x in lines), "not said")
            children.says = SERVES
            await until(lambda: run.done() or parent._supervision.states()["serving"] == 2, "no replacement serves")
            assert not run.done()
            assert children.started[1].poll() is None


async def test_a_fault_of_the_parent_lets_its_children_drain(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_now: float) -> None:
        raise ZeroDivisionError

    async with running(children) as (parent, run):
        monkeypatch.setattr(parent._supervision, "look", broken)
        await asyncio.wait([run], timeout=5)
        await until(lambda: children.alive() == 0, "they live on")
        assert {process.returncode for process in children.started} == {-signal.SIGTERM}
        with pytest.raises(ZeroDivisionError):
            run.result()


async def test_a_replacement_has_the_settings_of_its_siblings_until_a_restart_is_accepted(
    children: Children,
) -> None:
    url = "redis://:secret@store"
    dotenv = Path(".env")
    dotenv.write_text(f"REDIS_URL={url}\nUNKNOWN=1\n")
    async with running(children) as (parent, _):
        dotenv.write_text("MAX_RETRIES=lots\n")
        parent._restart()  # is refused
        children.started[0].kill()
        await until(lambda: len(children.started) == 3, "it is not replaced")
        await until(lambda: parent._supervision.states()["serving"] == 2, "the replacement does not serve")
        dotenv.write_text("SESSION_TIMEOUT_SECONDS=30\nLEASE_SECONDS=80\n")
        parent._restart()
        await until(lambda: len(children.started) == 5 and children.alive() == 2, "they are not restarted")
        environs = [Path(f"/proc/{pid}/environ").read_bytes() for pid in (x.pid for x in children.started[3:])]
    handed = [json.loads(environ[HANDED_DOWN]) for environ in children.environs]
    assert handed == [{"REDIS_URL": url}] * 3 + [{"SESSION_TIMEOUT_SECONDS": "30", "LEASE_SECONDS": "80"}] * 2
    assert all(HANDED_DOWN.encode() in environ for environ in environs)
    assert not any("secret" in word for command in children.commands for word in command)
    assert [json.loads(command[-1])["beat_seconds"] for command in children.commands] == [1.0] * 3 + [2.0] * 2


@pytest.mark.parametrize("name", ["stdin", "stderr"])
async def test_a_terminal_that_closes_ends_it(children: Children, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb"), os.fdopen(theirs, "r") as terminal:
        monkeypatch.setattr(sys, name, terminal)
        async with running(children) as (_, run):
            os.kill(os.getpid(), signal.SIGHUP)
            assert await asyncio.wait_for(run, 5) == 0
    assert len(children.started) == 2


def test_a_log_that_takes_nothing_stops_nobody(tmp_path: Path) -> None:
    """A full disk, a pipe that nobody reads any more."""
    script = "from qgjob_coordinator import logs; import structlog; logs.configure('info', json=True); "
    script += "structlog.get_logger().info('one'); structlog.get_logger().info('two'); print('went on')"
    environ = {"PYTHONPATH": os.pathsep.join(sys.path)}
    with Path("/dev/full").open("wb") as full:
        said = subprocess.run(
            [sys.executable, "-c", script], env=environ, cwd=tmp_path, stdout=subprocess.PIPE, stderr=full, check=False
        )
    assert said.stdout == b"went on\n"
