"""The supervisor with real processes: whatever a test leaves behind, nothing of it lives when the result is there."""

from __future__ import annotations

import errno
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.core.values import DeathCause, LivingProcess, LivingTree
from qgjob_agent.executions import names
from qgjob_agent.executions.execution import _BOOT, _PACKAGE_ROOT, _PYTHON, Command, Execution
from qgjob_agent.executions.lease_file import LeaseFile, LeaseTime
from qgjob_agent.executions.records import ExecutionResult
from qgjob_agent.executions.tree_end import TreeEnd
from qgjob_agent.host.process_tree import Cgroup, descendants, hunt
from tests.fakes.agent_core import assignment
from tests.fakes.immune import Immune
from tests.fakes.waiting import BUSY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE_SECONDS = 10.0
PYTHON = [sys.executable, "-I", "-S", "-c"]
MAY_USE_CGROUPS = (probe := Cgroup.make(f"qgjob-probe-{os.getpid()}")) is not None
if probe is not None:
    probe.remove()

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="macOS is best effort")


def until(condition: Callable[[], object], what: str, seconds: float = DEADLINE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true in {seconds} s"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


SOUND = {
    "ended_by": names.EXIT,
    "exit_code": 0,
    "signal": None,
    "cause": None,
    "error": None,
    "started_at_ms": 1,
    "ended_at_ms": 2,
    "duration_ms": 1,
}
WRONG = (
    {"ended_by": "boredom"},
    {"exit_code": "0"},
    {"signal": 1.5},
    {"cause": ["revoked"]},
    {"error": 1},
    {"duration_ms": None},
    {"duration_ms": True},
    {"more": 1},
)


class Bench:
    """Runs one command under a supervisor."""

    def __init__(self, folder: Path, *, use_cgroup: bool) -> None:
        self.folder = self.cwd = folder
        self.use_cgroup = use_cgroup
        self.lease_path = folder / "lease"
        self.execution = Execution.new(folder / "executions", assignment("t1"))
        self.pids = folder / "pids"

    def start(self, argv: list[str], *, lease_seconds: float = 60.0, **limits: float) -> Execution:
        command = Command(
            argv=argv,
            env={"PATH": os.environ["PATH"], "PIDS": str(self.pids)},
            cwd=str(self.cwd),
            timeout_ms=int(limits.get("timeout", 0) * 1000),
            silence_timeout_ms=int(limits.get("silence", 0) * 1000),
            grace_seconds=limits.get("grace", 0.2),
            output_bytes=int(limits.get("output_bytes", 100_000)),
            use_cgroup=self.use_cgroup,
        )
        lease = LeaseTime(monotonic_seconds(), lease_seconds, 0.2)
        ready = self.execution.launch(command, lease, self.lease_path)
        os.close(ready)
        return self.execution

    def result(self, seconds: float = DEADLINE_SECONDS) -> ExecutionResult:
        assert self.execution.process is not None
        process = self.execution.process
        until(lambda: process.poll() is not None, "the end", seconds)
        result = self.execution.result()
        assert result is not None, (self.execution.path / "supervisor.log").read_text()
        return result

    def run(self, argv: list[str], **limits: float) -> ExecutionResult:
        self.start(argv, **limits)
        return self.result()

    def output(self) -> bytes:
        path = self.execution.path / names.OUTPUT
        return path.read_bytes() if path.exists() else b""

    def noted(self) -> list[int]:
        """Process ids that the command wrote to $PIDS."""
        return [int(pid) for pid in self.pids.read_text().split()] if self.pids.exists() else []

    def kill(self) -> None:
        process = self.execution.process
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()

    def close(self) -> None:
        self.kill()
        hunt(names.MARKER, self.execution.path.name, self.execution.cgroup, DEADLINE_SECONDS)
        self.execution.close()


@pytest.fixture(params=["cgroup", "descent"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if request.param == "cgroup" and not MAY_USE_CGROUPS:
        pytest.skip("this host lets us make no cgroup")
    made = Bench(tmp_path, use_cgroup=request.param == "cgroup")
    yield made
    made.close()


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Bench]:
    """For what has nothing to do with how the tree is found."""
    made = Bench(tmp_path, use_cgroup=False)
    yield made
    made.close()


def test_exit_code_and_output(bench: Bench) -> None:
    result = bench.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (result.ended_by, result.exit_code, result.signal) == (names.EXIT, 3, None)
    assert bench.output() == b"out\nerr\n"


def test_end_by_a_signal(bench: Bench) -> None:
    result = bench.run(["sh", "-c", "kill -SEGV $$"])
    assert (result.exit_code, result.signal) == (None, signal.SIGSEGV)


def test_not_startable(bench: Bench) -> None:
    result = bench.run(["/no/such/program"])
    assert result.ended_by == names.NOT_STARTED
    assert "/no/such/program" in (result.error or "")
    assert bench.execution.started_at_ms == 0


def test_why_it_could_not_be_started_is_told_in_words(bench: Bench) -> None:
    missing = bench.run(["no-such-program"])
    assert missing.error == f"no-such-program: is not on PATH ({os.environ['PATH']})"


def test_a_missing_working_folder_is_not_blamed_on_the_program(bench: Bench) -> None:
    bench.cwd = bench.folder / "gone"
    assert bench.run(["sh"]).error == f"working folder {bench.cwd}: No such file or directory"


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("#!/no/such/interpreter\n", 0o700, "is there, but what its first line (#!) names to run it is not"),
        ("echo ok\n", 0o700, "Exec format error; is the #! line missing?"),
        ("#!/bin/sh\n", 0o600, "Permission denied"),
    ],
)
def test_a_script_that_can_not_be_executed(bench: Bench, text: str, mode: int, why: str) -> None:
    script = bench.folder / "script"
    script.write_text(text)
    script.chmod(mode)
    result = bench.run([str(script)])
    assert (result.ended_by, result.error) == (names.NOT_STARTED, f"{script}: {why}")


def test_the_command_inherits_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QGJOB_TOKEN", "secret")
    bench.run(["env"])
    assert b"secret" not in bench.output()
    assert f"{names.MARKER}={bench.execution.path.name}".encode() in bench.output()


def test_the_command_holds_no_descriptor_of_ours(bench: Bench) -> None:
    bench.run([*PYTHON, "import os; print(sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:-1])"])
    assert bench.output() == b"[0, 1, 2]\n"


GRANDCHILD = "setsid sleep 60 & echo $! >> $PIDS; "
ORPHAN = "(setsid sh -c 'sleep 60 & echo $! >> $PIDS' &) ; while [ ! -s $PIDS ]; do sleep 0.01; done; "


@linux_only
@pytest.mark.parametrize("leaves", [GRANDCHILD, ORPHAN], ids=["setsid_grandchild", "double_forked_orphan"])
def test_nothing_that_a_command_leaves_behind_lives_on(bench: Bench, leaves: str) -> None:
    result = bench.run(["sh", "-c", leaves + "exit 0"])
    assert result.exit_code == 0
    assert bench.noted()
    assert not [pid for pid in bench.noted() if alive(pid)]


@linux_only
@pytest.mark.parametrize("leaves", [GRANDCHILD, ORPHAN], ids=["setsid_grandchild", "double_forked_orphan"])
def test_the_time_limit_ends_the_whole_tree(bench: Bench, leaves: str) -> None:
    result = bench.run(["sh", "-c", leaves + "sleep 60"], timeout=0.3)
    assert result.ended_by == names.TIMEOUT
    assert bench.noted()
    assert not [pid for pid in bench.noted() if alive(pid)]


def test_term_comes_first_and_is_enough_for_a_command_that_listens(bench: Bench) -> None:
    result = bench.run(["sh", "-c", "trap 'echo bye; exit 0' TERM; while :; do sleep 0.02; done"], timeout=0.2, grace=5)
    assert result.ended_by == names.TIMEOUT
    assert result.duration_ms < 3_000
    assert b"bye" in bench.output()


FORK_STORM = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("storm", flush=True)
end = time.monotonic() + 30
def storm(depth):
    while time.monotonic() < end:
        if depth < 2 and os.fork() == 0:
            os.setsid()
            storm(depth + 1)
            os._exit(0)
        time.sleep(0.05)
storm(0)
"""


@linux_only
def test_a_fork_storm_that_ignores_term_is_gone_within_grace_and_two_seconds(bench: Bench) -> None:
    bench.start([*PYTHON, FORK_STORM], timeout=0.6, grace=0.3)
    result = bench.result()
    assert result.ended_by == names.TIMEOUT
    assert result.duration_ms < 600 + 300 + 2_000
    assert hunt(names.MARKER, bench.execution.path.name, None, 0) == []


@contextmanager
def slow_disk(bench: Bench) -> Iterator[bytearray]:
    """Takes a megabyte of output a second, so that a tree fills its pipe faster than it is emptied.

    Gives what it has taken, which is all of it in the end.
    """
    path = bench.execution.path / names.OUTPUT
    os.mkfifo(path)
    end, over, taken = os.open(path, os.O_RDONLY | os.O_NONBLOCK), threading.Event(), bytearray()

    def take() -> None:
        while not over.wait(0.05):
            with suppress(BlockingIOError):
                taken.extend(os.read(end, 65_536))
        while data := os.read(end, 65_536):  # of a supervisor that has ended
            taken.extend(data)
        os.close(end)

    reader = threading.Thread(target=take)
    reader.start()
    try:
        yield taken
    finally:
        bench.kill()
        over.set()
        reader.join()


PRINTS_WITHOUT_END = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(os.environ["PIDS"], "w").write(str(os.getpid()))
if os.fork() and os.fork():
    {parent}
while True:
    os.write(1, bytes(65_536))
"""
MUCH = 1_000_000_000


@linux_only
def test_the_time_limit_ends_a_tree_that_prints_faster_than_the_disk_takes_it(bench: Bench) -> None:
    """Its pipe is never empty: who empties it first never comes to look at the time."""
    with slow_disk(bench):
        bench.start([*PYTHON, PRINTS_WITHOUT_END.format(parent="pass")], timeout=0.6, grace=0.3, output_bytes=MUCH)
        result = bench.result(0.6 + 0.3 + 2 + BUSY_SECONDS)
    assert result.ended_by == names.TIMEOUT
    assert result.duration_ms < 600 + 300 + 2_000


@linux_only
def test_a_cancel_ends_a_tree_that_prints_faster_than_the_disk_takes_it(bench: Bench) -> None:
    with slow_disk(bench):
        bench.start([*PYTHON, PRINTS_WITHOUT_END.format(parent="pass")], output_bytes=MUCH)
        until(bench.noted, "the start")
        bench.execution.cancel(DeathCause.REVOKED, 0.3)
        assert bench.result(0.3 + 2 + BUSY_SECONDS).ended_by == names.CANCELLED


@linux_only
def test_the_end_of_a_command_is_seen_though_what_it_left_behind_prints_without_end(bench: Bench) -> None:
    with slow_disk(bench) as taken:
        leave = "while not os.path.exists('go'): time.sleep(0.01)\n    os._exit(3)"
        bench.start([*PYTHON, PRINTS_WITHOUT_END.format(parent=leave)], output_bytes=MUCH)
        until(lambda: len(taken) > 300_000, "that the disk is behind")
        (bench.folder / "go").touch()
        result = bench.result(1 + BUSY_SECONDS)
    assert (result.ended_by, result.exit_code) == (names.EXIT, 3)


@linux_only
def test_all_that_a_dead_tree_has_printed_is_kept_also_of_a_large_pipe(plain: Bench) -> None:
    """It prints at once and is gone; more than one reading takes is left in the pipe then."""
    script = "import fcntl, os; fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 1 << 20); os.write(1, bytes(500_000) + b'last')"
    with slow_disk(plain) as taken:
        plain.run([*PYTHON, script], output_bytes=MUCH)
    assert bytes(taken) == bytes(500_000) + b"last"


def test_silence_ends_a_command(bench: Bench) -> None:
    result = bench.run(["sh", "-c", "echo once; sleep 60"], silence=0.3)
    assert result.ended_by == names.SILENCE
    assert result.duration_ms < 5_000


def test_output_breaks_the_silence(bench: Bench) -> None:
    result = bench.run(["sh", "-c", "for i in 1 2 3 4 5 6; do sleep 0.1; echo $i; done"], silence=0.4)
    assert (result.ended_by, result.exit_code) == (names.EXIT, 0)


def test_a_command_that_closes_its_output_is_still_watched(bench: Bench) -> None:
    result = bench.run(["sh", "-c", "exec >&- 2>&-; sleep 0.3; exit 4"])
    assert (result.ended_by, result.exit_code) == (names.EXIT, 4)


def test_cancel_ends_the_tree_and_keeps_the_cause(bench: Bench) -> None:
    bench.start(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"])
    until(lambda: b"up" in bench.output(), "the start")
    bench.execution.cancel(DeathCause.REVOKED, 0.2)
    result = bench.result()
    assert (result.ended_by, result.cause, result.signal) == (names.CANCELLED, "revoked", signal.SIGKILL)


@pytest.mark.parametrize(
    "theirs",
    [
        None,
        "[]",
        "[" * 60_000,
        '{"attempt": [], "grace_seconds": "x", "cause": ["revoked"]}',
        '{"grace_seconds": NaN}',
    ],
)
def test_what_a_test_wishes_in_place_of_the_daemon_is_an_end_and_no_more(bench: Bench, theirs: str | None) -> None:
    """It may tell its supervisor that it wrote that down, which waited for ever at a pipe: None here."""
    bench.start(["sleep", "60"])
    until(lambda: bench.execution.started_at_ms, "the start")
    wish = bench.execution.path / names.CANCEL
    if theirs is None:
        os.mkfifo(wish)
    else:
        wish.write_text(theirs)
    assert bench.execution.process is not None
    bench.execution.process.send_signal(signal.SIGTERM)
    result = bench.result()
    assert (result.ended_by, result.cause, result.signal) == (names.CANCELLED, None, signal.SIGTERM)


def test_a_pipe_in_place_of_what_a_supervisor_writes_holds_it_up_nowhere(bench: Bench) -> None:
    for name in (names.STARTED, names.CGROUP, f"{names.LIVING}.draft"):
        os.mkfifo(bench.execution.path / name)
    assert bench.run(["true"]).ended_by == names.EXIT
    assert bench.execution.started_at_ms
    tree = TreeEnd(None, str(bench.execution.path / names.LIVING))
    assert tree._tell((os.getpid(),))
    living = bench.execution.living()
    assert living is not None
    assert [each.pid for each in living.processes] == [os.getpid()]


def test_a_second_cancel_can_shorten_the_grace(bench: Bench) -> None:
    bench.start(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"])
    until(lambda: b"up" in bench.output(), "the start")
    bench.execution.cancel(DeathCause.SHUTDOWN, 60)
    bench.execution.cancel(DeathCause.SHUTDOWN, 0)
    assert bench.result().duration_ms < 5_000


def test_the_end_of_the_lease_ends_the_tree_without_any_daemon(bench: Bench) -> None:
    result = bench.run(["sh", "-c", "sleep 60"], lease_seconds=0.3)
    assert result.ended_by == names.LEASE
    assert result.duration_ms < 3_000


def test_a_renewed_lease_lets_the_tree_live(bench: Bench) -> None:
    lease_file = LeaseFile(str(bench.lease_path))
    lease_file.write(LeaseTime(monotonic_seconds(), 30, 0.2))
    result = bench.run(["sh", "-c", "sleep 0.6"], lease_seconds=0.3)
    lease_file.close()
    assert (result.ended_by, result.exit_code) == (names.EXIT, 0)


def test_the_lease_also_ends_a_tree_that_is_being_cancelled_with_patience(bench: Bench) -> None:
    bench.start(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"], lease_seconds=0.7)
    until(lambda: b"up" in bench.output(), "the start")
    bench.execution.cancel(DeathCause.REVOKED, 60)
    result = bench.result()
    assert result.ended_by == names.CANCELLED
    assert result.duration_ms < 4_000


def test_output_is_capped_and_its_end_is_kept(bench: Bench) -> None:
    bench.run([*PYTHON, "print('first'); print('x' * 300_000); print('last')"], output_bytes=5_000)
    output = bench.output()
    assert output.startswith(b"first\n")
    assert output.endswith(b"xxx\nlast\n")
    assert b"bytes of output left out]" in output
    assert len(output) < 80_000
    assert bench.result().lost_output_bytes == 0


@linux_only
def test_a_result_says_how_much_output_the_disk_refused(bench: Bench) -> None:
    (bench.execution.path / names.OUTPUT).symlink_to("/dev/full")
    result = bench.run([*PYTHON, "print('x' * 99_999)"])
    assert (result.ended_by, result.exit_code, result.lost_output_bytes) == (names.EXIT, 0, 100_000)


REFUSED = "while [ ! -e go ]; do sleep 0.02; done; exit 3"


@pytest.mark.parametrize("heard", [True, False])
@pytest.mark.parametrize("removed", ["", names.SPEC])
@pytest.mark.parametrize("then", ["sleep 60", "exit 0"])
def test_a_test_that_removes_its_execution_is_ended_and_its_supervisor_waits_for_no_disk(
    plain: Bench, removed: str, then: str, heard: bool
) -> None:
    """Of all or of what tells a daemon of it; a supervisor that waited for it back would hold the device."""
    script = GRANDCHILD + f"until [ -e go ]; do sleep 0.02; done; rm -rf {plain.execution.path / removed}; {then}"
    process = plain.start(["sh", "-c", script]).process
    assert process is not None
    if not heard:
        until(lambda: plain.execution.started_at_ms, "the start")
        plain.execution.close()  # as the end of a daemon does
    (plain.folder / "go").touch()
    until(lambda: process.poll() is not None, "the end")
    result = plain.execution.result()
    assert [pid for pid in plain.noted() if alive(pid)] == []
    assert plain.execution.removed
    assert (result is None) == (not removed and not heard)
    if result is not None and then == "sleep 60":
        assert result.ended_by == names.REMOVED


class Refusing:
    """The disk refuses all that this supervisor writes, so that only its ways past the disk are left."""

    def __init__(self, bench: Bench, *, heard: bool, **limits: float) -> None:
        self._bench = bench
        bench.start(["sh", "-c", REFUSED], **limits)
        assert bench.execution.process is not None
        self.process = bench.execution.process
        until(lambda: bench.execution.started_at_ms, "the start")
        if not heard:
            bench.execution.close()  # as the end of a daemon does
        self.takes(0)

    def takes(self, size: int) -> None:
        """From now on: files of so many bytes."""
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def finish(self) -> None:
        """Ends the command, and waits until the supervisor has seen that."""
        child = min(descendants(self.process.pid))
        (self._bench.folder / "go").touch()
        until(lambda: not Path(f"/proc/{child}").exists(), "the end of the command")

    def ended(self, seconds: float = DEADLINE_SECONDS) -> None:
        until(lambda: self.process.poll() is not None, "the end of the supervisor", seconds)


@linux_only
def test_a_result_that_the_disk_refuses_is_told_to_the_daemon(plain: Bench) -> None:
    refusing = Refusing(plain, heard=True)
    refusing.finish()
    refusing.ended()
    plain.execution.close()
    result = plain.execution.result()
    assert result is not None
    assert (result.ended_by, result.exit_code) == (names.EXIT, 3)
    assert not (plain.execution.path / names.RESULT).exists()


@linux_only
def test_a_result_that_neither_disk_nor_daemon_takes_waits_for_a_daemon(plain: Bench) -> None:
    refusing = Refusing(plain, heard=False)
    refusing.finish()
    found = Execution.found(plain.execution.path)
    assert found is not None
    assert found.adopt()
    refusing.ended()
    found.close()
    result = found.result()
    assert result is not None
    assert (result.ended_by, result.exit_code) == (names.EXIT, 3)


@linux_only
def test_a_result_that_neither_disk_nor_daemon_takes_waits_for_the_disk(plain: Bench) -> None:
    refusing = Refusing(plain, heard=False)
    refusing.finish()
    assert plain.execution.result() is None
    refusing.takes(MUCH)
    assert plain.result().exit_code == 3


@linux_only
def test_a_cancel_ends_a_supervisor_that_can_not_leave_its_result(plain: Bench) -> None:
    refusing = Refusing(plain, heard=False)
    refusing.finish()
    refusing.process.send_signal(signal.SIGTERM)
    refusing.ended(2 + BUSY_SECONDS)  # its patience, where the cancel was there before the end of the command was seen
    assert plain.execution.result() is None


@linux_only
def test_a_supervisor_that_ended_its_tree_by_a_cancel_does_not_wait_for_the_disk(plain: Bench) -> None:
    refusing = Refusing(plain, heard=False)
    refusing.process.send_signal(signal.SIGTERM)
    refusing.ended(0.2 + 2 + BUSY_SECONDS)
    assert plain.execution.result() is None


@linux_only
def test_the_end_of_the_lease_ends_a_supervisor_that_can_not_leave_its_result(plain: Bench) -> None:
    """And not before: a daemon may come, or the disk take it."""
    began = time.monotonic()
    refusing = Refusing(plain, heard=False, lease_seconds=3)
    refusing.finish()
    refusing.ended(3 + BUSY_SECONDS)
    assert time.monotonic() - began >= 3
    assert plain.execution.result() is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", "[" * 100_000, *(json.dumps(SOUND | wrong) for wrong in WRONG)],
)
def test_what_no_supervisor_writes_is_no_result(plain: Bench, text: str) -> None:
    """The folder is within a test's reach, and what ends the agent would end the next one too."""
    path = plain.execution.path / names.RESULT
    path.write_text(json.dumps(SOUND))
    assert plain.execution.result() is not None
    path.write_text(text)
    assert plain.execution.result() is None


@linux_only
def test_a_supervisor_on_a_disk_that_turned_read_only_is_known_to_live(
    plain: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.open

    def refuse(path: str | Path, flags: int, *mode: int) -> int:
        if flags & os.O_RDWR:
            raise OSError(errno.EROFS, "Read-only file system")
        return really(path, flags, *mode)

    plain.start(["sh", "-c", "sleep 60"])
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert plain.execution.supervised
    plain.execution.cancel(DeathCause.SHUTDOWN, 0)
    plain.result()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert not plain.execution.supervised


LEAVES_IMMUNE = "(trap '' TERM; exec sleep 60) & echo $! >> $PIDS; "


@pytest.fixture
def immune(plain: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Immune]:
    """What a command writes to $PIDS does not die."""
    made = Immune(plain.pids)
    monkeypatch.setattr("qgjob_agent.executions.execution._BOOT", made.boot)
    yield made
    made.end()


@linux_only
def test_what_sigkill_does_not_end_is_told_and_hunted_at_leisure(plain: Bench, immune: Immune) -> None:
    """It may be stuck in the kernel for ever, and its supervisor is there for as long."""
    plain.start(["sh", "-c", LEAVES_IMMUNE + "exit 3"])
    until(plain.execution.living, "that it is told")
    (pid,) = plain.noted()
    found = plain.execution.living()
    assert found is not None
    assert [(each.pid, each.state, each.name) for each in found.processes] == [(pid, "S", "sleep")]
    assert abs(found.since_ms / 1000 - time.time()) < DEADLINE_SECONDS
    until(lambda: immune.pause() >= 0.1, "a hunt at leisure")
    assert not immune.in_front()
    assert plain.execution.result() is None
    immune.end()
    assert plain.result().exit_code == 3
    assert not alive(pid)


@linux_only
def test_a_command_that_sigkill_does_not_end_is_told_too(plain: Bench, immune: Immune) -> None:
    script = "trap '' TERM; echo $$ >> $PIDS; exec sleep 60"
    plain.start(["sh", "-c", script], timeout=0.3, grace=0.0)
    until(plain.execution.living, "that it is told")
    found = plain.execution.living()
    assert found is not None
    assert [each.pid for each in found.processes] == plain.noted()
    until(lambda: not immune.in_front(), "that others are let run")
    immune.end()
    assert plain.result().ended_by == names.TIMEOUT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"since_ms": 1}',
        '{"since_ms": "1", "processes": [[1, "D", "sh"]]}',
        '{"since_ms": 1, "processes": [[1, "D"]]}',
        '{"since_ms": 1, "processes": [["1", "D", "sh"]]}',
        '{"since_ms": 1, "processes": 5}',
        '{"since_ms": 1, "processes": []}',
    ],
)
def test_what_no_supervisor_writes_of_the_living_is_nothing(plain: Bench, text: str) -> None:
    path = plain.execution.path / names.LIVING
    path.write_text('{"since_ms": 1, "processes": [[1, "D", "sh"]]}')
    assert plain.execution.living() == LivingTree(1, (LivingProcess(1, "D", "sh"),))
    path.write_text(text)
    assert plain.execution.living() is None


@linux_only
def test_what_a_killed_supervisor_leaves_is_hunted_down(bench: Bench) -> None:
    bench.start(["sh", "-c", GRANDCHILD + "echo up; sleep 60"])
    until(lambda: b"up" in bench.output(), "the start")
    process = bench.execution.process
    assert process is not None
    process.kill()
    process.wait(DEADLINE_SECONDS)
    assert not bench.execution.supervised
    assert bench.execution.result() is None
    assert hunt(names.MARKER, bench.execution.path.name, bench.execution.cgroup, DEADLINE_SECONDS) == []
    until(lambda: not [pid for pid in bench.noted() if alive(pid)], "the end of the grandchild")


MANY_THREADS = """
import os, threading, time
for _ in range(60): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
os._exit(0)
"""
ORPHANED_THREAD = """
import ctypes, os, platform, sys, threading, time
def write():
    while True:
        os.write(1, b"."), time.sleep(0.001)
threading.Thread(target=write).start()
print(os.getpid(), file=open(sys.argv[1], "a"), flush=True)
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)  # the first thread alone
"""


@linux_only
def test_nothing_is_left_of_the_cgroup_of_a_command_of_many_threads(bench: Bench) -> None:
    """They die after the process that they are of: while one has not, the kernel gives the cgroup away to nobody."""
    for n in range(5):
        bench.execution.close()
        bench.execution = Execution.new(bench.folder / "executions", assignment(f"many-{n}"))
        assert bench.run([*PYTHON, MANY_THREADS]).ended_by == names.EXIT
        path = bench.execution.cgroup
        assert (path is not None) == bench.use_cgroup
        assert path is None or not Path(path).exists()


@linux_only
@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="the number of a system call")
def test_a_process_whose_first_thread_has_ended_lives_as_long_as_another_one_does(bench: Bench) -> None:
    script = f'{sys.executable} -I -S -c "$1" "$2" & until [ -s "$2" ]; do sleep 0.01; done; sleep 0.05'
    bench.run(["sh", "-c", script, "sh", ORPHANED_THREAD, str(bench.pids)])
    (pid,) = bench.noted()
    assert not list(Path(f"/proc/{pid}/task").glob("*"))


@linux_only
@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="the number of a system call")
def test_such_a_process_of_a_killed_supervisor_is_hunted_down(bench: Bench) -> None:
    bench.start(["sh", "-c", f'{sys.executable} -I -S -c "$1" "$2" & sleep 60', "sh", ORPHANED_THREAD, str(bench.pids)])
    until(lambda: b"..." in bench.output() and not alive(bench.noted()[0]), "the end of the first thread")
    bench.kill()
    assert hunt(names.MARKER, bench.execution.path.name, bench.execution.cgroup, DEADLINE_SECONDS) == []
    left = list(Path(f"/proc/{bench.noted()[0]}/task").glob("*"))
    assert len(left) <= 1  # the first thread, until init has noticed


def test_the_lock_says_that_the_supervisor_lives(bench: Bench) -> None:
    bench.start(["sh", "-c", "sleep 60"])
    assert bench.execution.supervised  # from the first moment on, not only once it has got going
    bench.execution.cancel(DeathCause.SHUTDOWN, 0)
    bench.result()
    assert not bench.execution.supervised


def test_an_earlier_daemons_execution_is_found_again(bench: Bench) -> None:
    bench.start(["sh", "-c", "echo up; sleep 60"])
    until(lambda: b"up" in bench.output(), "the start")
    found = Execution.found(bench.execution.path)
    assert found is not None
    assert found.assignment.job_id == "acme~t1"
    assert found.adopt()
    found.cancel(DeathCause.SHUTDOWN, 0)
    assert bench.result().cause == "shutdown"
    found.close()


def test_the_supervisor_imports_nothing_heavy() -> None:
    code = f"import sys; sys.path.insert(0, {_PACKAGE_ROOT!r}); import qgjob_agent.supervisor; print(*sys.modules)"
    loaded = subprocess.run([*_PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"grpc", "asyncio", "pydantic", "structlog", "pathlib", "logging"} & set(loaded)


def test_supervisors_are_begun_by_the_words_that_agents_of_other_versions_know() -> None:
    """These find them by the module's name, and begin theirs from a package that was exchanged under them."""
    assert _BOOT.endswith("; from qgjob_agent.supervisor import main; main(sys.argv[2:])")
