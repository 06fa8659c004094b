"""Logs on their way: followed in pieces, kept in small while no session takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob_agent.runners.log_follower import LogFollower
from qgjob_agent.stream.log_buffer import LogBuffer, Piece

if TYPE_CHECKING:
    from pathlib import Path


class Sink:
    def __init__(self) -> None:
        self.pieces: list[tuple[int, bytes]] = []

    def log(self, job_id: str, token: str, offset: int, data: bytes) -> None:
        assert (job_id, token) == ("acme~1", "t1")
        self.pieces.append((offset, data))


def test_a_follower_goes_on_where_it_was(tmp_path: Path) -> None:
    path, sink = tmp_path / "output", Sink()
    follower = LogFollower(path, "acme~1", "t1", sink)
    follower.read()  # nothing printed yet
    path.write_bytes(b"one")
    follower.read()
    follower.read()
    with path.open("ab") as file:
        file.write(b"two")
    follower.read()
    assert sink.pieces == [(0, b"one"), (3, b"two")]


def test_a_follower_that_is_far_behind_skips_ahead(tmp_path: Path) -> None:
    path, sink = tmp_path / "output", Sink()
    path.write_bytes(b"a" * 100_000 + b"end")
    LogFollower(path, "acme~1", "t1", sink).read()
    [(offset, data)] = sink.pieces
    assert (offset, len(data)) == (100_003 - 65_536, 65_536)
    assert data.endswith(b"end")


def piece(token: str, offset: int, data: bytes) -> Piece:
    return Piece("acme~1", token, offset, data)


def taken(buffer: LogBuffer) -> list[tuple[str, int, bytes]]:
    found = []
    while (waiting := buffer.take()) is not None:
        found.append((waiting.token, waiting.offset, waiting.data))
    assert not buffer
    return found


def filled(*sizes: int, attempt_bytes: int = 10_000, all_bytes: int) -> LogBuffer:
    """Logs `a`, `b`, … of these sizes."""
    buffer = LogBuffer(attempt_bytes, all_bytes)
    for token, size in zip("abcdef", sizes, strict=False):
        buffer.add(piece(token, 0, bytes(size)))
    return buffer


def test_what_waits_leaves_in_order_and_once() -> None:
    buffer = LogBuffer()
    for token, offset, data in (("a", 0, b"1"), ("b", 0, b"22"), ("a", 1, b"333")):
        buffer.add(piece(token, offset, data))
    assert taken(buffer) == [("a", 0, b"1333"), ("b", 0, b"22")]
    buffer.add(piece("a", 4, b"4"))
    assert taken(buffer) == [("a", 4, b"4")]


def test_one_attempt_is_taken_before_the_others() -> None:
    buffer = LogBuffer()
    buffer.add(piece("a", 0, b"1"))
    buffer.add(piece("b", 0, b"2"))
    assert buffer.take_of("b") == piece("b", 0, b"2")
    assert buffer.take_of("b") is None
    assert buffer.take_of("c") is None
    assert taken(buffer) == [("a", 0, b"1")]


def test_an_attempt_keeps_its_end() -> None:
    buffer = LogBuffer(attempt_bytes=10, all_bytes=1_000)
    buffer.add(piece("a", 0, b"abcdef"))
    buffer.add(piece("a", 6, b"ghijklm"))
    assert taken(buffer) == [("a", 3, b"defghijklm")]


def test_a_piece_after_a_gap_takes_the_place_of_what_was_before() -> None:
    buffer = LogBuffer()
    buffer.add(piece("a", 0, b"old"))
    buffer.add(piece("a", 100, b"new"))
    assert taken(buffer) == [("a", 100, b"new")]
    buffer.rewind()
    assert taken(buffer) == [("a", 100, b"new")]


def test_without_room_each_log_keeps_its_last_kb() -> None:
    buffer = filled(3_000, 3_000, 3_000, all_bytes=7_500)
    assert [(token, offset, len(data)) for token, offset, data in taken(buffer)] == [
        ("a", 1_976, 1_024),
        ("b", 0, 3_000),
        ("c", 0, 3_000),
    ]


def test_without_room_what_was_sent_goes_first() -> None:
    buffer = filled(3_000, 3_000, all_bytes=7_500)
    assert buffer.take_of("b") is not None
    buffer.add(piece("c", 0, bytes(3_000)))
    buffer.rewind()
    assert [(token, len(data)) for token, _, data in taken(buffer)] == [("a", 3_000), ("c", 3_000)]


def test_a_lost_session_sends_again_what_two_heartbeats_do_not_vouch_for() -> None:
    buffer = LogBuffer()
    buffer.add(piece("a", 0, b"first "))
    buffer.take()
    buffer.mark(1)
    buffer.add(piece("a", 6, b"second "))
    buffer.take()
    buffer.mark(2)
    buffer.add(piece("a", 13, b"third"))
    buffer.confirm(1)
    buffer.rewind()
    assert taken(buffer) == [("a", 0, b"first second third")]
    buffer.mark(1)
    buffer.add(piece("a", 18, b" fourth"))
    buffer.take()
    buffer.mark(2)
    buffer.confirm(2)
    buffer.rewind()
    assert taken(buffer) == [("a", 18, b" fourth")]


def test_what_the_coordinator_has_takes_no_room() -> None:
    buffer = filled(3_000, 3_000, all_bytes=7_500)
    assert len(taken(buffer)) == 2
    buffer.mark(1)
    buffer.mark(2)
    buffer.confirm(2)
    buffer.rewind()
    assert taken(buffer) == []
    buffer.add(piece("c", 0, bytes(7_500)))
    assert [len(data) for _, _, data in taken(buffer)] == [7_500]


def test_unsent_data_are_never_taken_for_confirmed() -> None:
    buffer = LogBuffer()
    buffer.add(piece("a", 0, b"sent"))
    buffer.take()
    buffer.add(piece("a", 4, b"unsent"))
    buffer.mark(1)
    buffer.mark(2)
    buffer.confirm(2)
    assert taken(buffer) == [("a", 4, b"unsent")]
