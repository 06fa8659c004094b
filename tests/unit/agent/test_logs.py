"""Logs on their way: followed in pieces, kept in small while no session takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgjob_agent.log_buffer import LogBuffer, Piece
from qgjob_agent.log_follower import LogFollower

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
    follower.finish()
    assert sink.pieces == [(0, b"one"), (3, b"two")]


def test_a_follower_that_is_far_behind_skips_ahead(tmp_path: Path) -> None:
    path, sink = tmp_path / "output", Sink()
    path.write_bytes(b"a" * 100_000 + b"end")
    LogFollower(path, "acme~1", "t1", sink).read()
    [(offset, data)] = sink.pieces
    assert (offset, len(data)) == (100_003 - 65_536, 65_536)
    assert data.endswith(b"end")


def piece(token: str, size: int) -> Piece:
    return Piece("acme~1", token, 0, bytes(size))


def taken(buffer: LogBuffer) -> list[tuple[str, int]]:
    found = []
    while buffer:
        waiting = buffer.take()
        found.append((waiting.token, len(waiting.data)))
    return found


def test_what_waits_leaves_in_order() -> None:
    buffer = LogBuffer()
    for token, size in (("a", 1), ("b", 2), ("a", 3)):
        buffer.add(piece(token, size))
    assert taken(buffer) == [("a", 1), ("b", 2), ("a", 3)]


def test_an_attempt_keeps_its_last_pieces() -> None:
    buffer = LogBuffer(attempt_bytes=10, all_bytes=1_000)
    for size in (4, 5, 6):
        buffer.add(piece("a", size))
    buffer.add(piece("b", 9))
    assert taken(buffer) == [("a", 6), ("b", 9)]


def test_all_together_keep_to_the_limit() -> None:
    buffer = LogBuffer(attempt_bytes=10, all_bytes=25)
    for token in "abcd":
        buffer.add(piece(token, 10))
    assert taken(buffer) == [("c", 10), ("d", 10)]


def test_a_lone_large_piece_is_kept() -> None:
    buffer = LogBuffer(attempt_bytes=10, all_bytes=25)
    buffer.add(piece("a", 30))
    assert taken(buffer) == [("a", 30)]
    with pytest.raises(IndexError):
        buffer.take()
