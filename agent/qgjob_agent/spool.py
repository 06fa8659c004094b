"""The journal of results that the coordinator has not acknowledged.

Lines of `checksum json`: `["+", [report, …]]` adds, `["-", [report_id, …]]` removes, `["cause", ["id cause", …]]`
has causes that earlier versions do not know, and take for a removal of what is not there. One write a flush; what was
written survives a kill -9 of the process. Results are not fsynced: losing the host's power
loses its running tests as well, and both are requeued. A torn last line is dropped: nothing of it had been sent.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qgjob_agent.core.values import DeathCause, Finished, Outcome, SpooledReport, TestResult, TreeDead
from qgjob_agent.errors import StateDirError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_COMPACT_BYTES = 8_000_000
_ROOM_BYTES = 65_536  # for the results of some hundred attempts
# Earlier versions may read what is written here. What they have no word for has the one that comes nearest.
_WORD_OF_BEFORE = {DeathCause.DISK_FULL: DeathCause.SHUTDOWN, DeathCause.AGENT_LOST: DeathCause.DEVICE_LOST}


class Spool:
    """The open journal. Every method raises OSError where the disk refuses; then nothing of that call is recorded.

    Opening it raises StateDirError, and leaves it as it is, where a newer version has written what this one can't read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.pending: dict[int, SpooledReport] = {}
        self.dropped_bytes = 0
        self._torn = False
        self._beside.unlink(missing_ok=True)  # of a daemon that died while it rewrote the journal
        try:
            self._load()
        except (ValueError, TypeError, AttributeError) as error:
            os.close(self._fd)
            raise StateDirError(
                f"results in {str(path)!r} are not as this version writes them ({error}), and none of them is lost; "
                "start the newer version again that wrote them, and drain it before going back"
            ) from error
        self._size = os.fstat(self._fd).st_size

    @property
    def _beside(self) -> Path:
        return self._path.with_suffix(".new")

    def _load(self) -> None:
        content = self._path.read_bytes()
        good = 0
        for line in content.splitlines(keepends=True):
            entry = _decode_line(line)
            if entry is None:
                break
            self._apply(entry)
            good += len(line)
        self.dropped_bytes = len(content) - good
        if self.dropped_bytes:
            os.ftruncate(self._fd, good)

    def _apply(self, entry: list[Any]) -> None:
        sign, items = entry
        if sign == "+":
            for item in items:
                report = _report_of(item)
                self.pending[report.report_id] = report
        elif sign == "cause":
            for item in items:
                self._tell_cause(*item.split(" "))
        else:
            for report_id in items:
                self.pending.pop(report_id, None)

    def _tell_cause(self, report_id: str, cause: str) -> None:
        report = self.pending.get(int(report_id))
        if report is not None and isinstance(report.body, TreeDead):
            body = replace(report.body, cause=DeathCause(cause))
            self.pending[report.report_id] = replace(report, body=body)

    def append(self, reports: list[SpooledReport]) -> None:
        """Writes reports down; they survive this process when this returns."""
        self._write(_lines_of(reports))
        for report in reports:
            self.pending[report.report_id] = report

    def remove(self, report_ids: list[int]) -> None:
        """Forgets acknowledged reports. Empties the journal when nothing is left, rewrites it when it has grown."""
        gone = [report_id for report_id in report_ids if report_id in self.pending]
        if not gone:
            return
        if len(gone) == len(self.pending):
            os.ftruncate(self._fd, 0)
            self._size = 0
        else:
            self._write(_line(["-", gone]))
        for report_id in gone:
            del self.pending[report_id]
        if self._size > _COMPACT_BYTES:
            self._compact()

    def prove_room(self) -> None:
        """Takes room for results and gives it back. A few bytes prove nothing: they may fit into the last block."""
        self._write(b"\0" * _ROOM_BYTES)
        self._size -= _ROOM_BYTES
        self._torn = True
        self._cut()

    def _write(self, line: bytes) -> None:
        self._cut()
        written = 0
        try:
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except OSError:
            self._torn = written > 0
            self._cut()
            raise
        self._size += len(line)

    def _cut(self) -> None:
        """Takes away what is not a whole line: half of one would hide all that follow."""
        if self._torn:
            os.ftruncate(self._fd, self._size)
            self._torn = False

    def _compact(self) -> None:
        beside = self._beside
        content = _lines_of(self.pending.values())
        fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            view = content
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
            beside.replace(self._path)
        except OSError:
            os.close(fd)
            beside.unlink(missing_ok=True)  # what little room it took is needed
            raise
        os.close(self._fd)
        self._fd, self._size = fd, len(content)

    def close(self) -> None:
        """Ends the writing."""
        os.close(self._fd)


def _line(entry: list[Any]) -> bytes:
    body = json.dumps(entry, separators=(",", ":")).encode()
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _lines_of(reports: Collection[SpooledReport]) -> bytes:
    """Adds reports, with the causes that earlier versions do not know."""
    causes = [
        f"{report.report_id} {report.body.cause.value}"
        for report in reports
        if isinstance(report.body, TreeDead) and report.body.cause in _WORD_OF_BEFORE
    ]
    added = _line(["+", [_item_of(report) for report in reports]])
    return added + _line(["cause", causes]) if causes else added


def _decode_line(line: bytes) -> list[Any] | None:
    checksum, _, body = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(body):
        return None
    entry: list[Any] = json.loads(body)
    return entry


def _item_of(report: SpooledReport) -> list[Any]:
    """A report as a JSON array: shorter and faster than an object; the first five are its identity."""
    body = report.body
    head = [report.report_id, report.job_id, report.token, report.attempt, report.device_id]
    if isinstance(body, TreeDead):
        cause = _WORD_OF_BEFORE.get(body.cause, body.cause)
        return [*head, "dead", cause.value, body.ended_at_ms, body.started]
    result = body.result
    return [
        *head,
        "finished",
        body.outcome.value,
        body.started_at_ms,
        body.ended_at_ms,
        body.duration_ms,
        None if result is None else [result.passed, result.failed, result.skipped, result.duration_ms, result.summary],
        body.error,
        body.install_ms,
        body.unresolvable,
        body.begun,
        *([body.unfetched] if body.unfetched or body.host_unfit else []),  # earlier versions know neither
        *([True] if body.host_unfit else []),
    ]


def _report_of(item: list[Any]) -> SpooledReport:
    report_id, job_id, token, attempt, device_id, kind, *rest = item
    body: Finished | TreeDead
    if kind == "dead":
        cause, ended_at_ms, started = rest
        body = TreeDead(DeathCause(cause), ended_at_ms, started)
    else:
        outcome, started_at_ms, ended_at_ms, duration_ms, result, error, install_ms, unresolvable, *begun = rest
        body = Finished(
            Outcome(outcome),
            started_at_ms,
            ended_at_ms,
            duration_ms,
            None if result is None else TestResult(*result),
            error,
            install_ms,
            unresolvable,
            begun[:1] == [True],  # earlier versions did not write it, and sent each Started
            begun[1:2] == [True],
            begun[2:3] == [True],
        )
    return SpooledReport(report_id, job_id, token, attempt, device_id, body)
