"""A zipped app is unpacked as it is, and nothing else of any archive ever is."""

from __future__ import annotations

import asyncio
import contextlib
import stat
import tempfile
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from qgjob_agent.builds.base import Build, BuildAwayError, BuildUnresolvedError
from qgjob_agent.core.values import Assignment
from qgjob_agent.devices.apple import unpacking
from qgjob_agent.devices.apple.bundle import Bundle, BundleError, read_bundle
from qgjob_agent.devices.apple.unpacked import IN_USE_SECONDS, KEPT, UnpackedBuilds
from qgjob_agent.devices.apple.unpacking import Stopped, unpack
from tests.fakes import packages

INFO = packages.info_plist("iphonesimulator")
APP = Path("Example.app")
LINK = stat.S_IFLNK | 0o777


def archive(path: Path, members: Mapping[str, tuple[int, bytes]]) -> Path:
    """A zip with these members: their modes and contents."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, (mode, data) in members.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(member, data)
    return path


def unpacked(path: Path, into: Path) -> Path:
    return unpack(path, APP, into, threading.Event())


def test_files_modes_folders_and_links_are_kept(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "a.zip",
        {
            "Example.app/": (stat.S_IFDIR | 0o755, b""),
            "Example.app/Info.plist": (stat.S_IFREG | 0o644, INFO),
            "Example.app/Example": (stat.S_IFREG | 0o755, b"code"),
            "Example.app/Frameworks/Kit": (LINK, b"Versions/A/Kit"),
            "Example.app/Frameworks/Versions/A/Kit": (stat.S_IFREG | 0o644, b"kit"),
            "Example.app/Empty/": (0, b""),
            "__MACOSX/Example.app/._Info.plist": (0, b"x"),
            "README": (0, b"beside it"),
        },
    )
    app = unpacked(path, tmp_path / "out")
    assert app == tmp_path / "out" / "Example.app"
    assert (app / "Info.plist").read_bytes() == INFO
    assert (app / "Example").stat().st_mode & 0o777 == 0o755
    assert (app / "Info.plist").stat().st_mode & 0o111 == 0
    assert (app / "Frameworks" / "Kit").is_symlink()
    assert (app / "Frameworks" / "Kit").read_bytes() == b"kit"
    assert (app / "Empty").is_dir()
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["Example.app"]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"../evil": (0, b"")}, "would lie outside"),
        ({"Example.app/../../evil": (0, b"")}, "would lie outside"),
        ({"/evil": (0, b"")}, "would lie outside"),
        ({"Example.app/a\\..\\evil": (0, b"")}, "would lie outside"),
        ({"Example.app/out": (LINK, b"/etc")}, "leads out"),
        ({"Example.app/out": (LINK, b"a/../../..")}, "leads out"),
        ({"Example.app/out": (LINK, b"..")}, "leads out"),
        ({"Example.app/out": (LINK, b"")}, "leads out"),
        ({"Example.app/out": (LINK, b"x" * 5000)}, "leads out"),
        ({"Example.app/pipe": (stat.S_IFIFO | 0o644, b"")}, "neither a file"),
        ({"Example.app/disk": (stat.S_IFBLK | 0o644, b"")}, "neither a file"),
    ],
)
def test_what_leads_out_is_refused(tmp_path: Path, members: dict[str, tuple[int, bytes]], words: str) -> None:
    with pytest.raises(BundleError, match=words):
        unpacked(archive(tmp_path / "a.zip", members), tmp_path / "out" / "deep")
    left = {each.name for each in tmp_path.rglob("*")} - {"a.zip", "out", "deep", "Example.app"}
    assert left <= {"a"}  # no link is made where one leads out


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    members = {"Example.app/a": (LINK, b"b"), "Example.app/b": (0, b"kept"), "Example.app/a/c": (0, b"through")}
    with pytest.raises(BundleError, match="can't be unpacked"):
        unpacked(archive(tmp_path / "a.zip", members), tmp_path / "out")
    assert not (tmp_path / "out" / "Example.app" / "a").is_symlink()


def test_a_bomb_is_refused_before_it_bursts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "a.zip", {f"Example.app/{n}": (0, b"\0" * 3_000_000) for n in range(3)})
    assert path.stat().st_size < 50_000
    monkeypatch.setattr(unpacking, "MAX_BYTES", 5_000_000)
    with pytest.raises(BundleError, match="more than 5000000 bytes"):
        unpacked(path, tmp_path / "out")
    assert sum(each.stat().st_size for each in (tmp_path / "out").rglob("*") if each.is_file()) <= 5_000_000
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 2)
    with pytest.raises(BundleError, match="has 3 files, and 2 are the most"):
        unpacked(path, tmp_path / "more")


@pytest.mark.parametrize(
    "last", [{}, {"Example.app/a/b/x/y": (LINK, b"z")}, {"Example.app/a/b/x/": (stat.S_IFDIR | 0o755, b"")}]
)
def test_links_that_lead_out_together_are_refused_and_nothing_is_made_through_one(
    tmp_path: Path, last: dict[str, tuple[int, bytes]]
) -> None:
    """Each by itself stays inside, and one through the other does not."""
    links = {"Example.app/a/a": (LINK, b".."), "Example.app/a/b": (LINK, b"a/../..")}
    path = archive(tmp_path / "in.zip", {"Example.app/f": (0, b"x"), **links, **last})
    with pytest.raises(BundleError):
        unpacked(path, tmp_path / "out")
    assert {each.name for each in tmp_path.iterdir()} == {"in.zip", "out"}
    assert {each.name for each in (tmp_path / "out").iterdir()} == {"Example.app"}


PARTS = st.sampled_from(["..", ".", "", "Example.app", "a", "b", "\\", "c\\..", "__MACOSX", "a" * 300])
NAMES = st.lists(PARTS, min_size=1, max_size=5).map("/".join) | st.lists(PARTS, max_size=4).map(
    lambda parts: "/".join(["Example.app", *parts])
)
MODES = st.sampled_from([0, stat.S_IFREG | 0o644, stat.S_IFREG | 0o4777, LINK, stat.S_IFDIR | 0o755, stat.S_IFSOCK])
TEXTS = st.sampled_from([b"", b"x", b"..", b"/etc/passwd", b"a/../..", b"b", b"../Example.app"])


@given(st.lists(st.tuples(NAMES, MODES, TEXTS), max_size=6))
def test_whatever_an_archive_holds_nothing_leaves_the_folder(members: list[tuple[str, int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(BundleError):
        root = Path(folder, "root")
        try:
            path = archive(Path(folder, "a.zip"), {name: (mode, data) for name, mode, data in members if name})
            unpacked(path, root / "out")
        finally:
            assert {each.name for each in Path(folder).iterdir()} <= {"a.zip", "root"}
            for each in root.rglob("*"):
                assert each.resolve().is_relative_to((root / "out" / APP).resolve()) or not each.is_symlink()
                assert not each.is_file() or each.is_symlink() or not each.stat().st_mode & 0o7000
                assert each.is_relative_to(root / "out" / APP) or each.is_dir()


WHOLE = packages.app()


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4))
def test_a_damaged_archive_is_read_or_said(damages: list[tuple[int, bytes]]) -> None:
    data = bytearray(WHOLE)
    for at, what in damages:
        data[at : at + len(what)] = what
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(BundleError):
        path = packages.write(Path(folder, "a.zip"), bytes(data))
        unpacked(path, Path(folder, "out"))
        read_bundle(path, "app")


def test_it_stops_when_it_is_told(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        unpack(packages.write(tmp_path / "a.zip", packages.app()), APP, tmp_path / "out", stop)


def test_a_damaged_archive_is_said(tmp_path: Path) -> None:
    data = bytearray(packages.app())
    data[60:70] = b"\0" * 10
    with pytest.raises(BundleError, match="can't be"):
        unpacked(packages.write(tmp_path / "a.zip", bytes(data)), tmp_path / "out")


def test_an_app_says_what_it_is(tmp_path: Path) -> None:
    app = packages.write(tmp_path / "a.zip", packages.app())
    assert read_bundle(app, "app") == Bundle("com.example.app", "42", True, "Example.app")
    ipa = packages.write(tmp_path / "a.ipa", packages.ipa(binary=False))
    assert read_bundle(ipa, "ipa") == Bundle("com.example.app", "42", False, "Payload/Example.app")
    neither = packages.app("", CFBundleSupportedPlatforms=None)
    assert read_bundle(packages.write(tmp_path / "b.zip", neither), "app").for_simulator is None


def test_names_may_begin_with_a_dot_and_a_slash(tmp_path: Path) -> None:
    """As `zip -r app.zip ./Example.app` and some packers write them; the coordinator takes them so."""
    app = archive(tmp_path / "a.zip", {"./Example.app/": (0, b""), "./Example.app/Info.plist": (0, INFO)})
    bundle = read_bundle(app, "app")
    assert bundle.folder == "Example.app"
    into = unpack(app, Path(bundle.folder), tmp_path / "out", threading.Event())
    assert (into / "Info.plist").read_bytes() == INFO
    ipa = archive(tmp_path / "a.ipa", {"./Payload/Example.app/Info.plist": (0, INFO)})
    assert read_bundle(ipa, "ipa").folder == "Payload/Example.app"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no zip", "is no zip archive"),
        (packages.ipa(), "has 0 files NAME.app/Info.plist"),
        (packages.zipped({"A.app/Info.plist": INFO, "B.app/Info.plist": INFO}), "has 2 files"),
        (packages.zipped({"A.app/Info.plist": b"no plist"}), "Info.plist that can't be read"),
        (packages.zipped({"A.app/Info.plist": b"<plist><array/></plist>"}), "holds no table"),
        (packages.zipped({"A.app/Info.plist": b"\0" * 2_000_000}), "more than 1048576 bytes"),
        (packages.app(CFBundleIdentifier=None), "CFBundleIdentifier is None"),
        (packages.app(CFBundleIdentifier="a; reboot"), "CFBundleIdentifier is 'a; reboot'"),
        (packages.app(CFBundleIdentifier="-a"), "CFBundleIdentifier is '-a'"),
    ],
)
def test_what_is_no_app_is_said(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        read_bundle(packages.write(tmp_path / "a.zip", data), "app")


class Pushed:
    """Builds as they come to this host."""

    def __init__(self, path: Path, form: str = "app") -> None:
        self.build = Build(path, path.stem * 8, form, "com.example.app")
        self.closed = False

    async def get(self, assignment: Assignment, platform: str, kind: str) -> Build:
        return self.build

    async def close(self) -> None:
        self.closed = True


async def test_a_build_for_simulators_is_unpacked_once_and_the_least_used_go(tmp_path: Path) -> None:
    now = 1_000_000.0
    pushed = Pushed(packages.write(tmp_path / "b0.zip", packages.app()))
    builds = UnpackedBuilds(pushed, tmp_path / "out", structlog.get_logger(), wall_seconds=lambda: now)
    asked = Assignment("acme~j", "t", 1, 1, "d", "acme", "v1", "a.spec.ts")
    first, second = await asyncio.gather(*(builds.get(asked, "ios", "simulator") for _ in range(2)))
    assert first == second == replace(pushed.build, path=tmp_path / "out" / ("b0" * 8) / "Example.app")
    before = (first.path / "Info.plist").stat().st_mtime_ns
    again = await builds.get(asked, "ios", "simulator")
    assert (again.path / "Info.plist").stat().st_mtime_ns == before
    for number in range(1, KEPT + 2):
        now += 60.0
        pushed.build = Pushed(packages.write(tmp_path / f"b{number}.zip", packages.app(Made=number))).build
        await builds.get(asked, "ios", "simulator")
    assert len(list((tmp_path / "out").iterdir())) == KEPT + 2  # all are in use
    now += 2 * IN_USE_SECONDS
    pushed.build = Pushed(packages.write(tmp_path / "c.zip", packages.app(Made="c"))).build
    await builds.get(asked, "ios", "simulator")
    left = sorted(each.name for each in (tmp_path / "out").iterdir())
    assert left == sorted([f"b{n}" * 8 for n in range(KEPT + 2 - KEPT + 1, KEPT + 2)] + ["c" * 8])
    await builds.close()
    assert pushed.closed


async def test_what_is_no_app_of_a_simulator_is_not_unpacked_or_said(tmp_path: Path) -> None:
    asked = Assignment("acme~j", "t", 1, 1, "d", "acme", "v1", "a.spec.ts")
    ipa = Pushed(packages.write(tmp_path / "a.ipa", packages.ipa()), "ipa")
    assert await UnpackedBuilds(ipa, tmp_path / "out", structlog.get_logger()).get(asked, "ios", "device") == ipa.build
    bad = Pushed(packages.write(tmp_path / "b.zip", b"no zip"))
    with pytest.raises(BuildUnresolvedError, match=r"'b\.zip' is no zip archive .+; push a zip of one \.app folder"):
        await UnpackedBuilds(bad, tmp_path / "out", structlog.get_logger()).get(asked, "ios", "simulator")
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "file").write_text("")
    good = Pushed(packages.write(tmp_path / "c.zip", packages.app()))
    with pytest.raises(BuildAwayError, match="can't be unpacked to"):
        await UnpackedBuilds(good, tmp_path / "file" / "x", structlog.get_logger()).get(asked, "ios", "simulator")
