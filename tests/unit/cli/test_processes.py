"""What only a process of its own shows: signals, pipes, and how fast help comes.

Those whose end or start the interpreter has a part in are started by it (`QGJOB`).
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import IO

import pytest

from qgjob._ids import is_job_id
from qgjob_proto.v1 import jobs_pb2, types_pb2
from tests.fakes.command_line import Running
from tests.fakes.coordinator_fleet import RefusalError
from tests.fakes.coordinator_services import FakeCoordinator
from tests.fakes.waiting import until
from tests.unit.cli.conftest import COMMON, Command, autoplay, unserved

JOB_ID = "acme~01J00000000000000000000000"
WATCHING_ON = "org acme has no job yet; watching on, Ctrl-C ends it\n"
# A shell that starts the tests in the background leaves SIGINT ignored, which children inherit: a terminal does not.
AS_FROM_A_TERMINAL = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
QGJOB = [sys.executable, "-c", f"{AS_FROM_A_TERMINAL}; import sys; from qgjob.cli import main; sys.exit(main())"]


def started(*arguments: str, stdout: IO[bytes] | None = None) -> Running:
    return Running(Path.cwd(), arguments, os.environ, stdout=stdout)


def wait_for_line(process: Running, word: str) -> None:
    for line in process.stderr:
        if word in line:
            return
    pytest.fail(f"the command ended without saying {word!r}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_its_jobs_going_and_says_so(fake: FakeCoordinator, number: int) -> None:
    fake.in_loop(lambda: autoplay(fake, {"a": ("", "")}))
    with started("run", *COMMON, "--test=a", "-o", "json") as process:
        wait_for_line(process, "running")
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    told = json.loads(out)
    assert [job["status"] for job in told["jobs"]] == ["running"]
    assert told["count"] == 1
    assert "the jobs go on" in err
    assert "qgjob wait acme~" in err
    assert "Traceback" not in err
    assert fake.calls["CancelJob"] == 0


def test_after_an_interruption_a_run_is_resumed_where_it_was(fake: FakeCoordinator) -> None:
    fake.in_loop(lambda: autoplay(fake, {"a": ("", "")}))
    flag = f"--coordinator={fake.address}"
    with started("run", *COMMON, "--test=a", "--run-id=r1", flag) as process:
        wait_for_line(process, "running")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert err.endswith(f"To resume: qgjob wait {flag} --org-id=acme --run-id=r1\n")


def test_an_interrupted_run_cancels_its_jobs_on_demand(fake: FakeCoordinator) -> None:
    fake.in_loop(lambda: autoplay(fake, {"a": ("", "")}))
    with started("run", *COMMON, "--test=a", "--cancel-on-interrupt") as process:
        wait_for_line(process, "running")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 130
    assert [job.status for job in fake.jobs.values()] == [types_pb2.JOB_STATUS_CANCELLED]


def test_a_run_that_is_interrupted_while_it_looks_for_hints_cancels_its_jobs(
    fake: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "list_devices", _never)
    fake.on_submit = unserved
    with started("run", *COMMON, "--test=a", "--device-id=x", "--cancel-on-interrupt") as process:
        fake.in_loop(fake.reached("ListDevices"))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 130
    assert [job.status for job in fake.jobs.values()] == [types_pb2.JOB_STATUS_CANCELLED]


def hold_answers(fake: FakeCoordinator) -> asyncio.Event:
    """Submissions are taken, and not answered until the event is set."""
    take, free = fake.submit_jobs, asyncio.Event()

    async def submit_jobs(request: jobs_pb2.SubmitJobsRequest) -> jobs_pb2.SubmitJobsResponse:
        answer = await take(request)
        await free.wait()
        return answer

    fake.submit_jobs = submit_jobs  # type: ignore[method-assign]
    return free


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("run", [(), ("--run-id=r1",)])
def test_a_run_that_is_interrupted_while_it_submits_cancels_also_what_is_answered_later(
    fake: FakeCoordinator, number: int, run: tuple[str, ...]
) -> None:
    free = hold_answers(fake)
    with started("run", *COMMON, "--test=a", "--test=b", "--cancel-on-interrupt", *run) as process:
        fake.in_loop(fake.reached("SubmitJobs"))
        process.send_signal(number)
        wait_for_line(process, "interrupted; 0 of 2 jobs are submitted; cancelling them")
        fake.in_loop(free.set)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, f"2 jobs {'of run r1 ' if run else ''}cancelled\n")
    assert [job.status for job in fake.jobs.values()] == [types_pb2.JOB_STATUS_CANCELLED] * 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_interrupt_leaves_at_once_and_names_what_is_left(fake: FakeCoordinator, number: int) -> None:
    hold_answers(fake)
    flag = f"--coordinator={fake.address}"
    with started("run", *COMMON, "--test=a", "--test=b", "--cancel-on-interrupt", flag) as process:
        fake.in_loop(fake.reached("SubmitJobs"))
        process.send_signal(number)
        wait_for_line(process, "cancelling")
        process.send_signal(number)
        _, err = process.communicate(timeout=4)  # sooner than a first interrupt gives up
    assert process.returncode == 130
    assert err.splitlines() == [
        "interrupted again; leaving at once",
        *[f"job {each} may go on; to cancel it: qgjob cancel {flag} {each}" for each in fake.jobs],
    ]


def test_a_second_interrupt_of_a_wait_names_the_run_that_is_left(fake: FakeCoordinator) -> None:
    fake.in_loop(lambda: autoplay(fake, {"a": ("", "")}))
    fake.cancel_jobs = _never  # type: ignore[method-assign, assignment]
    with started("run", *COMMON, "--test=a", "--run-id=r1", "--cancel-on-interrupt") as process:
        wait_for_line(process, "running")
        process.send_signal(signal.SIGTERM)
        fake.in_loop(fake.reached("CancelJobs"))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=4)
    assert process.returncode == 130
    assert err.splitlines()[-1] == (
        "run r1: it may have unfinished jobs; to cancel: qgjob cancel --org-id=acme --run-id=r1"
    )


def test_a_submission_that_is_interrupted_says_how_far_it_got(fake: FakeCoordinator) -> None:
    hold_answers(fake)
    with started("submit", *COMMON, "--test=a", "--test=b", "--run-id=r1", "-o", "json") as process:
        fake.in_loop(fake.reached("SubmitJobs"))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert json.loads(out) == {"count": 0, "jobs": []}
    assert err == (
        "interrupted; 0 of 2 jobs are submitted, and 2 more may be; they go on. "
        "To resume: qgjob wait --org-id=acme --run-id=r1\n"
        "what did not get there is not found then; the command that was given submits it\n"
    )


@pytest.mark.parametrize("command", ["submit", "run"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_search_for_a_coordinator_names_the_jobs_that_may_be_there(command: str, number: int) -> None:
    flag = "--coordinator=127.0.0.1:1"
    with started(command, *COMMON, "--test=a", flag) as process:
        wait_for_line(process, "trying again")
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    said, hint = err.splitlines()
    job_id = said.split()[-1]
    assert is_job_id(job_id)
    assert said == (
        f"interrupted; 0 of 1 jobs are submitted, and 1 more may be; they go on. To resume: qgjob wait {flag} {job_id}"
    )
    assert hint.endswith("the command that was given submits it")


def test_a_command_that_can_not_end_its_bond_still_tells_the_verdicts_by_its_exit_code(
    fake: FakeCoordinator, qgjob: Command
) -> None:
    released: list[bool] = []

    async def keep_run(request: jobs_pb2.KeepRunRequest) -> jobs_pb2.KeepRunResponse:
        if request.release:
            released.append(True)
            raise RefusalError("RESOURCE_EXHAUSTED", "too many calls")
        return jobs_pb2.KeepRunResponse()

    fake.keep_run = keep_run  # type: ignore[attr-defined]
    fake.in_loop(lambda: autoplay(fake, {"a": ("failed", "test_failed")}))
    result = qgjob("run", *COMMON, "--test=a", "--run-id=r1", "--cancel-on-disconnect")
    assert (result.code, released) == (10, [True])
    assert "too many calls; what run r1 has unfinished is cancelled in 60 s" in result.err


async def _never(_: object) -> None:
    await asyncio.Event().wait()


def test_on_a_terminal_the_view_is_live_and_stdout_stays_clean(fake: FakeCoordinator) -> None:
    fake.in_loop(lambda: autoplay(fake, {"bad\x1b]0;owned\x07": ("failed", "test_failed")}))
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    tests = ("--test=a", "--test=bad\x1b]0;owned\x07")
    with os.fdopen(terminal, "wb") as stderr:
        run = Running(Path.cwd(), ("run", *COMMON, *tests, "-o", "json"), environment, stderr=stderr)
        out, _ = run.communicate(timeout=30)
    shown = os.read(controller, 1_000_000).decode()
    os.close(controller)
    assert run.returncode == 10
    assert [job["outcome"] for job in json.loads(out)["jobs"]] == ["passed", "test_failed"]
    assert "of 2 done" in shown
    assert "2 jobs: " in shown
    assert "owned" not in shown


def test_an_endless_watch_is_ended_by_ctrl_c(fake: FakeCoordinator) -> None:
    with started("watch", "--org-id=acme", "-o", "jsonl") as process:
        assert '"ready"' in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, WATCHING_ON)


def test_a_watch_ends_with_its_reader_although_nothing_happens(fake: FakeCoordinator) -> None:
    with started("watch", "--org-id=acme", "-o", "jsonl") as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 1
        assert process.stderr.read() == WATCHING_ON


def test_a_watch_whose_output_may_also_be_read_goes_on(fake: FakeCoordinator, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    pipe = os.open(tmp_path / "pipe", os.O_RDWR)

    def held() -> int:
        """How many bytes lie in the pipe, which the command could read."""
        return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)

    with os.fdopen(pipe, "r+b", buffering=0) as stdout, started("watch", "--org-id=acme", "-o", "jsonl", stdout=stdout):
        asyncio.run(until(held, "it does not say that it is ready"))
        first = held()
        fake.in_loop(lambda: fake._create(_submission()))
        fake.in_loop(lambda: fake.move(JOB_ID, "running", device_id="d1"))
        asyncio.run(until(lambda: held() > first, "it tells nothing more"))


def test_a_log_that_is_followed_ends_with_its_reader(fake: FakeCoordinator) -> None:
    fake.in_loop(lambda: fake._create(_submission()))
    fake.hold = asyncio.Event()
    with started("logs", JOB_ID, "--follow") as process:
        fake.in_loop(fake.reached("GetJob"))
        assert process.poll() is None
        process.stdout.close()
        assert process.wait(20) == 1


def test_a_run_does_not_end_with_its_reader(fake: FakeCoordinator) -> None:
    with started("run", *COMMON, "--test=a") as process:
        wait_for_line(process, "queued")
        process.stdout.close()
        (job_id,) = fake.jobs
        fake.in_loop(lambda: fake.move(job_id, "running", device_id="d1"))
        wait_for_line(process, "running")


COMMANDS = [["list", "--org-id=acme"], ["list", "--org-id=acme", "-o", "json"], ["config", "view"]]
HELP = [["submit", "--help"], ["--version"]]


def told(arguments: list[str], stdout: IO[bytes]) -> tuple[int | None, str]:
    """What a command exits with and says, whose output goes there. An interpreter begins and ends those of HELP."""
    if arguments in HELP:
        done = subprocess.run([*QGJOB, *arguments], stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
        return done.returncode, done.stderr
    with started(*arguments, stdout=stdout) as process:
        _, err = process.communicate(timeout=20)
    return process.returncode, err


@pytest.mark.parametrize("arguments", [*COMMANDS, *HELP])
def test_output_that_can_not_be_written_is_told_in_one_line(fake: FakeCoordinator, arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        assert told(arguments, full) == (1, "error: stdout: can't be written: No space left on device\n")


@pytest.mark.parametrize("arguments", COMMANDS)
def test_where_there_is_no_stdout_nothing_is_asked(fake: FakeCoordinator, arguments: list[str]) -> None:
    command = shlex.join([*QGJOB, *arguments])
    done = subprocess.run(["sh", "-c", f"{command} >&-"], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: stdout: is closed; send it to /dev/null if nobody reads it\n"
    assert not fake.calls


@pytest.mark.parametrize(("commands", "code"), [(COMMANDS, 1), (HELP, 0)])
def test_a_reader_that_is_gone_is_told_of_nothing(fake: FakeCoordinator, commands: list[list[str]], code: int) -> None:
    for arguments in commands:
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as stdout:
            assert told(arguments, stdout) == (code, "")


def _submission() -> object:
    from qgjob_proto.v1 import jobs_pb2  # noqa: PLC0415

    return jobs_pb2.SubmitJobRequest(org_id="acme", app_version_id="v1", test_path="t", job_id=JOB_ID)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom qgjob.cli.app import run\nassert run(['run', '--help']) == 0\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'grpc', 'google', 'qgjob_proto', 'pydantic_settings'}))"
        "\nprint('qgjob.cli.setting_names' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["[]", "False"]


def test_help_is_quick() -> None:
    """CPU time of the process, the least of three: what else the machine does may double it."""

    def cpu_seconds() -> float:
        before = os.times()
        subprocess.run([*QGJOB, "--help"], capture_output=True, check=True)
        after = os.times()
        return after.children_user - before.children_user + after.children_system - before.children_system

    assert any(cpu_seconds() < 0.6 for _ in range(3))
