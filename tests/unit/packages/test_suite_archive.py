"""Archives of suites: what is read, and what is refused, whoever made it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from qgjob_agent.suites import archive as agents
from qgjob_coordinator.packages import suite_archive as coordinators
from qgjob_coordinator.packages.suite_archive import MAX_FILES, MAX_FOLDERS, ArchiveError, Member, members
from tests.fakes.suites import GOOD, archive, with_member

LONG = "/".join(["tests", "x" * 200, "ü" * 60, "a.spec.js"])


def read(data: bytes) -> list[Member]:
    return list(members(io.BytesIO(data), len(data)))


def test_coordinator_and_agent_read_alike() -> None:
    ours, theirs = (Path(module.__file__ or "").read_text(encoding="utf-8") for module in (coordinators, agents))
    assert ours == theirs


def test_names_may_be_as_long_as_linux_takes_them() -> None:
    path = f"{'ü' * 127}a/{'a' * 252}.js"
    assert [each.path for each in read(archive({path: b""}))] == [path]


def test_files_are_found_with_what_is_in_them() -> None:
    data = archive({**GOOD, LONG: b"", "z/run.sh": b"#!/bin/sh\n" * 200}, executable=("z/run.sh",))
    found = {each.path: each for each in read(data)}
    assert list(found) == [*GOOD, LONG, "z/run.sh"]
    for path, content in GOOD.items():
        assert data[found[path].offset :][: found[path].size] == content
    assert [each.executable for each in found.values()] == [False, False, False, True]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("../up.js", "outside of the suite's folder"),
        ("a/../../up.js", "outside of the suite's folder"),
        ("/etc/passwd", "outside of the suite's folder"),
        ("./a.js", "outside of the suite's folder"),
        ("a//b.js", "outside of the suite's folder"),
        ("a\\..\\b.js", "no path of a suite"),
        ("a\nb.js", "no path of a suite"),
        ("a" * 1025, "a path of more than 1024 bytes|no path of a suite"),
        ("x" * 9000, "a path of more than 1024 bytes"),
        (f"tests/{'ü' * 127}ab/a.js", "a name of more than 255 bytes; shorten it"),
        (f"tests/{'a' * 253}.js", "a name of more than 255 bytes; shorten it"),
        ("lib/node_modules/x.js", "leave .git and node_modules out"),
        (".git/hooks/post-checkout", "leave .git and node_modules out"),
        ("package.json", "twice"),
        ("package.json/x", "twice"),
        ("tests", "twice"),
    ],
)
def test_a_path_that_is_none_of_a_suite_is_refused(path: str, words: str) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for each in (*GOOD, path):
            tar.addfile(tarfile.TarInfo(each))
    with pytest.raises(ArchiveError, match=words):
        read(made.getvalue())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "a link"),
        ({"type": tarfile.LNKTYPE, "linkname": "a.js"}, "a link"),
        ({"type": tarfile.CHRTYPE}, "a device"),
        ({"type": tarfile.BLKTYPE}, "a device"),
        ({"type": tarfile.FIFOTYPE}, "a pipe"),
        ({"type": tarfile.DIRTYPE}, "a folder of its own"),
        ({"type": tarfile.GNUTYPE_SPARSE}, "a sparse file"),
        ({"pax_headers": {"GNU.sparse.major": "1"}}, "a suite's has paths alone"),
        ({"pax_headers": {"size": "99999999999999"}}, "a suite's has paths alone"),
    ],
)
def test_what_is_no_file_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ArchiveError, match=words):
        read(with_member(**fields))


def test_a_size_that_is_not_there_is_refused() -> None:
    data = bytearray(archive({"a.js": b"x"}))
    data[124:136] = b"77777777777\0"  # 8 GB
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    with pytest.raises(ArchiveError, match="ends in the middle of a file"):
        read(bytes(data))


@pytest.mark.parametrize(
    "data",
    [b"", b"PK\x03\x04" + bytes(2000), archive(GOOD)[:700], archive(GOOD)[:512], bytes(1024), b"\x1f\x8b" + bytes(600)],
    ids=["empty", "zip", "cut", "cut after a header", "no file", "gzip"],
)
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    with pytest.raises(ArchiveError):
        read(data)


def test_any_damage_is_refused_or_read_as_files() -> None:
    """No byte makes it fail in another way, or name a file outside."""
    whole = archive({"tests/ü.js": b"1", "tests/b.js": b"2"})
    for at in range(0, 3000, 7):
        for value in (0, 0x2E, 0x2F, 0x78, 0xFF):
            data = bytearray(whole)
            data[at] = value
            try:
                found = read(bytes(data))
            except ArchiveError:
                continue
            assert all(".." not in each.path.split("/") and not each.path.startswith("/") for each in found)


def test_there_are_so_many_files_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_FILES == 50_000
    monkeypatch.setattr(coordinators, "MAX_FILES", 3)
    assert len(read(archive({f"{n}.js": b"" for n in range(3)}))) == 3
    with pytest.raises(ArchiveError, match="more than 3 files"):
        read(archive({f"{n}.js": b"" for n in range(4)}))


def test_there_are_so_many_folders_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_FOLDERS == 50_000
    monkeypatch.setattr(coordinators, "MAX_FOLDERS", 3)
    assert len(read(archive({"a/b/1.js": b"", "a/b/2.js": b"", "c/3.js": b""}))) == 3
    with pytest.raises(ArchiveError, match="more than 3 folders"):
        read(archive({"a/b/1.js": b"", "c/d/3.js": b""}))


def test_deep_paths_of_a_small_archive_are_refused() -> None:
    """Each folder of a path is a text of its own: those of a path of a thousand bytes are a quarter of a megabyte."""
    data = archive({f"{n:04}/{'a/' * 500}x.js": b"" for n in range(110)})
    with pytest.raises(ArchiveError, match="more than 50000 folders"):
        read(data)
