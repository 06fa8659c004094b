"""The output of a command, on a disk that refuses a part of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qgjob_agent.executions.output_file import OutputFile
from tests.fakes.file_room import room_for


def test_what_comes_after_a_refused_part_stays_behind_it(tmp_path: Path) -> None:
    output = OutputFile(str(tmp_path / "output"), 1_000)
    with room_for(5):
        output.write(b"0123456789")
    output.write(b"abc")
    lost = output.close()
    begin, _, end = (tmp_path / "output").read_bytes().split(b"\n")
    assert (begin, end, lost) == (b"01234", b"56789abc", 0)


def test_what_a_full_disk_refused_is_counted(tmp_path: Path) -> None:
    output = OutputFile(str(tmp_path / "output"), 1_000)
    with room_for(5):
        output.write(b"0123456789")
    output.write(b"abc")
    with room_for(5):
        lost = output.close()
    assert ((tmp_path / "output").read_bytes(), lost) == (b"01234", 8)


@pytest.mark.parametrize("how", ["over the limit", "refused by the disk"])
def test_when_something_was_printed_is_seen_though_nothing_more_is_kept(tmp_path: Path, how: str) -> None:
    path = tmp_path / "output"
    output = OutputFile(str(path), 10)
    with room_for(5 if how == "refused by the disk" else 1_000):
        output.write(b"0123456789abc")
    kept = path.read_bytes()
    os.utime(path, ns=(0, 0))
    output.write(b"more")
    assert (path.read_bytes(), path.stat().st_mtime_ns > 0) == (kept, True)
    output.close()
