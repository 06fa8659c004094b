"""From a package's file to what it is."""

from __future__ import annotations

import re
from typing import BinaryIO

from qgjob_coordinator.model.builds import BuildFacts, Format, Kind
from qgjob_coordinator.packages import app_folder, axml, plist, pxml
from qgjob_coordinator.packages.archive import Archive, Member
from qgjob_coordinator.packages.errors import PackageError

ENDINGS = {".apk": Format.APK, ".aab": Format.AAB, ".ipa": Format.IPA, ".zip": Format.APP}
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_PLIST_BYTES = 1024 * 1024
MAX_VERSION = 128

_PACKAGE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}\Z")
_CONTENT = {
    Format.APK: (re.compile(r"AndroidManifest\.xml\Z"), "AndroidManifest.xml"),
    Format.AAB: (re.compile(r"base/manifest/AndroidManifest\.xml\Z"), "base/manifest/AndroidManifest.xml"),
    Format.IPA: (re.compile(r"Payload/[^/]+\.app/Info\.plist\Z"), "Payload/NAME.app/Info.plist"),
    Format.APP: (re.compile(r"[^/]+\.app/Info\.plist\Z"), "NAME.app/Info.plist"),
}


def format_of(file_name: str) -> Format | None:
    """The format that a name stands for; None for one that is no package's."""
    return next((f for ending, f in ENDINGS.items() if file_name.lower().endswith(ending)), None)


def read_package(file: BinaryIO, format_: Format) -> BuildFacts:
    """What a file of that format says of itself. Raises PackageError, whose message says what is wrong with it."""
    archive = Archive(file)
    member = _only(archive, format_)
    if format_ in (Format.IPA, Format.APP):
        facts = _apple(archive.read(member, MAX_PLIST_BYTES), format_)
        if format_ is Format.APP:
            app_folder.check(archive, member.name.partition("/")[0])
        return facts
    data = archive.read(member, MAX_MANIFEST_BYTES)
    attributes = (axml if format_ is Format.APK else pxml).root_attributes(data)
    return BuildFacts(
        format_,
        "android",
        Kind.DEVICE,
        _package(attributes.get("package", ""), "its manifest has no package name"),
        _line(attributes.get(axml.VERSION_NAME) or attributes.get("versionName", "")),
        _line(attributes.get(axml.VERSION_CODE) or attributes.get("versionCode", "")),
    )


def _apple(data: bytes, format_: Format) -> BuildFacts:
    info = plist.read(data)
    kind = plist.kind(info)
    if format_ is Format.IPA:
        if kind is Kind.SIMULATOR:
            raise PackageError("is an .ipa with an app for the simulator; push a zip of its .app folder")
        kind = Kind.DEVICE
    if kind is None:
        raise PackageError("has an Info.plist that does not say whether the app is for devices or for the simulator")
    if format_ is Format.APP and kind is Kind.DEVICE:
        raise PackageError("is a zip of an .app folder for iPhones and iPads; push an .ipa, which is what they install")
    return BuildFacts(
        format_,
        "ios",
        kind,
        _package(plist.text(info, "CFBundleIdentifier"), "its Info.plist has no CFBundleIdentifier"),
        _line(plist.text(info, "CFBundleShortVersionString")),
        _line(plist.text(info, "CFBundleVersion")),
    )


def _only(archive: Archive, format_: Format) -> Member:
    wanted, name = _CONTENT[format_]
    found = archive.find(lambda each: wanted.match(each) is not None)
    what = f"no {'zip of an .app folder' if format_ is Format.APP else f'.{format_.value}'}"
    if not found:
        raise PackageError(f"has no {name}, so it is {what}")
    if len(found) > 1:
        names = " and ".join(each.shown for each in found[:2])
        raise PackageError(f"has {name} more than once, as {names}; push one app at a time")
    return found[0]


def _package(text: str, missing: str) -> str:
    if not text:
        raise PackageError(f"does not say what it is: {missing}")
    if not _PACKAGE.match(text):
        raise PackageError(f"has the package name {ascii(text)[:80]}, which is none")
    return text


def _line(text: str) -> str:
    """A version as one printable line: it is shown, and nothing goes by it."""
    return "".join(c if c.isprintable() else "?" for c in text)[:MAX_VERSION]
