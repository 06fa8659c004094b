"""A supervisor that the kernel kills for want of memory: in a small cgroup, where nothing else is in reach."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from qgjob_agent.core.events import AttemptFinished
from qgjob_agent.core.values import Outcome
from tests.fakes.agent_core import assignment
from tests.fakes.small_disk import small_disk
from tests.fakes.waiting import until
from tests.unit.agent.test_command_runner import DEVICE, Told, runner_of

LIMIT_BYTES = 30_000_000
FILLS = f"import sys; sys.stdin.read(1); open(sys.argv[1], 'wb').write(bytes({2 * LIMIT_BYTES}))"


def gone(cgroup: Path) -> bool:
    try:
        cgroup.rmdir()
    except OSError:  # the last process of it still leaves
        return False
    return True


@pytest.fixture
async def short_of_memory() -> AsyncIterator[Path]:
    """A cgroup of little memory. Skips where this user may not make one."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    of_v1 = [line.split(":")[2].lstrip("/") for line in lines if ":memory:" in line]
    root, limit = Path("/sys/fs/cgroup"), "memory.max"
    if of_v1:
        root, limit = root / "memory" / of_v1[0], "memory.limit_in_bytes"
    made = root / f"qgjob-test-{os.getpid()}"
    try:
        made.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup of the test's own: {error.strerror}")
    try:
        (made / limit).write_text(str(LIMIT_BYTES))
        yield made
    except OSError as error:
        pytest.skip(f"no limit on the memory of a cgroup: {error.strerror}")
    finally:
        await until(lambda: gone(made), "its cgroup is still there")


async def test_its_attempt_is_not_charged_with_it(short_of_memory: Path, tmp_path: Path) -> None:
    """What fills the memory is a file there: who writes it has little itself, and the kernel looks for another one."""
    told = Told()
    runner = runner_of(told, tmp_path, "sleep", "60")
    with small_disk(tmp_path / "memory", megabytes=100) as disk:
        runner.start(DEVICE, [assignment("t1")])
        await until(lambda: told.events, "the command does not begin")
        supervisor = runner._attempts["t1"].execution.supervisor_pid
        Path(f"/proc/{supervisor}/oom_score_adj").write_text("1000")
        with subprocess.Popen([sys.executable, "-c", FILLS, disk.path / "file"], stdin=subprocess.PIPE) as fills:
            for pid in (supervisor, fills.pid):
                (short_of_memory / "cgroup.procs").write_text(str(pid))
            fills.communicate(b"x")
        await until(lambda: isinstance(told.events[-1], AttemptFinished), "the kernel does not kill it")
        await runner.close()
    end = told.events[-1]
    assert isinstance(end, AttemptFinished)
    assert end.finished.outcome is Outcome.PROVIDER_ERROR
    assert "out of memory" in (end.finished.error or "")
