"""What the README tells a newcomer to type works, in its order, against a real `qgjob up`.

Its lines are read by a shell. A `qgjob` among them is then forked from a process that has imported it, as `up` is not.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from examples.demo.stack import Stack
from tests.fakes import packages
from tests.fakes.command_line import qgjob

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
COMMAND_SECONDS = 30
READY_SECONDS = 60
# Longer than a walk takes, so that there is something to cancel; and short, for commands that wait.
SLOW, QUICK = "60", "0.2"


def blocks(title: str, until: str) -> list[str]:
    """The commands of a part of the README, in order; a line that is not begun anew belongs to the one before."""
    part = README.partition(f"\n{title}\n")[2].partition(f"\n{until}\n")[0]
    lines = re.findall(r"^    (.+)$", part, re.MULTILINE)
    commands: list[str] = []
    for line in lines:
        if line.startswith(("qgjob ", "curl ", "source ")):
            commands.append(line)
        else:
            commands[-1] += "\n" + line
    return [command for command in commands if not command.startswith(("source ", "qgjob up"))]


@asynccontextmanager
async def running(folder: Path, test_seconds: str) -> AsyncIterator[Stack]:
    up = [str(BIN / "qgjob"), "up", "--sim-install-seconds=0.1", f"--sim-test-seconds={test_seconds}"]
    stack = Stack(folder, up)
    async with stack:
        async with asyncio.timeout(READY_SECONDS):
            while "ready: " not in stack.said():
                assert stack.alive(), stack.said()
                await asyncio.sleep(0.05)
        yield stack
    assert stack.left_running == []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def slow(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack whose tests don't end."""
    async with running(tmp_path_factory.mktemp("slow"), SLOW) as stack:
        yield stack


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def quick(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack whose tests end at once."""
    async with running(tmp_path_factory.mktemp("quick"), QUICK) as stack:
        yield stack


async def type_in(stack: Stack, folder: Path, command: str, job_id: str) -> str:
    """Runs a command as a shell would, and returns what it printed. It must exit with 0."""
    command = command.replace("JOB_ID", job_id).replace("localhost:3000", f"localhost:{stack.http_port}")
    if command.startswith("qgjob "):
        words = (await in_shell(folder, f'qgjob() {{ printf "%s\\0" "$@"; }}; {command}')).split("\0")
        done = await qgjob(folder, *words[:-1], QGJOB_COORDINATOR=stack.address)
        assert done.code == 0, f"{command}\n{done.out}{done.err}"
        return done.out
    return await in_shell(folder, command)


async def in_shell(folder: Path, command: str) -> str:
    process = await asyncio.create_subprocess_shell(
        command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{command}\n{out.decode()}{err.decode()}"
    return out.decode()


def job_id_in(text: str) -> str:
    found = re.search(r"qualgent~[0-9A-Z]{26}", text)
    assert found, text
    return found[0]


def by_command_line(part: int) -> list[str]:
    """What is typed in before CI is spoken of (0), and there (1)."""
    commands = blocks("## Use it", "### The same with curl")
    at = next(index for index, command in enumerate(commands) if command.startswith("qgjob run"))
    return [commands[:at], commands[at:]][part]


async def test_the_walk_by_command_line(tmp_path, slow):
    job_id, said = "", {}
    for command in by_command_line(0):
        said[command.split()[1]] = text = await type_in(slow, tmp_path, command, job_id)
        job_id = job_id or job_id_in(text)
    assert list(said) == ["submit", "status", "list", "devices", "groups", "stats", "doctor", "cancel", "retry"]
    assert "tests/onboarding.spec.js" in said["status"]
    assert job_id in said["list"]
    assert "emulator-1" in said["devices"]
    assert "xyz123" in said["groups"]
    assert "store.durability" in said["doctor"]
    assert "cancelled" in said["cancel"]
    # It is queued, unless its device was free again by then.
    assert re.search(r"^status +(queued|scheduled|running)\b", said["retry"], re.MULTILINE)


async def test_the_walk_of_ci_by_command_line(tmp_path, quick):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    packages.write(tmp_path / "app.apk", packages.apk())
    job_id, said = "", {}
    for command in by_command_line(1):
        name = command.split()[1]
        text = await type_in(quick, tmp_path, command, job_id)
        said[name] = said.get(name, "") + text
        job_id = job_id or job_id_in(text)
    assert list(said) == ["run", "submit", "explain", "watch", "logs", "builds"]
    assert said["run"].count("passed") == 2 + 2
    assert "tests/sign-out.spec.ts" in said["run"]
    assert "device_model=Pixel 8" in said["submit"]
    assert "completed (passed)" in said["watch"]
    assert "passed after" in said["logs"]
    assert "com.example.app" in said["builds"]
    assert (quick._folder / ".qgjob" / "blobs").is_dir()


@pytest.mark.skipif(shutil.which("curl") is None, reason="this machine has no curl")
async def test_the_walk_with_curl(tmp_path, slow):
    walk = blocks("### The same with curl", "### The same from Python")
    job_id, said = "", []
    for command in walk:
        said.append(await type_in(slow, tmp_path, command, job_id))
        job_id = job_id or job_id_in(said[0])
    again = await type_in(slow, tmp_path, walk[0], job_id)
    assert not [text for text in said if text.startswith('{"error"')]
    assert len(said) == 9
    assert '"deduplicated":true' in again
    assert job_id in again


async def test_the_walk_from_python(tmp_path, quick):
    program = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    (tmp_path / "walk.py").write_text(program.replace("localhost:50051", quick.address))
    assert await in_shell(tmp_path, f"{sys.executable} walk.py") == "passed\n"
