"""Evidence on a disk, or of a device, that is not well at the moment: it stays, is asked again, and goes together."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from qgjob_agent.evidence import keeper as keeping
from qgjob_agent.evidence import looking, sending
from qgjob_agent.evidence.batching import MOST_ATTEMPTS, MOST_BYTES, SMALL_BYTES, together, weight
from qgjob_agent.evidence.choice import Bounds, LeftOut, Named
from qgjob_agent.evidence.outgoing import KeeperSettings, Outgoing
from qgjob_agent.evidence.preparing import clear, prepared
from qgjob_agent.evidence.pushing import EvidenceAwayError, Sent
from qgjob_agent.evidence.sending import Sending
from qgjob_agent.evidence.shelf import Evidence, Kept, Whose
from tests.fakes.waiting import until
from tests.unit.agent.test_evidence import FAILED, KILLED, NOW, Bench

WHOSE = Whose("acme~1", "t1", 1, "d", None, 1, 2)
PASSING = [errno.EIO, errno.EMFILE, errno.ENOSPC]


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


class Disk:
    """Refuses what the agent does with paths of a name, until it is mended."""

    def __init__(self) -> None:
        self.refused = 0

    @contextmanager
    def failing(self, patch: pytest.MonkeyPatch, owner: Any, does: str, name: str, code: int) -> Any:
        real: Callable[..., Any] = getattr(owner, does)

        def call(path: Any, *args: Any, **more: Any) -> Any:
            if Path(path).name == name:
                self.refused += 1
                raise OSError(code, os.strerror(code))
            return real(path, *args, **more)

        with patch.context() as inner:
            inner.setattr(owner, does, call)
            yield


@pytest.fixture
def disk() -> Disk:
    return Disk()


def reading(disk: Disk, patch: pytest.MonkeyPatch, code: int) -> AbstractContextManager[None]:
    made: AbstractContextManager[None] = disk.failing(patch, Path, "read_text", "meta.json", code)
    return made


@pytest.mark.parametrize("code", PASSING)
async def test_what_the_disk_does_not_give_back_at_the_moment_stays_and_is_read_again(
    bench: Bench, disk: Disk, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    bench.keeper().take(*bench.ended("t1", a="a"), FAILED)
    with capture_logs() as logs:
        with reading(disk, monkeypatch, code):
            keeper = bench.running()
            await keeper.__aenter__()
            await until(lambda: disk.refused > 2, "it is read once")
        await bench.empty()
        await keeper.__aexit__(None, None, None)
    assert [(token, files["a"]) for token, files, _ in bench.coordinator.got] == [("t1", b"a")]
    said = [(each["event"], each.get("error")) for each in logs]
    assert said.count(("evidence_not_read", os.strerror(code))) == 1


async def test_what_says_no_more_whose_it_is_goes_and_that_is_told(bench: Bench) -> None:
    for token in ("t1", "t2", "t3", "t4", "t5", "t6", "t7"):
        bench.keeper().take(*bench.ended(token, a="a"), FAILED)
    places = sorted(bench.shelf._path.iterdir())
    (places[0] / "meta.json").write_text("{")
    (places[1] / "meta.json").unlink()
    (places[2] / "meta.json").write_text("[]")
    (places[3] / "meta.json").write_text("[" * 60_000)
    for place, wrong in ((places[4], {"ended_at_ms": "1"}), (places[5], {"job_id": "\ud800"})):
        told = json.loads((place / "meta.json").read_text())
        (place / "meta.json").write_text(json.dumps({"whose": told["whose"] | wrong}))
    with capture_logs() as logs:
        async with bench.running():
            await bench.empty()
    errors = {each["path"]: each["error"] for each in logs if each["event"] == "evidence_broken"}
    assert set(errors) == {each.name for each in places[:6]}
    assert "No such file" in errors[places[1].name]
    assert len(bench.coordinator.got) == 1


@pytest.mark.parametrize("code", PASSING)
@pytest.mark.parametrize(
    ("owner", "does", "name"),
    [(Path, "write_text", "meta.json.draft"), (looking.os, "open", "a"), (looking.os, "scandir", "files")],
)
async def test_a_look_that_the_disk_refuses_at_the_moment_costs_nothing(
    bench: Bench, disk: Disk, monkeypatch: pytest.MonkeyPatch, owner: Any, does: str, name: str, code: int
) -> None:
    with capture_logs() as logs:
        async with bench.running() as keeper:
            with disk.failing(monkeypatch, owner, does, name, code):
                keeper.take(*bench.ended("t1", a="a", b="b"), FAILED)
                await until(lambda: disk.refused > 2, "it is looked at once")
            await bench.empty()
    assert bench.coordinator.got == [("t1", {"log.txt": b"printed by t1\n", "a": b"a", "b": b"b"}, [])]
    events = [each["event"] for each in logs]
    assert events.count("evidence_not_looked_at") == 1
    assert "evidence_lost" not in events


@pytest.mark.parametrize("code", PASSING)
async def test_what_the_disk_takes_no_word_of_at_the_end_of_an_attempt_is_put_aside_all_the_same(
    bench: Bench, disk: Disk, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Its runner takes the files away behind it."""
    with capture_logs() as logs:
        async with bench.running() as keeper:
            with disk.failing(monkeypatch, Path, "write_text", "meta.json", code):
                keeper.take(*bench.ended("t1", a="a"), FAILED)
            await bench.empty()
    assert disk.refused == 1
    assert bench.coordinator.got == [("t1", {"log.txt": b"printed by t1\n", "a": b"a"}, [])]
    assert [each["event"] for each in logs] == ["evidence_sent"]


async def test_a_file_that_never_comes_back_is_left_out_and_the_rest_is_sent(
    bench: Bench, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "PATIENT_MS", -1)
    with disk.failing(monkeypatch, looking.os, "open", "a", errno.EIO):
        async with bench.running() as keeper:
            keeper.take(*bench.ended("t1", a="a", b="b"), FAILED)
            await bench.empty()
    ((_, files, reasons),) = bench.coordinator.got
    assert sorted(files) == ["b", "log.txt"]
    assert reasons == ["they are links or no plain files, or can't be read"]


def test_where_a_full_disk_takes_no_word_of_it_the_bytes_that_are_given_up_make_room(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = bench.shelf.take(WHOSE, *bench.ended("t1", a="a")[1:])
    assert evidence is not None
    real = Path.write_text

    def full(path: Path, *args: Any, **more: Any) -> int:
        if (evidence.path / "files").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, *args, **more)

    monkeypatch.setattr(Path, "write_text", full)
    gone = bench.shelf.drop(evidence, "too much waited")
    assert bench.shelf.read(evidence.path) == gone
    assert [each.reason for each in gone.left_out] == ["too much waited"]
    assert [each.name for each in evidence.path.iterdir()] == ["meta.json"]


def test_only_what_is_sent_stays_however_much_there_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "MOST_LOOKED_AT", 3)
    _, out, output = bench.ended("t1", **{f"f{n}": "x" for n in range(9)})
    (out / "link").symlink_to(output)
    evidence = bench.shelf.take(WHOSE, out, output)
    assert evidence is not None
    looked_at = prepared(evidence, Bounds(3, 1_000))
    clear(looked_at)
    assert len(looked_at.kept or ()) == 3
    assert left_on(looked_at) == {each.file.path for each in looked_at.kept or ()}
    nothing = replace(looked_at, kept=())
    clear(nothing)
    assert left_on(nothing) == set()


def left_on(evidence: Evidence) -> set[str]:
    files = {each.relative_to(evidence.path).as_posix() for each in evidence.path.rglob("*") if not each.is_dir()}
    return files - {"meta.json"}


async def test_an_agent_that_died_before_it_made_room_makes_it_in_its_next_life(bench: Bench) -> None:
    evidence = bench.shelf.take(replace(WHOSE, ended_at_ms=NOW), *bench.ended("t1", a="a", b="b")[1:])
    assert evidence is not None
    looked_at = prepared(evidence, Bounds(2, 1_000))
    bench.shelf.write(looked_at)
    bench.coordinator.errors = [EvidenceAwayError("away")] * 100
    async with bench.running():
        await until(lambda: bench.coordinator.asked, "it is not sent")
    assert left_on(looked_at) == {"log", "files/a"}


# ---- what goes together ----


def waiting(size: int, files: int = 1) -> Evidence:
    kept = tuple(Kept(Named(f"f{n}", f"f{n}", "log", size), "0" * 64) for n in range(files))
    return Evidence(Path("x"), Whose("acme~1", "t", 1, "d", None, 1, 2), kept)


def test_small_evidence_goes_together_in_order_and_large_goes_alone() -> None:
    small, large, many = waiting(3_000), waiting(SMALL_BYTES), waiting(1, 1000)
    assert together([large, small, small]) == [large]
    assert together([many, small]) == [many]
    assert together([small, large, small, many, small]) == [small] * 3
    assert len(together([small] * 250)) == MOST_ATTEMPTS
    half = waiting(250_000)
    assert together([half, half, half, half, small]) == [half, half, half, small]
    assert sum(map(weight, together([half] * 9))) <= MOST_BYTES
    wordy = Evidence(Path("x"), small.whose, (), tuple(LeftOut(1, 1, "x" * 500) for _ in range(20)))
    assert 40_000 < weight(wordy) < SMALL_BYTES


async def test_what_waits_goes_together_in_few_calls(bench: Bench) -> None:
    keeper = bench.keeper()
    for n in range(130):
        keeper.take(*bench.ended(f"t{n}"), FAILED)
    bench.coordinator.errors = [EvidenceAwayError("only this one")]
    async with bench.running():
        await bench.empty()
    assert sorted(token for token, _, _ in bench.coordinator.got) == sorted(f"t{n}" for n in range(130))
    assert (bench.coordinator.batches[0], sum(bench.coordinator.batches)) == (100, 131)
    assert len(bench.coordinator.batches) <= 3


async def test_what_comes_a_moment_later_goes_with_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "GATHER_SECONDS", 1.0)
    async with bench.running() as keeper:
        keeper.take(*bench.ended("t1"), FAILED)
        await until(lambda: keeper._outgoing.small.due is not None, "it is not looked at")
        keeper.take(*bench.ended("t2"), FAILED)
        await bench.empty()
    assert bench.coordinator.batches == [2]


def waiting_of(bench: Bench, push: Any, count: int) -> Sending:
    """So many attempts wait."""
    bounds = Bounds(10, 1_000_000)
    made = Outgoing(bench.shelf, KeeperSettings("all", bounds, 1_000_000), push, structlog.get_logger())
    for n in range(count):
        taken = bench.shelf.take(replace(WHOSE, token=f"t{n}", ended_at_ms=NOW), *bench.ended(f"t{n}")[1:])
        assert taken is not None
        made._put(prepared(taken, bounds))
    return made.small


async def test_a_call_that_is_kept_in_part_is_one_failure_and_its_rest_goes_behind_all_others(bench: Bench) -> None:
    async def push(several: Sequence[Evidence]) -> list[Sent]:
        return [EvidenceAwayError("its store is away") if n % 2 else 1 for n, _ in enumerate(several)]

    waiting = waiting_of(bench, push, 130)
    with capture_logs() as logs:
        await waiting.send()
        assert waiting.due is not None
        assert waiting.due <= asyncio.get_running_loop().time() + sending.FIRST_PAUSE_SECONDS
        order = [int(each.whose.token[1:]) for each in waiting.waiting]
        assert order == [*range(100, 130), *range(1, 100, 2)]
        await waiting.send()
    said = [each["event"] for each in logs]
    assert (said.count("evidence_waits"), said.count("evidence_goes_on")) == (1, 0)


async def test_where_a_whole_call_is_refused_for_now_others_come_before_it(bench: Bench) -> None:
    async def push(several: Sequence[Evidence]) -> list[Sent]:
        raise EvidenceAwayError("the store of their org is away")

    waiting = waiting_of(bench, push, 101)
    last = [*waiting.waiting][-1].path
    await waiting.send()
    assert next(iter(waiting.waiting)).path == last


async def test_a_fault_of_one_costs_none_that_went_with_it(bench: Bench) -> None:
    async def push(several: Sequence[Evidence]) -> list[Sent]:
        if any(each.path == faulty for each in several):
            raise ArithmeticError("a fault of ours")
        return [1 for _ in several]

    waiting = waiting_of(bench, push, 6)
    faulty = [*waiting.waiting][3].path
    with capture_logs() as logs:
        while waiting.due is not None:
            await waiting.send()
    assert [each["event"] for each in logs].count("evidence_sent") == 5
    assert [each["event"] for each in logs].count("evidence_failed") == 1
    assert not any(bench.shelf._path.iterdir())


# ---- what a device logged ----


async def test_what_a_device_logged_while_a_killed_test_ran_is_taken_too(bench: Bench) -> None:
    asked = []

    async def logs_of(device_id: str, since_ms: int, until_ms: int) -> bytes:
        asked.append((since_ms, until_ms))
        return b"10-01 12:00:00.000 I app: hello\n"

    async with bench.running(device_logs=logs_of) as keeper:
        keeper.take(*bench.ended("t1"), KILLED, NOW - 7_000)
        keeper.take(*bench.ended("t2"), KILLED)  # killed before it began
        await bench.empty()
    got = {token: files for token, files, _ in bench.coordinator.got}
    assert "device-log.txt" in got["t1"]
    assert "device-log.txt" not in got["t2"]
    assert asked == [(NOW - 7_000, NOW)]


async def test_a_device_that_is_not_found_yet_when_the_agent_begins_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the end of the host: what ran then is found before its device is."""
    monkeypatch.setattr(keeping, "DEVICES_SECONDS", 60.0)
    bench.keeper().take(*bench.ended("t1"), KILLED, NOW - 7_000)
    asked = []

    async def logs_of(device_id: str, *_: int) -> bytes:
        asked.append(device_id)
        if len(asked) < 3:
            raise OSError("the device is not connected")
        return b"10-01 12:00:00.000 I app: hello\n"

    async with bench.running(device_logs=logs_of) as keeper:
        keeper.take(*bench.ended("t2"), KILLED)  # what has no device log does not wait for it
        await bench.empty()
    got = {token: (sorted(files), reasons) for token, files, reasons in bench.coordinator.got}
    assert got["t1"] == (["device-log.txt", "log.txt"], [])
