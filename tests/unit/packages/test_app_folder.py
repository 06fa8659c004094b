"""A zip of an .app folder is looked through before it is kept: what no agent would unpack is refused at the push."""

from __future__ import annotations

import contextlib
import io
import stat
import tempfile
import threading
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgjob_agent.devices.apple import unpacking
from qgjob_agent.devices.apple.bundle import BundleError
from qgjob_coordinator.model.builds import Format, Kind
from qgjob_coordinator.packages import app_folder
from qgjob_coordinator.packages.errors import PackageError
from qgjob_coordinator.packages.package import read_package
from tests.fakes import packages

LINK = stat.S_IFLNK | 0o777
Members = Iterable[tuple[str, int, bytes]]


def app(members: Members) -> bytes:
    """A zip of an app for the simulator with these members too: their names, modes and contents."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("Example.app/Info.plist", packages.info_plist("iphonesimulator"))
        for name, mode, data in members:
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(member, data)
    return out.getvalue()


def why(members: Members) -> str:
    with pytest.raises(PackageError) as raised:
        read_package(io.BytesIO(app(members)), Format.APP)
    return str(raised.value)


def test_files_folders_links_that_stay_and_what_lies_beside_the_app_are_fine() -> None:
    members = [
        ("Example.app/", stat.S_IFDIR | 0o755, b""),
        ("Example.app/Example", stat.S_IFREG | 0o755, b"code"),
        ("Example.app/Frameworks/Kit", LINK, b"Versions/A/Kit"),
        ("Example.app/Frameworks/Up", LINK, b"../Example"),
        ("Example.app/a..b", 0, b""),
        ("__MACOSX/Example.app/link", LINK, b"/etc"),
        ("README", LINK, b"/beside/it"),
    ]
    assert read_package(io.BytesIO(app(members)), Format.APP).kind is Kind.SIMULATOR


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (("../evil", 0, b""), "has ../evil, which would lie outside of it; zip the .app folder again"),
        (("Example.app/../../evil", 0, b""), "would lie outside"),
        (("/evil", 0, b""), "would lie outside"),
        (("Example.app/a\\..\\evil", 0, b""), "would lie outside"),
        (("Example.app/out", LINK, b"/etc"), "has the link Example.app/out to '/etc', which leads out of it"),
        (("Example.app/out", LINK, b"a/../../.."), "leads out"),
        (("Example.app/a/out", LINK, b"../.."), "leads out"),
        (("Example.app/out", LINK, b""), "leads out"),
        (("Example.app/out", LINK, b"a\0b"), "leads out"),
        (("Example.app/out", LINK, b"x" * 5000), "has a Example.app/out of 5000 bytes; at most 4096 are read"),
        (("Example.app/\x1b[2J", LINK, b"/\x1b[2J"), "has the link Example.app/\\x1b[2J to '/\\x1b[2J'"),
        (("Example.app/pipe", stat.S_IFIFO | 0o644, b""), "neither a file nor a folder nor a link"),
    ],
)
def test_what_leads_out_is_refused(member: tuple[str, int, bytes], words: str) -> None:
    assert words in why([member])


def test_more_files_than_an_agent_unpacks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert app_folder.MAX_MEMBERS == unpacking.MAX_MEMBERS
    assert app_folder.MAX_LINK_BYTES == unpacking.MAX_LINK_BYTES
    monkeypatch.setattr(app_folder, "MAX_MEMBERS", 2)
    assert why([("Example.app/a", 0, b""), ("Example.app/b", 0, b"")]) == "has 3 files, and 2 are the most"


PARTS = st.sampled_from(["..", ".", "", "Example.app", "a", "b", "\\", "c\\..", "__MACOSX"])
NAMES = st.lists(PARTS, max_size=4).map(lambda parts: "/".join(["Example.app", *parts])) | st.lists(
    PARTS, min_size=1, max_size=4
).map("/".join)
MODES = st.sampled_from([0, stat.S_IFREG | 0o644, LINK, stat.S_IFDIR | 0o755, stat.S_IFSOCK])
TEXTS = st.sampled_from([b"", b"x", b"..", b"/etc/passwd", b"a/../..", b"./b", b"../Example.app", b"\xff"])


@given(st.lists(st.tuples(NAMES, MODES, TEXTS), max_size=4, unique_by=lambda member: member[0]))
def test_nothing_is_refused_that_an_agent_would_unpack(members: list[tuple[str, int, bytes]]) -> None:
    whole = app(members)
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(BundleError):
        path = packages.write(Path(folder) / "a.zip", whole)
        unpacking.unpack(path, Path("Example.app"), Path(folder) / "out", threading.Event())
        assert read_package(io.BytesIO(whole), Format.APP).kind is Kind.SIMULATOR
