"""What a package says of itself, and what is said of one that is broken."""

from __future__ import annotations

import io
import plistlib
import struct
import tracemalloc
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgjob_coordinator.model.builds import BuildFacts, Format, Kind
from qgjob_coordinator.packages import archive, package
from qgjob_coordinator.packages.archive import Archive
from qgjob_coordinator.packages.errors import PackageError
from qgjob_coordinator.packages.package import format_of, read_package
from tests.fakes import packages

APP, VERSION, CODE = "com.example.app", "1.4.2", "42"
GOOD = {
    Format.APK: packages.apk(),
    Format.AAB: packages.aab(),
    Format.IPA: packages.ipa(),
    Format.APP: packages.app(),
}


def read(data: bytes, format_: Format) -> BuildFacts:
    return read_package(io.BytesIO(data), format_)


def why(data: bytes, format_: Format) -> str:
    with pytest.raises(PackageError) as raised:
        read(data, format_)
    return str(raised.value)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (packages.apk(), BuildFacts(Format.APK, "android", Kind.DEVICE, APP, VERSION, CODE)),
        (packages.apk(utf8=False), BuildFacts(Format.APK, "android", Kind.DEVICE, APP, VERSION, CODE)),
        (packages.apk(name=None), BuildFacts(Format.APK, "android", Kind.DEVICE, APP, "", CODE)),
        (packages.aab(), BuildFacts(Format.AAB, "android", Kind.DEVICE, APP, VERSION, CODE)),
        (packages.aab(raw=False), BuildFacts(Format.AAB, "android", Kind.DEVICE, APP, VERSION, CODE)),
        (packages.ipa(), BuildFacts(Format.IPA, "ios", Kind.DEVICE, APP, VERSION, CODE)),
        (packages.ipa(binary=False), BuildFacts(Format.IPA, "ios", Kind.DEVICE, APP, VERSION, CODE)),
        (packages.app(), BuildFacts(Format.APP, "ios", Kind.SIMULATOR, APP, VERSION, CODE)),
        (packages.app(DTPlatformName=None), BuildFacts(Format.APP, "ios", Kind.SIMULATOR, APP, VERSION, CODE)),
        (
            packages.app(CFBundleVersion=None, CFBundleShortVersionString=None),
            BuildFacts(Format.APP, "ios", Kind.SIMULATOR, APP, "", ""),
        ),
    ],
)
def test_what_a_package_says(data: bytes, expected: BuildFacts) -> None:
    assert read(data, expected.format) == expected


def test_the_longest_names_of_android_are_read_in_both_encodings() -> None:
    name = "1." + "é" * 120
    for utf8 in (True, False):
        assert read(packages.apk(name=name, utf8=utf8), Format.APK).version_name == name


def test_a_version_is_shown_as_a_line() -> None:
    assert read(packages.apk(name="1\n2\x1b[0m" + "x" * 200), Format.APK).version_name == "1?2?[0m" + "x" * 121


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("app.apk", Format.APK),
        ("APP.APK", Format.APK),
        ("app.aab", Format.AAB),
        ("a.b.ipa", Format.IPA),
        ("Example.app.zip", Format.APP),
        ("app.apks", None),
        ("app", None),
        ("", None),
    ],
)
def test_a_name_stands_for_a_format(name: str, expected: Format | None) -> None:
    assert format_of(name) is expected


@pytest.mark.parametrize(
    ("data", "format_", "words"),
    [
        (b"", Format.APK, "is no zip archive"),
        (b"hello", Format.IPA, "is no zip archive"),
        (GOOD[Format.APK][:-30], Format.APK, "is no zip archive, or is cut off"),
        (GOOD[Format.APK][100:], Format.APK, "is broken"),
        (packages.zipped({}), Format.APK, "has no AndroidManifest.xml, so it is no .apk"),
        (GOOD[Format.AAB], Format.APK, "has no AndroidManifest.xml, so it is no .apk"),
        (GOOD[Format.APK], Format.AAB, "has no base/manifest/AndroidManifest.xml, so it is no .aab"),
        (GOOD[Format.APP], Format.IPA, "has no Payload/NAME.app/Info.plist, so it is no .ipa"),
        (GOOD[Format.IPA], Format.APP, "has no NAME.app/Info.plist, so it is no zip of an .app folder"),
        (packages.ipa(platform="iphonesimulator"), Format.IPA, "is an .ipa with an app for the simulator"),
        (packages.app("iphoneos"), Format.APP, "is a zip of an .app folder for iPhones and iPads; push an .ipa"),
        (packages.app("macosx"), Format.APP, "is built for the platform 'macosx'"),
        (packages.app("appletvos"), Format.APP, "is built for the platform 'appletvos'"),
        (packages.app(DTPlatformName=7), Format.APP, "is built for the platform 7"),
        (packages.app(DTPlatformName=None, CFBundleSupportedPlatforms=None), Format.APP, "does not say whether"),
        (packages.app(CFBundleIdentifier=None), Format.APP, "its Info.plist has no CFBundleIdentifier"),
        (packages.app(CFBundleIdentifier="com example"), Format.APP, "has the package name 'com example'"),
        (packages.apk(package=""), Format.APK, "its manifest has no package name"),
        (packages.apk(package="../x"), Format.APK, "has the package name '../x', which is none"),
        (packages.zipped({"AndroidManifest.xml": b"<manifest/>"}), Format.APK, "that is no compiled XML"),
        (packages.zipped({"AndroidManifest.xml": b""}), Format.APK, "it is cut off"),
        (packages.zipped({"base/manifest/AndroidManifest.xml": b"\xff"}), Format.AAB, "it is no message of aapt2"),
        (packages.zipped({"base/manifest/AndroidManifest.xml": b""}), Format.AAB, "first element is not manifest"),
        (packages.zipped({"A.app/Info.plist": b"{}"}), Format.APP, "has an Info.plist that can't be read"),
        (packages.zipped({"A.app/Info.plist": plistlib.dumps(["x"])}), Format.APP, "that is no dictionary"),
        (
            packages.zipped({"A.app/Info.plist": b"", "B.app/Info.plist": b""}),
            Format.APP,
            "more than once, as A.app/Info.plist and B.app/Info.plist; push one app at a time",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said(data: bytes, format_: Format, words: str) -> None:
    assert words in why(data, format_)


def test_a_plist_with_entities_is_refused() -> None:
    entities = b'<!ENTITY a "aa"><!ENTITY b "&a;&a;">'
    bomb = b'<?xml version="1.0"?><!DOCTYPE plist [' + entities + b"]><plist><string>&b;</string></plist>"
    assert "can't be read" in why(packages.zipped({"A.app/Info.plist": bomb}), Format.APP)


def test_a_plist_that_is_deep_is_refused() -> None:
    deep = b"<plist>" + b"<array>" * 50_000 + b"</array>" * 50_000 + b"</plist>"
    assert "that is no dictionary" in why(packages.zipped({"A.app/Info.plist": deep}), Format.APP)
    # The same in the binary form: each list holds the next one.
    count = 5000
    objects = [struct.pack(">BH", 0xA1, n + 1) for n in range(count)] + [b"\x08"]
    table = b"".join(struct.pack(">H", 8 + 3 * n) for n in range(count + 1))
    trailer = struct.pack(">6xBBQQQ", 2, 2, count + 1, 0, 8 + sum(map(len, objects)))
    nested = b"bplist00" + b"".join(objects) + table + trailer
    assert "can't be read (RecursionError)" in why(packages.zipped({"A.app/Info.plist": nested}), Format.APP)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = packages.zipped({"AndroidManifest.xml": b"\0" * (50 * 1024 * 1024)})
    tracemalloc.start()
    try:
        assert f"at most {package.MAX_MANIFEST_BYTES} are read" in why(bomb, Format.APK)
        # It lies about its size, as a bomb that means it does.
        size = struct.pack("<L", 50 * 1024 * 1024)
        assert bomb.count(size) == 2
        assert "is not as large as the directory says" in why(bomb.replace(size, struct.pack("<L", 1000)), Format.APK)
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_a_directory_without_end_is_not_kept() -> None:
    name = b"x" * 60_000
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 0, 0, 0, 0, 0, 0, 0, 0, 0, len(name), 0, 0, 0, 0, 0, 0) + name
    many = 1000
    file = entry * many + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, many, many, len(entry) * many, 0, 0)
    tracemalloc.start()
    try:
        with io.BytesIO(file) as opened:
            assert Archive(opened).find(lambda _: False) == []
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()
    large = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, archive.MAX_DIRECTORY_BYTES + 1, 0, 0)
    assert "at most 67108864 are read" in why(file + large, Format.APK)


def test_an_archive_in_the_format_for_large_ones_is_read() -> None:
    small = packages.apk()
    at = small.rindex(b"PK\x05\x06")
    count, length, begin = struct.unpack_from("<8xHHLL", small, at)[1:]
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, begin)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert read(small[:at] + record + locator + end, Format.APK).package == APP
    assert "the directory is not where its end says" in why(small[:at] + b"x" * 56 + locator + end, Format.APK)
    assert "has a directory of 4294967295 bytes" in why(small[:at] + end, Format.APK)


def test_a_member_that_was_changed_is_noticed() -> None:
    whole = packages.zipped({"AndroidManifest.xml": packages.binary_manifest()}, method=zipfile.ZIP_STORED)
    at = whole.index(APP.encode())
    assert "the check sum of AndroidManifest.xml is wrong" in why(whole[:at] + b"C" + whole[at + 1 :], Format.APK)


def test_a_name_that_a_terminal_would_obey_is_told_in_plain_words() -> None:
    data = packages.zipped({"\x1b[2J.app/Info.plist": b"x" * 2_000_000})
    assert "has a \\x1b[2J.app/Info.plist of 2000000 bytes" in why(data, Format.APP)


def test_what_can_not_be_unpacked_is_said() -> None:
    def with_method(method: int, flags: int = 0) -> bytes:
        data = packages.zipped({"AndroidManifest.xml": packages.binary_manifest()})
        at = data.index(b"PK\x01\x02") + 8
        return data[:at] + struct.pack("<HH", flags, method) + data[at + 4 :]

    assert "packed by a method that is not known here (93)" in why(with_method(93), Format.APK)
    assert "has AndroidManifest.xml encrypted" in why(with_method(8, flags=1), Format.APK)
    assert "has two sizes" in why(with_method(0), Format.APK)


@given(st.sampled_from(list(Format)), st.data())
def test_a_damaged_file_is_refused_or_read_and_nothing_else(format_: Format, data: st.DataObject) -> None:
    damaged = bytearray(GOOD[format_])
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    _read_or_refuse(bytes(damaged[:end]), format_)


@given(st.sampled_from(list(Format)), st.data())
def test_a_damaged_manifest_is_refused_or_read_and_nothing_else(format_: Format, data: st.DataObject) -> None:
    """What the archive can't notice: its check sum is of the damaged manifest."""
    name, whole = {
        Format.APK: ("AndroidManifest.xml", packages.binary_manifest(utf8=data.draw(st.booleans()))),
        Format.AAB: ("base/manifest/AndroidManifest.xml", packages.proto_manifest()),
        Format.IPA: ("Payload/A.app/Info.plist", packages.info_plist(binary=data.draw(st.booleans()))),
        Format.APP: ("A.app/Info.plist", packages.info_plist(binary=data.draw(st.booleans()))),
    }[format_]
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])))
    end = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    _read_or_refuse(packages.zipped({name: bytes(damaged[:end])}), format_)


@given(st.sampled_from(list(Format)), st.binary(max_size=400))
def test_any_bytes_are_refused(format_: Format, data: bytes) -> None:
    assert why(data, format_)
    name = {Format.APK: "AndroidManifest.xml", Format.AAB: "base/manifest/AndroidManifest.xml"}.get(
        format_, "Payload/A.app/Info.plist" if format_ is Format.IPA else "A.app/Info.plist"
    )
    _read_or_refuse(packages.zipped({name: data}), format_)


def _read_or_refuse(data: bytes, format_: Format) -> None:
    try:
        facts = read(data, format_)
    except PackageError as error:
        text = str(error)
        assert text.isprintable()
        assert len(text) < 500
    else:
        assert facts.format is format_
        assert facts.package
        assert (facts.version_name + facts.version_code).isprintable()
