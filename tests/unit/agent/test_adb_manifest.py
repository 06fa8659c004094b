"""The package of an .apk, as the agent reads it of builds that nobody pushed."""

from __future__ import annotations

import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgjob_agent.devices.adb.manifest import MAX_MANIFEST_BYTES, ApkError, package_of
from qgjob_coordinator.model.builds import Format
from qgjob_coordinator.packages.package import read_package
from tests.fakes.packages import apk, binary_manifest, write, zipped


@pytest.mark.parametrize("utf8", [True, False])
@pytest.mark.parametrize("package", ["com.example.shop", "com.example." + 60 * "abc", "a.b"])
def test_it_is_what_the_coordinator_reads_of_a_build_that_is_pushed(tmp_path: Path, package: str, utf8: bool) -> None:
    path = write(tmp_path / "a.apk", apk(package=package, utf8=utf8))
    with path.open("rb") as file:
        assert package_of(path) == read_package(file, Format.APK).package == package


def test_an_attribute_of_androids_own_is_not_the_package(tmp_path: Path) -> None:
    manifest = binary_manifest("com.example.shop")
    name = struct.pack("<LLL", 0xFFFFFFFF, 4, 5)
    assert manifest.count(name) == 1
    of_android = manifest.replace(name, struct.pack("<LLL", 3, 4, 5))
    with pytest.raises(ApkError, match=r"does not say what it is: its AndroidManifest\.xml has no package"):
        package_of(write(tmp_path / "a.apk", zipped({"AndroidManifest.xml": of_android})))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no .apk that can be read"),
        (b"PK\x03\x04 and no more", "no .apk that can be read"),
        (zipped({"classes.dex": b"dex"}), "has 0 files AndroidManifest.xml"),
        (zipped({"AndroidManifest.xml": b""}), "cut off"),
        (zipped({"AndroidManifest.xml": b"<manifest package='com.example.shop'/>"}), "no compiled XML"),
        (zipped({"AndroidManifest.xml": binary_manifest()[:8]}), "no compiled XML"),
        (zipped({"AndroidManifest.xml": struct.pack("<HHL", 3, 8, 8)}), "cut off"),
        (zipped({"AndroidManifest.xml": bytes(MAX_MANIFEST_BYTES + 1)}), "more than 4194304 bytes"),
    ],
)
def test_what_can_not_be_read_is_said(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(ApkError, match=words):
        package_of(write(tmp_path / "a.apk", content))


def test_two_manifests_are_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.apk", apk(package="com.example.shop"))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("AndroidManifest.xml", binary_manifest("com.example.bank"))
    with pytest.raises(ApkError, match="has 2 files"):
        package_of(path)


@given(st.data())
def test_a_damaged_one_gives_a_package_or_says_what_is_wrong(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    manifest = bytearray(binary_manifest())
    for at in data.draw(st.lists(st.integers(0, len(manifest) - 1), max_size=4)):
        manifest[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.apk"
    write(path, zipped({"AndroidManifest.xml": bytes(manifest)}))
    with suppress(ApkError):  # nothing else may come of it
        assert isinstance(package_of(path), str)
