"""What a zipped app says of itself: read from the Info.plist in its archive, with bounds, as nobody vouches for it."""

from __future__ import annotations

import plistlib
import re
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.parsers.expat import ExpatError

from qgjob_agent.devices.archives import UNREADABLE

if TYPE_CHECKING:
    from pathlib import Path

MAX_PLIST_BYTES = 1024 * 1024
_INFO = {
    "app": (re.compile(r"[^/]+\.app/Info\.plist\Z"), "NAME.app/Info.plist"),
    "ipa": (re.compile(r"Payload/[^/]+\.app/Info\.plist\Z"), "Payload/NAME.app/Info.plist"),
}
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}\Z")


class BundleError(Exception):
    """The file is no app that can be installed. Says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """`folder` is that of the app in the archive, `for_simulator` None where it does not say for what it was built."""

    package: str
    version: str
    for_simulator: bool | None
    folder: str


def read_bundle(path: Path, form: str) -> Bundle:
    """The app in a zip of its folder (`form` app) or in an .ipa. Errors: BundleError."""
    wanted, name = _INFO[form]
    try:
        with zipfile.ZipFile(path) as archive:
            found = [each for each in archive.infolist() if wanted.match(_name(each))]
            if len(found) != 1:
                raise BundleError(f"has {len(found)} files {name}, and one was expected")
            info = _read(archive, found[0])
    except UNREADABLE as error:
        raise BundleError(f"is no zip archive that can be read: {error}") from error
    except OSError as error:
        raise BundleError(f"can't be read: {error.strerror or error}") from error
    return _bundle(info, _name(found[0]).removesuffix("Info.plist").rstrip("/"))


def _name(member: zipfile.ZipInfo) -> str:
    """As the coordinator reads it, which takes `./NAME.app` at the push."""
    return member.filename.removeprefix("./")


def _bundle(info: dict[str, Any], folder: str) -> Bundle:
    package = info.get("CFBundleIdentifier")
    if not isinstance(package, str) or not _ID.match(package):
        raise BundleError(f"has an Info.plist whose CFBundleIdentifier is {package!r}, and no id")
    return Bundle(package, version_of(info), _for_simulator(info), folder)


def read_folder(path: Path, form: str) -> Bundle:
    """The app in an unpacked folder. Errors: BundleError."""
    try:
        data = (path / "Info.plist").read_bytes()
    except OSError as error:
        raise BundleError(f"has no Info.plist that can be read: {error.strerror}") from error
    return _bundle(parse_info(data), path.name)


def version_of(info: dict[str, Any]) -> str:
    """The version of an Info.plist; empty where it has none."""
    version = info.get("CFBundleVersion")
    return version if isinstance(version, str) else ""


def parse_info(data: bytes) -> dict[str, Any]:
    """What an Info.plist has. Errors: BundleError."""
    try:
        info = plistlib.loads(data)
    except (plistlib.InvalidFileException, ExpatError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise BundleError(f"has an Info.plist that can't be read: {error}") from error
    if not isinstance(info, dict):
        raise BundleError("has an Info.plist that holds no table")
    return info


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> dict[str, Any]:
    with archive.open(member) as file:
        data = file.read(MAX_PLIST_BYTES + 1)
    if len(data) > MAX_PLIST_BYTES:
        raise BundleError(f"has an Info.plist of more than {MAX_PLIST_BYTES} bytes")
    return parse_info(data)


def _for_simulator(info: dict[str, Any]) -> bool | None:
    platforms = info.get("CFBundleSupportedPlatforms")
    words = [str(each).lower() for each in platforms] if isinstance(platforms, list) else []
    words.append(str(info.get("DTPlatformName", "")).lower())
    if any(word.endswith("simulator") for word in words):
        return True
    return False if "iphoneos" in words else None
