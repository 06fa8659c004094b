"""The demo's stack ends what it started, and tells what outlived it."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from examples.demo.stack import Stack, free_ports

if TYPE_CHECKING:
    from collections.abc import Callable

ENDS_ON_TERM = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("started", flush=True)
signal.pause()
"""
# As above, after leaving a process that is in a session of its own and no child of anybody here.
LEAVES_AN_ORPHAN = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if os.fork() == 0:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    os._exit(0)
os.wait()
print("started", flush=True)
signal.pause()
"""
SHOWS_ITS_SETTINGS = """
import os, signal
names = ("REDIS_URL", "QGJOB_PORT", "LEASE_SECONDS", "QGJOB_PARENT_PID")
print(*(os.environ.get(name) for name in names), "end", flush=True)
signal.pause()
"""
DEADLINE_SECONDS = 20


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def run_python(tmp_path):
    return lambda source: Stack(tmp_path, [sys.executable, "-c", source])


async def test_a_stack_that_ends_in_order_leaves_nothing(run_python):
    stack = run_python(ENDS_ON_TERM)
    async with stack:
        wait_until(lambda: "started" in stack.said())
    assert not stack.alive()
    assert stack.left_running == []


async def test_what_outlives_the_stack_is_told_and_ended(run_python):
    stack = run_python(LEAVES_AN_ORPHAN)
    async with stack:
        wait_until(lambda: "started" in stack.said())
    [left] = stack.left_running
    assert "time.sleep(600)" in left
    wait_until(lambda: is_gone(int(left.split()[0])))


async def test_a_stack_that_ends_at_once_is_not_alive(run_python):
    stack = run_python("print('no store'); raise SystemExit(1)")
    async with stack:
        wait_until(lambda: not stack.alive())
    assert stack.said() == "--- up.log ---\nno store"


def test_free_ports_differ():
    assert len(set(free_ports(5))) == 5


async def test_settings_of_the_caller_do_not_reach_the_stack(tmp_path, monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://precious:6379")
    monkeypatch.setenv("QGJOB_PORT", "1")
    monkeypatch.setenv("LEASE_SECONDS", "1")
    stack = Stack(tmp_path, [sys.executable, "-c", SHOWS_ITS_SETTINGS])
    async with stack:
        wait_until(lambda: "end" in stack.said())
    assert stack.said().endswith(f"\nNone {stack.http_port} None {os.getpid()} end")
