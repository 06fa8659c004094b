from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qgjob.cli.app import run
from qgjob_proto.v1 import types_pb2
from tests.fakes.coordinator_services import FakeCoordinator, serving_in_thread

COMMON = ("--org-id=acme", "--app-version-id=v1")


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Result]
Capture = Callable[[], str]


@pytest.fixture
def stderr(capfd: pytest.CaptureFixture[str]) -> Capture:
    """What was said on stderr so far."""
    return lambda: capfd.readouterr().err


@pytest.fixture(autouse=True)
def clean_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those of the test."""
    for name in ("COORDINATOR", "TOKEN", "ORG_ID", "OUTPUT", "TIMEOUT_SECONDS"):
        monkeypatch.delenv(f"QGJOB_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCoordinator]:
    with serving_in_thread() as coordinator:
        monkeypatch.setenv("QGJOB_COORDINATOR", coordinator.address)
        yield coordinator


@pytest.fixture
def qgjob(capfd: pytest.CaptureFixture[str]) -> Command:
    """Run a command line in this process."""

    def command(*arguments: str) -> Result:
        capfd.readouterr()
        code = run(arguments)
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return command


def autoplay(fake: FakeCoordinator, verdicts: dict[str, tuple[str, str]]) -> None:
    """Let every job that is submitted go its way to the verdict of its test path; by default it passes.

    `("", "")` lets it run without end.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def play(job: types_pb2.Job) -> None:
        await fake.reached("WatchJobs")
        for step in ("scheduled", "running"):
            fake.move(job.job_id, step, agent_id="agent-1", device_id="emulator-1")
            await asyncio.sleep(0)
        status, outcome = verdicts.get(job.test_path, ("completed", "passed"))
        if not status:
            return
        error = None
        if outcome.endswith("!no_resource"):
            outcome = outcome.removesuffix("!no_resource")
            error = types_pb2.JobError(error_class=types_pb2.ERROR_CLASS_NO_RESOURCE, message="no such device")
        fake.move(job.job_id, status, outcome, **({"error": error} if error else {}))

    def start(job: types_pb2.Job) -> None:
        task = asyncio.ensure_future(play(job))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    fake.on_submit = start


def unserved(job: types_pb2.Job) -> None:
    """For `on_submit`: no device will ever do for the job."""
    job.pending_reason.code = types_pb2.PENDING_CODE_NO_RESOURCE
    job.pending_reason.message = "no device will do"
