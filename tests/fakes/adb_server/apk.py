"""What the stand-in reads from an .apk: of those that `make_apk` makes, and the manifest of a real one."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.packages import binary_manifest

_FACTS = "fake-apk.json"
_VERSION_CODE = 0x0101021B
_STRINGS, _ELEMENT, _RESOURCE_MAP = 0x0001, 0x0102, 0x0180
_UTF8 = 1 << 8
_NONE = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class ApkFacts:
    """`signer` stands for the certificate, `abis` is empty where there is no native code."""

    package: str
    version_code: int = 1
    signer: str = "team"
    abis: tuple[str, ...] = ()
    min_sdk: int = 1


def make_apk(
    path: Path,
    package: str = "com.example.shop",
    version_code: int = 1,
    *,
    signer: str = "team",
    abis: tuple[str, ...] = (),
    min_sdk: int = 1,
    padding_bytes: int = 0,
) -> Path:
    """Writes a file that the stand-in takes for a package; no real device would. Its manifest is a real one."""
    facts = {"package": package, "version_code": version_code, "signer": signer, "abis": abis, "min_sdk": min_sdk}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(_FACTS, json.dumps(facts))
        archive.writestr("AndroidManifest.xml", binary_manifest(package, version_code))
        archive.writestr("padding", bytes(padding_bytes))
    return path


def read_apk(data: bytes) -> ApkFacts | None:
    """The facts of a package; None where it is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if _FACTS in names:
                said = json.loads(archive.read(_FACTS))
                return ApkFacts(**said | {"abis": tuple(said["abis"])})
            if "AndroidManifest.xml" not in names:
                return None
            facts = _of_manifest(archive.read("AndroidManifest.xml"))
            abis = {name.split("/")[1] for name in names if name.startswith("lib/") and name.count("/") > 1}
            return None if facts is None else ApkFacts(*facts, abis=tuple(sorted(abis)))
    except (zipfile.BadZipFile, struct.error, IndexError, ValueError):
        return None


def _of_manifest(data: bytes) -> tuple[str, int] | None:
    """Package and version code of a compiled manifest: its first element."""
    strings: list[str] = []
    resources: list[int] = []
    at = 8
    while at + 8 <= len(data):
        kind, _, size = struct.unpack_from("<HHI", data, at)
        if kind == _STRINGS:
            strings = _strings(data, at)
        elif kind == _RESOURCE_MAP:
            resources = list(struct.unpack_from(f"<{(size - 8) // 4}I", data, at + 8))
        elif kind == _ELEMENT:
            return _of_element(data, at + 16, strings, resources)
        if size < 8:
            return None
        at += size
    return None


def _of_element(data: bytes, at: int, strings: list[str], resources: list[int]) -> tuple[str, int] | None:
    start, width, count = struct.unpack_from("<HHH", data, at + 8)
    package, code = "", 0
    for number in range(count):
        _, name, raw, _, _, value = struct.unpack_from("<IIIHHI", data, at + start + number * width)
        if name < len(resources) and resources[name] == _VERSION_CODE:
            code = value
        elif strings[name] == "package":
            package = strings[value if raw == _NONE else raw]
    return (package, code) if package else None


def _strings(data: bytes, at: int) -> list[str]:
    _, _, _, count, _, flags, begin, _ = struct.unpack_from("<HHIIIIII", data, at)
    found = []
    for offset in struct.unpack_from(f"<{count}I", data, at + 28):
        place = at + begin + offset
        if flags & _UTF8:
            place += 2 if data[place] & 0x80 else 1
            size = data[place]
            place += 1
            if size & 0x80:
                size = (size & 0x7F) << 8 | data[place]
                place += 1
            found.append(data[place : place + size].decode("utf-8", errors="replace"))
        else:
            (size,) = struct.unpack_from("<H", data, place)
            found.append(data[place + 2 : place + 2 + 2 * size].decode("utf-16-le", errors="replace"))
    return found
