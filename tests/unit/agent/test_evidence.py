"""What attempts leave: chosen by worth, looked at with care, put aside by moving names, sent until it is there."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from qgjob_agent.clock import wall_ms
from qgjob_agent.core.events import AttemptFinished, AttemptKilled
from qgjob_agent.core.values import DeathCause, Finished, Outcome
from qgjob_agent.evidence import keeper as keeping
from qgjob_agent.evidence import kinds, sending
from qgjob_agent.evidence.choice import Bounds, Found, choose
from qgjob_agent.evidence.keeper import EvidenceKeeper
from qgjob_agent.evidence.looking import look
from qgjob_agent.evidence.outgoing import KeeperSettings
from qgjob_agent.evidence.pushing import EvidenceAwayError, EvidenceRefusedError, EvidenceTooLargeError, Sent
from qgjob_agent.evidence.shelf import Evidence, Shelf
from tests.fakes.agent_core import assignment
from tests.fakes.waiting import until

WIDE = Bounds(100, 10_000_000)
NOW = wall_ms()
PASSED = AttemptFinished("t1", Finished(Outcome.PASSED, NOW - 1_000, NOW, 1_000))
FAILED = AttemptFinished("t1", Finished(Outcome.TEST_FAILED, NOW - 1_000, NOW, 1_000))
LONG_AGO = AttemptFinished("t1", Finished(Outcome.TEST_FAILED, 1_000, 2_000, 1_000))
KILLED = AttemptKilled("t1", NOW, DeathCause.REVOKED)


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("report.xml", b'<?xml version="1.0"?>\n<testsuites>', kinds.JUNIT),
        ("a/TEST-x.XML", b"<testsuite name='x'>", kinds.JUNIT),
        ("layout.xml", b"<hierarchy><node/></hierarchy>", kinds.OTHER),
        ("001-test-failed-1.png", b"", kinds.SCREENSHOT),
        ("video.webm", b"", kinds.VIDEO),
        ("003-trace.zip", b"", kinds.TRACE),
        ("extrace.zip", b"", kinds.OTHER),
        ("logcat.txt", b"", kinds.DEVICE_LOG),
        ("browserstack-device.log", b"", kinds.DEVICE_LOG),
        ("appium.log", b"", kinds.LOG),
        ("trace.zip/notes", b"", kinds.OTHER),
    ],
)
def test_a_kind_is_told_by_name_and_beginning(name: str, head: bytes, kind: str) -> None:
    assert kinds.kind_of(name, head) == kind


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("shots/end of test.png", "shots/end of test.png"),
        ("-rf", "_rf"),
        ("a..b", "a__b"),
        ("a\\b\n\u202e\udcff.txt", "a_b___.txt"),
        ("x" * 500, None),
    ],
)
def test_a_name_is_made_one_that_coordinators_take(name: str, safe: str | None) -> None:
    assert kinds.safe_name(name) == safe


def test_what_tells_most_is_kept_and_the_rest_is_counted_by_reason() -> None:
    found = [
        Found("film.webm", kinds.VIDEO, 900),
        Found("shot.png", kinds.SCREENSHOT, 100),
        Found("log.txt", kinds.LOG, 50),
        Found("empty", kinds.OTHER, 0),
        Found("a\nb", kinds.OTHER, 1),
        Found("a\rb", kinds.OTHER, 1),
    ]
    choice = choose(found, Bounds(10, 1000), passed_over=2, complete=False)
    assert [each.name for each in choice.kept] == ["log.txt", "shot.png", "a_b"]
    reasons = [(each.files, each.size_bytes, each.reason.split(" ")[0]) for each in choice.left_out]
    assert reasons == [(1, 1, "their"), (1, 900, "an"), (2, 0, "they"), (0, 0, "there")]
    few = choose(found, Bounds(1, 1000))
    assert [each.name for each in few.kept] == ["log.txt"]
    assert "evidence.max_files" in few.left_out[0].reason


def test_a_folder_is_looked_at_with_care(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "a.png").write_bytes(b"png")
    (folder / "closed").mkdir()
    (folder / "closed" / "b.txt").write_text("b")
    (folder / "closed").chmod(0)
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    found, passed_over, complete = look(folder)
    assert sorted((each.path, each.kind) for each in found) == [
        ("closed/b.txt", kinds.OTHER),
        ("deep/er/a.png", kinds.SCREENSHOT),
    ]
    assert (passed_over, complete) == (3, True)
    assert look(tmp_path / "none") == ([], 1, True)


async def test_a_link_in_place_of_the_folder_is_not_followed(bench: Bench) -> None:
    """What it leads to is nobody's evidence: nothing of it is sent, and nothing of it goes."""
    what, out, output = bench.ended("t1")
    shared = bench.folder / "shared"
    shared.mkdir()
    (shared / "empty").touch()
    (shared / "film.webm").write_text("f" * 100)
    out.rmdir()
    out.symlink_to(shared)
    async with bench.running(bounds=Bounds(1, 50)) as keeper:
        keeper.take(what, out, output, FAILED)
        await bench.empty()
    assert [(files, len(reasons)) for _, files, reasons in bench.coordinator.got] == [
        ({"log.txt": b"printed by t1\n"}, 1)
    ]
    assert sorted(each.name for each in shared.iterdir()) == ["empty", "film.webm"]


class Coordinator:
    """Takes evidence as a coordinator does, or raises what it is told to."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, bytes], list[str]]] = []
        self.errors: list[Exception] = []
        self.asked = 0
        self.batches: list[int] = []

    async def __call__(self, several: Sequence[Evidence]) -> list[Sent]:
        self.asked += 1
        self.batches.append(len(several))
        return [self._take(each) for each in several]

    def _take(self, evidence: Evidence) -> Sent:
        if self.errors:
            error = self.errors.pop(0)
            if isinstance(error, EvidenceAwayError | EvidenceRefusedError | EvidenceTooLargeError):
                return error
            raise error
        files = {each.file.name: (evidence.path / each.file.path).read_bytes() for each in evidence.kept or ()}
        self.got.append((evidence.whose.token, files, [each.reason for each in evidence.left_out]))
        return len(files)


class Bench:
    """A shelf on the disk, and attempts that have ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shelf = Shelf(folder / "evidence")
        self.coordinator = Coordinator()

    def ended(self, token: str, **files: str) -> tuple[Any, Path, Path]:
        """The files of an attempt, as an execution has them; `__` in a name is a dot."""
        out, output = self.folder / token / "out", self.folder / token / "output"
        out.mkdir(parents=True)
        output.write_text(f"printed by {token}\n")
        for name, text in files.items():
            (out / name.replace("__", ".")).write_text(text)
        return assignment(token), out, output

    def keeper(self, keep: str = "all", spool_bytes: int = 10_000_000, **more: Any) -> EvidenceKeeper:
        settings = KeeperSettings(keep, more.pop("bounds", WIDE), spool_bytes, **more.pop("settings", {}))
        made = EvidenceKeeper(self.shelf, settings, self.coordinator, structlog.get_logger(), **more)
        made.open()
        return made

    @asynccontextmanager
    async def running(self, *given: Any, **more: Any) -> AsyncIterator[EvidenceKeeper]:
        made = self.keeper(*given, **more)
        task = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def empty(self) -> None:
        await until(lambda: not any(self.shelf._path.iterdir()), "something is left on the shelf", seconds=10)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(sending, "LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(sending, "GATHER_SECONDS", 0.0)
    monkeypatch.setattr(keeping, "DEVICES_SECONDS", 0.0)
    monkeypatch.setattr(keeping, "DEVICES_PAUSE_SECONDS", 0.02)


async def test_what_an_attempt_left_is_moved_and_sent(bench: Bench) -> None:
    what, out, output = bench.ended("t1", shot__png="png", log__txt="mine")
    async with bench.running() as keeper:
        keeper.take(what, out, output, FAILED)
        assert not out.exists()
        assert output.exists()  # the end of it may have to be told again
        keeper.take(what, out, output, FAILED)
        await until(lambda: bench.coordinator.got, "it is not sent")
        await bench.empty()
    assert len(bench.coordinator.got) == 1
    assert bench.coordinator.got[0] == (
        "t1",
        {"log.txt": b"printed by t1\n", "files/log.txt": b"mine", "shot.png": b"png"},
        [],
    )


@pytest.mark.parametrize(
    ("keep", "end", "kept"),
    [
        ("all", PASSED, True),
        ("failed", PASSED, False),
        ("failed", FAILED, True),
        ("failed", KILLED, True),
        ("failed", None, True),
        ("none", FAILED, False),
    ],
)
async def test_of_whom_evidence_is_kept(bench: Bench, keep: str, end: Any, kept: bool) -> None:
    what, out, output = bench.ended("t1", a="a")
    bench.keeper(keep).take(what, out, output, end)
    assert out.exists() is not kept


async def test_what_is_not_sent_outlives_the_daemon_wherever_it_died(bench: Bench) -> None:
    for token in ("t1", "t2"):
        keeper = bench.keeper()
        what, out, output = bench.ended(token, a="a")
        keeper.take(what, out, output, FAILED)
    bench.coordinator.errors = [EvidenceAwayError("away")] * 100
    async with bench.running():  # it dies between looking and sending
        await until(lambda: bench.coordinator.asked, "nothing is looked at")
    bench.coordinator.errors = []
    drafts = bench.shelf._path
    torn = drafts / ".torn"
    torn.mkdir()
    (torn / "meta.json").write_text("{")
    moved = next(each for each in drafts.iterdir() if not each.name.startswith("."))
    moved.rename(drafts / f".{moved.name}")
    (drafts / "nothing").mkdir()
    async with bench.running():
        await until(lambda: len(bench.coordinator.got) == 2, "it is not sent")
        await bench.empty()
    assert sorted(token for token, files, _ in bench.coordinator.got if files["a"] == b"a") == ["t1", "t2"]


async def test_a_coordinator_that_is_away_is_asked_again_and_told_of_once(bench: Bench) -> None:
    bench.coordinator.errors = [EvidenceAwayError("the blob store is full") for _ in range(4)]
    with capture_logs() as logs:
        async with bench.running() as keeper:
            for token in ("t1", "t2"):
                keeper.take(*bench.ended(token), FAILED)
            await bench.empty()
            await until(
                lambda: any(each["event"] == "evidence_goes_on" for each in logs), "nobody says that it goes on"
            )
    events = [each["event"] for each in logs]
    assert events.count("evidence_waits") == 1
    assert next(each for each in logs if each["event"] == "evidence_waits")["error"] == "the blob store is full"
    assert events.count("evidence_goes_on") == 1
    assert len(bench.coordinator.got) == 2


async def test_what_is_refused_is_lost_aloud_and_holds_nothing_up(bench: Bench) -> None:
    bench.coordinator.errors = [EvidenceRefusedError("the job is gone")]
    with capture_logs() as logs:
        async with bench.running() as keeper:
            for token in ("t1", "t2"):
                keeper.take(*bench.ended(token), FAILED)
            await bench.empty()
    lost = [each for each in logs if each["event"] == "evidence_lost"]
    assert [(each["attempt"], each["error"]) for each in lost] == [(1, "the job is gone")]
    assert len(bench.coordinator.got) == 1


async def test_a_fault_of_the_program_costs_that_evidence_and_ends_nothing(bench: Bench) -> None:
    bench.coordinator.errors = [ArithmeticError("a fault of ours")] * 2  # of both together, then of the first
    with capture_logs() as logs:
        async with bench.running() as keeper:
            for token in ("t1", "t2"):
                keeper.take(*bench.ended(token), FAILED)
            await bench.empty()
    assert [each["event"] for each in logs] == ["evidence_goes_alone", "evidence_failed", "evidence_sent"]


async def test_of_what_is_too_large_for_a_coordinator_the_best_is_sent(bench: Bench) -> None:
    bench.coordinator.errors = [EvidenceTooLargeError("at most 500 are taken")]
    async with bench.running() as keeper:
        keeper.take(*bench.ended("t1", film__webm="f" * 700), FAILED)
        await bench.empty()
    assert bench.coordinator.got == [("t1", {"log.txt": b"printed by t1\n"}, ["at most 500 are taken"])]


async def test_what_waits_is_bounded_and_the_oldest_goes_first(bench: Bench) -> None:
    bench.coordinator.errors = [EvidenceAwayError("away") for _ in range(1000)]
    with capture_logs() as logs:
        async with bench.running(spool_bytes=2_500) as keeper:
            for token in ("t1", "t2", "t3"):
                keeper.take(*bench.ended(token, a="x" * 1000), FAILED)
            await until(lambda: any(e["event"] == "evidence_lost" for e in logs), "all is kept")
            bench.coordinator.errors.clear()
            await bench.empty()
    got = {token: (sorted(files), reasons) for token, files, reasons in bench.coordinator.got}
    assert got["t2"] == got["t3"] == (["a", "log.txt"], [])
    names, (reason,) = got["t1"]  # that there was something is told
    assert (names, "evidence.spool_mb" in reason) == ([], True)


async def test_what_can_not_be_sent_for_days_is_given_up(bench: Bench) -> None:
    bench.coordinator.errors = [EvidenceAwayError("away") for _ in range(1000)]
    with capture_logs() as logs:
        async with bench.running(settings={"keep_ms": 3_600_000}) as keeper:
            keeper.take(*bench.ended("t1"), LONG_AGO)
            await bench.empty()
    assert [each["error"] for each in logs if each["event"] == "evidence_lost"] == [
        "it could not be sent for 1 h: away"
    ]


async def test_a_disk_that_refuses_costs_the_evidence_and_nothing_else(bench: Bench) -> None:
    (bench.folder / "evidence").write_text("")  # no folder can be there
    with capture_logs() as logs:
        keeper = bench.keeper()
        keeper.take(*bench.ended("t1"), FAILED)
    assert [each["event"] for each in logs] == ["evidence_not_read", "evidence_not_kept"]


async def test_a_device_log_comes_with_it_or_is_said_to_be_missing(bench: Bench) -> None:
    asked = []

    async def logs_of(device_id: str, since_ms: int, until_ms: int) -> bytes:
        asked.append((device_id, since_ms, until_ms))
        if len(asked) > 1:
            raise OSError("the device is not connected")
        return b"10-01 12:00:00.000 I app: hello\n"

    async with bench.running(device_logs=logs_of) as keeper:
        for token in ("t1", "t2"):
            keeper.take(*bench.ended(token), FAILED)
        keeper.take(*bench.ended("t3"), KILLED)  # when it began nobody knows
        await bench.empty()
    got = {token: (files, reasons) for token, files, reasons in bench.coordinator.got}
    assert got["t1"][0]["device-log.txt"] == b"10-01 12:00:00.000 I app: hello\n"
    assert got["t2"] == ({"log.txt": b"printed by t2\n"}, ["no device log: the device is not connected"])
    assert got["t3"][1] == []
    assert asked[0][1:] == (NOW - 1_000, NOW)
