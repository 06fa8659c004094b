"""App packages as the tools of Android and Apple make them, as small as they can be: their manifests are real."""

from __future__ import annotations

import io
import plistlib
import random
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VERSION_CODE, VERSION_NAME, NAME = 0x0101021B, 0x0101021C, 0x01010003
ANDROID = "http://schemas.android.com/apk/res/android"
NONE = 0xFFFFFFFF


def zipped(members: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            member = zipfile.ZipInfo(name)  # always of the same time: equal members are equal bytes
            member.compress_type = method
            archive.writestr(member, data)
    return out.getvalue()


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that no method makes smaller: what an app's code is like."""
    return random.Random(seed).randbytes(size)  # noqa: S311 - no secret


def _pool(texts: list[str], *, utf8: bool) -> bytes:
    offsets, data = [], bytearray()
    for text in texts:
        offsets.append(len(data))
        units = text.encode("utf-16-le")
        if utf8:
            raw = text.encode()
            for n in (len(units) // 2, len(raw)):
                data += bytes([n]) if n < 0x80 else bytes([0x80 | n >> 8, n & 0xFF])
            data += raw + b"\0"
        else:
            n = len(units) // 2
            data += struct.pack("<H", n) if n < 0x8000 else struct.pack("<HH", 0x8000 | n >> 16, n & 0xFFFF)
            data += units + b"\0\0"
    data += b"\0" * (-len(data) % 4)
    begin = 28 + 4 * len(texts)
    flags = 0x100 if utf8 else 0
    head = struct.pack("<HHL5L", 0x0001, 28, begin + len(data), len(texts), 0, flags, begin, 0)
    return head + struct.pack(f"<{len(texts)}L", *offsets) + bytes(data)


def binary_manifest(
    package: str = "com.example.app", code: int = 42, name: str | None = "1.4.2", *, utf8: bool = True
) -> bytes:
    """An AndroidManifest.xml as aapt2 compiles it into an .apk. `name` None: it refers to a resource."""
    texts = ["versionCode", "versionName", "android", ANDROID, "package", package, name or "", "manifest"]
    attributes = [
        (3, 0, NONE, 0x10, code),
        (3, 1, 6, 0x03, 6) if name is not None else (3, 1, NONE, 0x01, 0x7F0A0001),
        (NONE, 4, 5, 0x03, 5),
    ]
    packed = b"".join(
        struct.pack("<LLLHBBL", namespace, key, raw, 8, 0, kind, value)
        for namespace, key, raw, kind, value in attributes
    )
    resources = struct.pack("<HHL2L", 0x0180, 8, 16, VERSION_CODE, VERSION_NAME)
    namespace = struct.pack("<HHL4L", 0x0100, 16, 24, 1, NONE, 2, 3)
    size = 16 + 20 + len(packed)
    element = struct.pack("<HHL4L6H", 0x0102, 16, size, 2, NONE, NONE, 7, 20, 20, len(attributes), 0, 0, 0) + packed
    end = struct.pack("<HHL4L", 0x0103, 16, 24, 2, NONE, NONE, 7)
    body = _pool(texts, utf8=utf8) + resources + namespace + element + end
    return struct.pack("<HHL", 0x0003, 8, 8 + len(body)) + body


def launchable_manifest(package: str = "com.example.app", code: int = 1, version: str = "1.0") -> bytes:
    """The same of an app with an activity that a launcher shows."""
    texts = ["versionCode", "versionName", "name", "android", ANDROID, "package", package, version]
    number = {text: at for at, text in enumerate(texts)}

    def at(text: str) -> int:
        if text not in number:
            number[text] = len(texts)
            texts.append(text)
        return number[text]

    def attribute(key: str, value: str | int) -> bytes:
        namespace = NONE if key == "package" else at(ANDROID)
        if isinstance(value, int):
            return struct.pack("<LLLHBBL", namespace, at(key), NONE, 8, 0, 0x10, value)
        return struct.pack("<LLLHBBL", namespace, at(key), at(value), 8, 0, 0x03, at(value))

    def element(name: str, attributes: dict[str, str | int], *inside: bytes) -> bytes:
        packed = b"".join(attribute(*each) for each in attributes.items())
        head = (0x0102, 16, 36 + len(packed), 2, NONE, NONE, at(name), 20, 20, len(attributes), 0, 0, 0)
        end = struct.pack("<HHL4L", 0x0103, 16, 24, 2, NONE, NONE, at(name))
        return struct.pack("<HHL4L6H", *head) + packed + b"".join(inside) + end

    shown = (
        element("action", {"name": "android.intent.action.MAIN"}),
        element("category", {"name": "android.intent.category.LAUNCHER"}),
    )
    activity = element("activity", {"name": f"{package}.MainActivity"}, element("intent-filter", {}, *shown))
    attributes: dict[str, str | int] = {"versionCode": code, "versionName": version, "package": package}
    root = element("manifest", attributes, element("application", {}, activity))
    resources = struct.pack("<HHL3L", 0x0180, 8, 20, VERSION_CODE, VERSION_NAME, NAME)
    namespace = (at("android"), at(ANDROID))
    begin, end = (struct.pack("<HHL4L", kind, 16, 24, 1, NONE, *namespace) for kind in (0x0100, 0x0101))
    body = _pool(texts, utf8=True) + resources + begin + root + end
    return struct.pack("<HHL", 0x0003, 8, 8 + len(body)) + body


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def proto_manifest(package: str = "com.example.app", code: int = 42, name: str = "1.4.2", *, raw: bool = True) -> bytes:
    """An AndroidManifest.xml as it lies in an .aab. Not `raw`: values stand in their compiled form alone."""

    def attribute(key: str, value: str, resource: int, compiled: bytes) -> bytes:
        text = _field(3, value.encode()) if raw else b""
        number = _field(5, resource) if resource else b""
        return _field(4, _field(2, key.encode()) + text + number + _field(6, compiled))

    element = (
        _field(1, _field(1, b"android") + _field(2, ANDROID.encode()))
        + _field(3, b"manifest")
        + attribute("versionCode", str(code), VERSION_CODE, _field(7, _field(6, code)))
        + attribute("versionName", name, VERSION_NAME, _field(2, _field(1, name.encode())))
        + attribute("package", package, 0, _field(2, _field(1, package.encode())))
        + _field(5, _field(1, _field(3, b"application")))
    )
    return _field(1, element)


def info_plist(platform: str = "iphoneos", *, binary: bool = True, **changes: Any) -> bytes:
    """An Info.plist as Xcode writes it."""
    info = {
        "CFBundleIdentifier": "com.example.app",
        "CFBundleShortVersionString": "1.4.2",
        "CFBundleVersion": "42",
        "DTPlatformName": platform,
        "CFBundleSupportedPlatforms": ["iPhoneSimulator" if platform == "iphonesimulator" else "iPhoneOS"],
    }
    kept = {key: value for key, value in (info | changes).items() if value is not None}
    return plistlib.dumps(kept, fmt=plistlib.FMT_BINARY if binary else plistlib.FMT_XML)


def apk(filler: bytes = b"", **manifest: Any) -> bytes:
    """An .apk."""
    return zipped({"classes.dex": b"dex\n" + filler, "AndroidManifest.xml": binary_manifest(**manifest)})


def launchable_apk() -> bytes:
    """An .apk of an app that can be started."""
    return zipped({"classes.dex": b"dex\n", "AndroidManifest.xml": launchable_manifest()})


def aab(**manifest: Any) -> bytes:
    """An .aab."""
    return zipped({"BundleConfig.pb": b"", "base/manifest/AndroidManifest.xml": proto_manifest(**manifest)})


def ipa(**info: Any) -> bytes:
    """An .ipa."""
    return zipped(
        {
            "Payload/Example.app/Example": b"\xca\xfe\xba\xbe",
            "Payload/Example.app/Info.plist": info_plist(**info),
            "Payload/Example.app/Frameworks/Kit.framework/Info.plist": info_plist(CFBundleIdentifier="com.example.kit"),
        }
    )


def app(platform: str = "iphonesimulator", **info: Any) -> bytes:
    """A zip of an .app folder, as Finder makes it."""
    return zipped(
        {
            "Example.app/Info.plist": info_plist(platform, **info),
            "Example.app/Example": b"\xca\xfe\xba\xbe",
            "__MACOSX/Example.app/._Info.plist": b"\0",
        }
    )


def write(path: Path, data: bytes) -> Path:
    """A file with that content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
