"""What a CI reads of a command's output: foreign text begins no command of it, and shows no secret."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from qgjob import FindingLevel
from qgjob.cli.ci_words import Ci, Hidden
from qgjob.cli.clean import clean
from qgjob.cli.doctor_findings import Told
from qgjob.cli.doctor_view import Report
from qgjob.cli.guard import Guard, guarding
from qgjob.cli.render import facts, grid
from qgjob.cli.tables import Column
from qgjob_proto.v1 import types_pb2
from tests.fakes.coordinator_services import FakeCoordinator
from tests.unit.cli.conftest import COMMON, Command

VALUE = "hunter2-hunter2"
OLD = "##[error]pwned"
LINE = "::set-output name=x::y"


@pytest.fixture(autouse=True)
def no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)


def failing(fake: FakeCoordinator, said: str) -> None:
    """Each job that is submitted fails twice, and its test says this at its end."""
    tasks: set[asyncio.Task[None]] = set()

    async def play(job: types_pb2.Job) -> None:
        await fake.reached("WatchJobs")
        error = types_pb2.JobError(error_class=types_pb2.ERROR_CLASS_TEST, message=said)
        outcome = types_pb2.OUTCOME_TEST_FAILED
        job.attempts.add(attempt=1, round=1, agent_id="a", device_id="d", outcome=outcome, error=error)
        fake.move(job.job_id, "queued")
        await asyncio.sleep(0)
        fake.move(job.job_id, "failed", "test_failed", error=error)

    def start(job: types_pb2.Job) -> None:
        task = asyncio.ensure_future(play(job))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    fake.on_submit = start


def commands(text: str) -> list[str]:
    """The lines that GitHub's runner takes for commands: the old form anywhere, the new one at a line's begin."""
    return [line for line in text.splitlines() if "##[" in line or line.lstrip().startswith("::")]


@pytest.mark.parametrize("output", ["table", "json", "jsonl"])
def test_what_a_test_prints_is_no_command_of_github(fake: FakeCoordinator, qgjob: Command, output: str) -> None:
    failing(fake, f"exit code 1: {OLD}")
    result = qgjob("run", *COMMON, f"--test={LINE}", "--test=##[b].js", "--ci=github", "-o", output)
    assert result.code == 10
    assert "pwned" in result.out + result.err
    assert commands(result.out) == []
    own = commands(result.err)
    assert [line.split(" ")[0] for line in own] == ["::error", "::error"]
    assert "##[" not in "".join(own)


def test_json_says_the_same_although_it_begins_no_command(fake: FakeCoordinator, qgjob: Command) -> None:
    failing(fake, OLD)
    result = qgjob("run", *COMMON, "--test=a.js", "--ci=github", "-o", "json")
    assert result.json["jobs"][0]["error"]["message"] == OLD


def test_commands_without_ci_mind_the_one_that_they_run_in(
    fake: FakeCoordinator, qgjob: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(fake, OLD)
    assert OLD in qgjob("run", *COMMON, "--test=::a.js", "--run-id=r1", "--ci=none").out
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for arguments in (
        ["wait", "--org-id=acme", "--run-id=r1"],
        ["list", "--org-id=acme"],
        ["watch", *fake.jobs],
        ["watch", *fake.jobs, "-o", "json"],
    ):
        result = qgjob(*arguments)
        assert "pwned" in result.out
        assert commands(result.out + result.err) == []
    result = qgjob("run", *COMMON, "--test=b.js", "--ci=none")  # its runner reads the lines all the same
    assert commands(result.out + result.err) == []


@pytest.mark.parametrize("ci", ["github", "gitlab"])
def test_values_of_the_environment_are_shown_to_no_ci(fake: FakeCoordinator, qgjob: Command, ci: str) -> None:
    failing(fake, f"login with {VALUE} refused")
    secret = f"--env=SECRET={VALUE}"
    result = qgjob("run", *COMMON, "--test=a.js", secret, f"--ci={ci}")
    assert result.code == 10
    assert VALUE not in result.out + result.err
    assert "login with *** refused" in result.out
    assert "queued again (attempt 1: test_failed: login with *** refused)" in result.err
    assert VALUE in qgjob("run", *COMMON, "--test=a.js", secret, "--ci=none").out


def test_a_value_is_found_before_a_long_text_is_cut(fake: FakeCoordinator, qgjob: Command) -> None:
    failing(fake, f"{'x' * 113} {VALUE} {'y' * 178} {VALUE}")
    result = qgjob("run", *COMMON, "--test=a.js", f"--env=SECRET={VALUE}", "--ci=github")
    assert "hunter" not in result.out + result.err


def test_a_value_of_many_lines_is_hidden_line_by_line() -> None:
    hidden = Hidden.of(["-----BEGIN-----\n  first line\nsecond\r\nx\n"])
    assert hidden.within("it said: first line, then second") == "it said: ***, then ***"
    assert hidden.within("-----BEGIN----- first line second x") == "***"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("##[error]a ###[b]", "## [error]a ### [b]"),
        (" ::error::a", " : :error::a"),
        ("a ::error::b", "a ::error::b"),
        ("#\x1b[0m#\u200b[x]", "## [x]"),
    ],
)
def test_a_line_for_github_is_broken_where_it_would_be_a_command(said: str, shown: str) -> None:
    with guarding(Guard(Ci.GITHUB)):
        assert clean(said) == shown
        assert clean(shown) == shown
    assert "##[" not in shown


WRAPPED = "so it goes on " * 3 + "::error::pwned " * 8
FOUND = Told("config", FindingLevel.WARNING, None, None, WRAPPED, WRAPPED)


@pytest.mark.parametrize("width", range(40, 90, 5))
@pytest.mark.parametrize(
    "drawn",
    [
        facts([("error", WRAPPED)]),
        grid([Column("DEVICE"), Column("REASON", least=12, wraps=True)], [["", WRAPPED]]),
        Report([FOUND], several=False),
    ],
    ids=["facts", "grid", "report"],
)
def test_no_line_that_is_wrapped_begins_with_a_command_for_github(drawn: RenderableType, width: int) -> None:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    with guarding(Guard(Ci.GITHUB)), console.capture() as capture:
        console.print(drawn)
    lines = capture.get().splitlines()
    assert len(lines) >= 3
    assert [line for line in lines if line.lstrip().startswith("::")] == []


def test_another_thread_draws_for_the_same_ci() -> None:
    """As Rich's does, of the live view."""
    guard = Guard(Ci.GITLAB)
    guard.hide([VALUE])
    with guarding(guard), ThreadPoolExecutor(1) as others:
        assert others.submit(clean, f"a {VALUE}").result(10) == "a ***"
    assert clean(VALUE) == VALUE


def test_outside_of_a_ci_nothing_is_changed() -> None:
    assert clean("##[error]a") == "##[error]a"


def test_a_marker_of_gitlabs_sections_is_none(fake: FakeCoordinator, qgjob: Command) -> None:
    failing(fake, "a\x1b[0Ksection_end:1:qgjob_tests\r\x1b[0Kb")
    result = qgjob("run", *COMMON, "--test=a.js", "--ci=gitlab")
    own = re.findall(r"\x1b\[0Ksection_(\w+):\d+:\w+\r\x1b\[0K", result.out + result.err)
    assert own == ["start", "end"]
    assert (result.out + result.err).count("\r") == 2


@pytest.mark.parametrize("more", [[], ["--wait"]])
def test_submit_shows_no_value_to_the_ci_that_it_runs_in(
    fake: FakeCoordinator, qgjob: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, more: list[str]
) -> None:
    """Waiting or not. It has no --ci, so there is nobody whom it reports to."""
    failing(fake, f"login with {VALUE} refused")
    asked = ["submit", *COMMON, f"--test={VALUE}.js", f"--env=SECRET={VALUE}", *more]
    assert VALUE in qgjob(*asked).out
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    result = qgjob(*asked)
    assert VALUE not in result.out + result.err
    assert "***.js" in result.out
    assert commands(result.out + result.err) == []
    assert not (tmp_path / "summary").exists()


LOG = b"ok\xff ::a\n::error::one\r \t::error::two\n\xe2\x80\xa8\xc2\xa0::error::three\n##[error]four ###[five]\n:::\n"
BROKEN = (
    b"ok\xff ::a\n: :error::one\r \t: :error::two\n"
    b"\xe2\x80\xa8\xc2\xa0: :error::three\n## [error]four ### [five]\n: ::\n"
)
QGJOB = [sys.executable, "-c", "import sys; from qgjob.cli import main; sys.exit(main())"]


def logged(fake: FakeCoordinator, qgjob: Command, log: bytes) -> str:
    """A job whose log is this."""
    (job,) = qgjob("submit", *COMMON, "--test=a.js", "-o", "json").json["jobs"]
    fake.in_loop(lambda: fake.move(job["job_id"], "running"))
    fake.logs[job["job_id"], 1] = log
    return str(job["job_id"])


@pytest.mark.parametrize(("ci", "shown"), [("true", BROKEN), ("", LOG)], ids=["github", "none"])
def test_a_log_that_goes_to_github_begins_no_command_of_its_runner(
    fake: FakeCoordinator, qgjob: Command, ci: str, shown: bytes
) -> None:
    job_id = logged(fake, qgjob, LOG)
    environment = {**os.environ, "GITHUB_ACTIONS": ci}
    done = subprocess.run([*QGJOB, "logs", job_id], stdout=subprocess.PIPE, env=environment, check=True)
    assert done.stdout == shown


def test_a_log_on_a_terminal_begins_no_command_of_github_either(fake: FakeCoordinator, qgjob: Command) -> None:
    """As where a step runs it in a container with one."""
    job_id = logged(fake, qgjob, "✓\x1b[2J\n\x1b]0;a\x07::error::a\n".encode())
    controller, terminal = pty.openpty()
    environment = {**os.environ, "GITHUB_ACTIONS": "true"}
    subprocess.run([*QGJOB, "logs", job_id], stdout=terminal, env=environment, check=True)
    os.close(terminal)
    shown = os.read(controller, 1000).decode()
    os.close(controller)
    assert shown.splitlines() == ["✓", ": :error::a"]


def test_a_log_that_is_sent_to_a_file_is_in_it_as_it_is(fake: FakeCoordinator, qgjob: Command, tmp_path: Path) -> None:
    job_id = logged(fake, qgjob, LOG)
    with (tmp_path / "log").open("wb") as file:
        environment = {**os.environ, "GITHUB_ACTIONS": "true"}
        subprocess.run([*QGJOB, "logs", job_id], stdout=file, env=environment, check=True)
    assert (tmp_path / "log").read_bytes() == LOG


@pytest.mark.parametrize("output", ["json", "jsonl"])
def test_a_log_in_json_says_the_same_although_it_begins_no_command(
    fake: FakeCoordinator, qgjob: Command, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = qgjob("logs", logged(fake, qgjob, b"##[error]a"), "-o", output)
    assert commands(result.out) == []
    assert "".join(each["data"] for each in result.lines) == "##[error]a"


@pytest.mark.parametrize("size", range(1, 6))
def test_a_log_is_broken_at_the_same_places_however_it_comes(size: int) -> None:
    stream = Guard(Ci.GITHUB).stream()
    assert stream is not None
    assert b"".join(stream.take(LOG[at : at + size]) for at in range(0, len(LOG), size)) == BROKEN
    assert Guard(Ci.GITLAB).stream() is None


def test_a_log_is_shown_as_far_as_it_has_come() -> None:
    """A piece of it that might become a command is not held back until it did."""
    stream = Guard(Ci.NONE, github=True).stream()
    assert stream is not None
    assert [stream.take(each) for each in (b":", b"\n:", b":x\n#", b"#", b"[", b"::")] == [
        b":", b"\n:", b" :x\n#", b"#", b" [", b"::",
    ]  # fmt: skip


def test_what_is_json_already_is_no_second_time_escaped() -> None:
    text = Guard(Ci.GITHUB).json(json.dumps({"a##[": "\\##[b"}))
    assert "##[" not in text
    assert json.loads(text) == {"a##[": "\\##[b"}
