"""The output of a command, on a disk that refuses a part of it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qgjob_agent.output_file import OutputFile


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Files of this process may have so many bytes: what goes beyond is refused, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


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
