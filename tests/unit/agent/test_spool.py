"""The journal of results: what was appended outlives any death, what is torn is dropped, what is known is forgotten."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from qgjob_agent import spool as spool_module
from qgjob_agent.core.values import DeathCause, Finished, Outcome, SpooledReport, TestResult, TreeDead
from qgjob_agent.errors import StateDirError
from qgjob_agent.spool import Spool
from tests.fakes.file_room import room_for


def finished(report_id: int, summary: str = "ok") -> SpooledReport:
    body = Finished(Outcome.TEST_FAILED, 1, 2, 3, TestResult(1, 2, 3, 4, summary), "why", 5, True, True)
    return SpooledReport(report_id, f"acme~{report_id}", f"t{report_id}", 2, "d1", body)


def dead(report_id: int) -> SpooledReport:
    body = TreeDead(DeathCause.LEASE_LOST, 7, started=True)
    return SpooledReport(report_id, f"acme~{report_id}", f"t{report_id}", 1, "d1", body)


def ids(path: Path) -> list[int]:
    opened = Spool(path)
    opened.close()
    return list(opened.pending)


@pytest.mark.parametrize(
    ("cause", "before"),
    [(DeathCause.DISK_FULL, DeathCause.SHUTDOWN), (DeathCause.AGENT_LOST, DeathCause.DEVICE_LOST)],
)
def test_a_cause_that_earlier_versions_do_not_know_is_kept_beside_one_that_they_know(
    tmp_path: Path, cause: DeathCause, before: DeathCause
) -> None:
    """They take the line that has it for a removal of what is not there."""
    path = tmp_path / "spool"
    spool = Spool(path)
    spool.append([dead(1), SpooledReport(2, "acme~2", "t2", 1, "d1", TreeDead(cause, 7, started=True))])
    assert [_cause(path, n) for n in (1, 2)] == [DeathCause.LEASE_LOST, cause]
    spool.remove([1])
    spool._compact()
    spool.close()
    assert _cause(path, 2) is cause
    added, causes = path.read_bytes().splitlines(keepends=True)
    assert causes.endswith(b'["cause",["2 %b"]]\n' % cause.value.encode())
    path.write_bytes(added)
    assert _cause(path, 2) is before


@pytest.mark.parametrize(
    "entry",
    [
        b'["+",[[1,"acme~1","t1",1,"d1","finished","later",1,2,3,null,null,null,false,true]]]',
        b'["+",[[1,"acme~1","t1",1,"d1","dead","later",7,true]]]',
        b'["+",[[1,"acme~1","t1",1,"d1","dead","revoked",7,true,"later"]]]',
        b'["cause",[{"2":"later"}]]',
        b'["cause",["2 later"]]',
    ],
)
def test_results_of_a_newer_version_are_said_to_be_and_stay(tmp_path: Path, entry: bytes) -> None:
    path = tmp_path / "spool"
    spool = Spool(path)
    spool.append([finished(1), dead(2)])
    spool.close()
    with path.open("ab") as file:
        file.write(b"%08x %b\n" % (zlib.crc32(entry), entry))
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(StateDirError, match=r"start the newer version again that wrote them"):
            Spool(path)
    assert path.read_bytes() == before


def _cause(path: Path, report_id: int) -> DeathCause:
    again = Spool(path)
    again.close()
    body = again.pending[report_id].body
    assert isinstance(body, TreeDead)
    assert (body.ended_at_ms, body.started) == (7, True)
    return body.cause


def test_every_field_survives(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    first = Spool(path)
    first.append([finished(1, 'quotes " and \n lines'), dead(2)])
    first.close()
    again = Spool(path)
    again.close()
    one, two = again.pending[1], again.pending[2]
    assert (one.job_id, one.token, one.attempt, one.device_id) == ("acme~1", "t1", 2, "d1")
    assert isinstance(one.body, Finished)
    assert one.body.result is not None
    expected = (Outcome.TEST_FAILED, 1, 2, 3, 'quotes " and \n lines', "why", 5, True, True)
    body = one.body
    assert expected == (
        *(body.outcome, body.started_at_ms, body.ended_at_ms, body.duration_ms),
        *(body.result.summary, body.error, body.install_ms, body.unresolvable, body.begun),
    )
    assert isinstance(two.body, TreeDead)
    assert (two.body.cause, two.body.ended_at_ms, two.body.started) == (DeathCause.LEASE_LOST, 7, True)


def test_a_journal_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    body = b'["+",[[1,"acme~1","t1",2,"d1","finished","passed",1,2,3,null,null,5,false]]]'
    path.write_bytes(b"%08x %b\n" % (zlib.crc32(body), body))
    again = Spool(path)
    again.close()
    found = again.pending[1].body
    assert isinstance(found, Finished)
    assert (found.outcome, found.install_ms, found.begun) == (Outcome.PASSED, 5, False)  # its start was sent alone


@pytest.mark.parametrize(("unfetched", "host_unfit"), [(False, False), (False, True), (True, False), (True, True)])
def test_what_could_not_be_had_is_known_after_a_restart(tmp_path: Path, unfetched: bool, host_unfit: bool) -> None:
    path = tmp_path / "spool"
    first = Spool(path)
    body = Finished(Outcome.PROVIDER_ERROR, 1, 2, 0, error="away", unfetched=unfetched, host_unfit=host_unfit)
    first.append([SpooledReport(1, "acme~1", "t1", 1, "d1", body)])
    first.close()
    again = Spool(path)
    again.close()
    found = again.pending[1].body
    assert isinstance(found, Finished)
    assert (found.error, found.begun) == ("away", False)
    assert (found.unfetched, found.host_unfit) == (unfetched, host_unfit)


def test_acknowledged_reports_are_gone_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    opened = Spool(path)
    opened.append([finished(1), finished(2), finished(3)])
    opened.remove([1, 3])
    opened.close()
    assert ids(path) == [2]


def test_the_journal_is_empty_when_everything_is_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    opened = Spool(path)
    opened.append([finished(1)])
    opened.append([finished(2)])
    opened.remove([1])
    opened.remove([2])
    assert path.stat().st_size == 0
    opened.append([finished(3)])
    opened.close()
    assert ids(path) == [3]


@pytest.mark.parametrize("torn", [b"3f2a", b'deadbeef ["+",[[9', b'00000000 ["+",[]]\n', b"\x00\xff\n"])
def test_a_torn_last_line_is_dropped_and_said(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "spool"
    opened = Spool(path)
    opened.append([finished(1)])
    opened.close()
    with path.open("ab") as file:
        file.write(torn)
    again = Spool(path)
    assert list(again.pending) == [1]
    assert again.dropped_bytes == len(torn)
    again.append([finished(2)])  # and what follows is not hidden behind it
    again.close()
    assert ids(path) == [1, 2]


def test_every_cut_of_the_journal_leaves_a_prefix(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    opened = Spool(path)
    for report_id in (1, 2, 3):
        opened.append([finished(report_id)])
    opened.close()
    whole = path.read_bytes()
    line = len(whole) // 3
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        assert ids(path) == list(range(1, cut // line + 1))


def test_a_long_journal_is_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "_COMPACT_BYTES", 4_000)
    path = tmp_path / "spool"
    opened = Spool(path)
    opened.append([finished(1)])
    for report_id in range(2, 100):
        opened.append([finished(report_id)])
        opened.remove([report_id])
    assert path.stat().st_size < 5_000
    opened.append([finished(100)])
    opened.close()
    assert ids(path) == [1, 100]


def test_a_refused_write_records_nothing_and_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "spool"
    opened = Spool(path)
    opened.append([finished(1)])
    write = os.write
    calls = 0

    def half_then_full(fd: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            return write(fd, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", half_then_full)
    with pytest.raises(OSError, match="No space left"):
        opened.append([finished(2)])
    monkeypatch.setattr(os, "write", write)
    assert list(opened.pending) == [1]
    opened.append([finished(3)])
    opened.close()
    assert ids(path) == [1, 3]


def test_what_was_appended_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    code = f"""
import os, signal
from pathlib import Path
from tests.unit.agent.test_spool import Spool, finished
spool = Spool(Path({str(path)!r}))
spool.append([finished(1), finished(2)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(__file__).parents[3]
    ended = subprocess.run([sys.executable, "-c", code], cwd=root, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert ids(path) == [1, 2]


def test_proving_room_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    opened = Spool(path)
    opened.append([finished(1)])
    before = path.read_bytes()
    opened.prove_room()
    assert path.read_bytes() == before
    opened.append([finished(2)])
    opened.close()
    assert ids(path) == [1, 2]


def test_a_few_bytes_are_no_room(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    opened = Spool(path)
    opened.append([finished(1)])
    before = path.read_bytes()
    with room_for(len(before) + 4_096), pytest.raises(OSError, match="File too large"):
        opened.prove_room()
    assert path.read_bytes() == before
    opened.append([finished(2)])
    opened.close()
    assert ids(path) == [1, 2]


def test_half_a_line_that_can_not_be_cut_off_at_once_is_cut_off_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "spool"
    opened = Spool(path)
    opened.append([finished(1)])

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with room_for(path.stat().st_size + 10), monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", refuse)
        with pytest.raises(OSError, match="Input/output error"):
            opened.append([finished(2)])
    opened.append([finished(3)])
    opened.close()
    assert ids(path) == [1, 3]


def test_what_a_rewriting_left_that_was_cut_short_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "spool"
    monkeypatch.setattr(spool_module, "_COMPACT_BYTES", 300)
    opened = Spool(path)
    opened.append([finished(n) for n in range(1, 20)])

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="No space left"):
            opened.remove([1])
    assert not path.with_suffix(".new").exists()
    opened.close()
    path.with_suffix(".new").write_bytes(b"half")  # of a daemon that died
    assert ids(path) == list(range(2, 20))
    assert not path.with_suffix(".new").exists()


def test_forgetting_what_was_never_written_needs_no_room(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    opened = Spool(path)
    opened.append([finished(1)])
    with room_for(1):
        opened.remove([7])
    opened.close()
    assert ids(path) == [1]
