"""A file of events that a test may write what it likes to."""

from __future__ import annotations

from pathlib import Path

from qgjob_agent.executions.event_lines import EventLines


def test_whole_lines_are_read_once_and_half_ones_when_they_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "events"
    lines = EventLines(str(path))
    assert (lines.read(), lines.grown()) == ([], False)
    path.write_text('{"a": 1}\n{"a"')
    assert lines.grown()
    assert lines.read() == [{"a": 1}]
    assert lines.read() == []
    with path.open("a") as file:
        file.write(': 2}\n{"a": 3}\n')
    assert lines.read() == [{"a": 2}, {"a": 3}]
    assert not lines.grown()


def test_what_is_no_object_is_counted_and_left(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_bytes(b'[1]\n\xff\xfe\nno json\n{"a": 1}\n' + b"[" * 100_000 + b"\n")
    lines = EventLines(str(path))
    assert lines.read() == [{"a": 1}]
    assert lines.strange == 4


def test_a_flood_has_an_end(tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_bytes(b"x" * 300_000 + b'\n{"a": 1}\n')
    assert EventLines(str(path)).read() == []
    path.write_bytes((b'{"a": "' + b"x" * 1_000 + b'"}\n') * 20_000)
    read = EventLines(str(path)).read()
    assert 16_000_000 < 1_010 * len(read) < 17_500_000
