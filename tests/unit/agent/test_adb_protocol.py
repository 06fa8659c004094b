"""The smart-socket protocol without I/O: any cut of the bytes means the same, and nonsense is refused."""

from __future__ import annotations

import contextlib
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgjob_agent.devices.adb.protocol import (
    AdbProtocolError,
    AdbRefusedError,
    Answer,
    Listed,
    ShellFrames,
    Stream,
    Texts,
    parse_devices,
    request,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


def cuts(data: bytes, at: list[int]) -> list[bytes]:
    """The data in pieces, some of which are empty."""
    places = sorted({0, len(data), *(each % (len(data) + 1) for each in at)})
    return [data[a:b] for a, b in pairwise(places)]


def counted(text: str) -> bytes:
    return f"{len(text.encode()):04x}".encode() + text.encode()


AT = st.lists(st.integers(0, 10_000), max_size=8)


def test_a_request_names_its_length_in_bytes() -> None:
    assert request("host:version") == b"000chost:version"
    assert request("shell:é") == b"0008shell:\xc3\xa9"
    with pytest.raises(ValueError, match="65535 are the most"):
        request("x" * 0x10000)


@given(st.lists(TEXT, max_size=5), AT)
def test_texts_are_the_same_however_they_come(texts: list[str], at: list[int]) -> None:
    data = b"".join(counted(text) for text in texts)
    reader = Texts()
    assert [text for piece in cuts(data, at) for text in reader.feed(piece)] == texts


@given(st.binary(max_size=50), AT)
def test_what_follows_okay_is_kept(rest: bytes, at: list[int]) -> None:
    answer = Answer()
    for piece in cuts(b"OKAY" + rest, at):
        answer.feed(piece)
    assert (answer.done, answer.rest) == (True, rest)


@given(TEXT, AT)
def test_a_refusal_has_its_whole_message(text: str, at: list[int]) -> None:
    answer = Answer()
    pieces = cuts(b"FAIL" + counted(text), at)
    for piece in pieces[:-1]:
        answer.feed(piece)
    with pytest.raises(AdbRefusedError) as caught:
        answer.feed(pieces[-1])
    assert str(caught.value) == text.strip()


@given(st.lists(st.tuples(st.sampled_from(list(Stream)), st.binary(max_size=40)), max_size=5), AT)
def test_frames_are_the_same_however_they_come(frames: list[tuple[Stream, bytes]], at: list[int]) -> None:
    data = b"".join(struct.pack("<BI", stream, len(piece)) + piece for stream, piece in frames)
    reader = ShellFrames()
    assert [frame for piece in cuts(data, at) for frame in reader.feed(piece)] == frames


@given(st.binary(min_size=4, max_size=60))
def test_nonsense_is_refused_or_waited_on_and_never_crashes(data: bytes) -> None:
    for reader in (Answer(), Texts(), ShellFrames()):
        with contextlib.suppress(AdbProtocolError, AdbRefusedError):
            reader.feed(data)


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n", b"-ERR unknown command\r\n"])
def test_another_program_on_the_port_is_told(data: bytes) -> None:
    with pytest.raises(AdbProtocolError, match="OKAY or FAIL was expected"):
        Answer().feed(data)
    with pytest.raises(AdbProtocolError, match="four hexadecimal digits"):
        Texts().feed(data)


def test_a_frame_that_is_none_is_refused() -> None:
    with pytest.raises(AdbProtocolError, match="id 9"):
        ShellFrames().feed(struct.pack("<BI", 9, 1) + b"x")
    with pytest.raises(AdbProtocolError, match="4294967295 bytes"):
        ShellFrames().feed(struct.pack("<BI", 1, 0xFFFFFFFF))


def test_the_list_of_devices() -> None:
    text = (
        "emulator-5554\tdevice\n"
        "192.168.1.5:5555\toffline\n"
        "R5CT1234ABC\tno permissions (user in plugdev group; are your udev rules wrong?); see [http://x]\n"
        "adb-R5CT-abc (2)._adb-tls-connect._tcp\tdevice\n"
        "????????????\tno permissions\n"
        "a line of no device\n"
        "emulator-5554\tdevice\n"
    )
    assert parse_devices(text) == [
        Listed("emulator-5554", "device"),
        Listed("192.168.1.5:5555", "offline"),
        Listed("R5CT1234ABC", "no permissions (user in plugdev group; are your udev rules wrong?); see [http://x]"),
        Listed("adb-R5CT-abc (2)._adb-tls-connect._tcp", "device"),
    ]
    assert parse_devices("") == []
