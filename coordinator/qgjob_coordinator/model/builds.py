"""Builds of app versions: what a file is, and which one fits a device."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from qgjob_coordinator.model.enums import Target


class Format(StrEnum):
    """What kind of file a build is. APP is a zip of an `.app` folder."""

    APK = "apk"
    AAB = "aab"
    IPA = "ipa"
    APP = "app"


class Kind(StrEnum):
    """What a build runs on. Android knows only DEVICE: an emulator takes the same build."""

    DEVICE = "device"
    SIMULATOR = "simulator"


@dataclass(frozen=True, slots=True)
class BuildFacts:
    """What a build's file says of itself. Versions are empty where it has none."""

    format: Format
    platform: str
    kind: Kind
    package: str
    version_name: str = ""
    version_code: str = ""


@dataclass(frozen=True, slots=True)
class Build:
    """A build that an app version has. Times in ms since the epoch; `digest` is SHA-256 in lower-case hexadecimal."""

    org_id: str
    app_version_id: str
    digest: str
    size_bytes: int
    file_name: str
    facts: BuildFacts
    pushed_at: int

    @property
    def slot(self) -> str:
        """For which devices it is, of all builds of its app version: `android device`, `ios simulator`."""
        return slot(self.facts.platform, self.facts.kind)


def slot(platform: str, kind: Kind) -> str:
    """Names what an app version has at most one build for."""
    return f"{platform} {kind.value}"


SLOTS = (slot("android", Kind.DEVICE), slot("ios", Kind.DEVICE), slot("ios", Kind.SIMULATOR))
"""All that there are."""


_WORDS = dict(zip(SLOTS, ("android (.apk or .aab)", "ios (.ipa)", "ios simulator (.app in a .zip)"), strict=True))


def slot_words(slot: str) -> str:
    """A slot for people, by the files that it takes: `android (.apk or .aab)`.

    Not by its kind, `device`: jobs have a target of that name, and emulators take that build as well.
    """
    return _WORDS.get(slot, slot)


def slot_for(target: Target, platform: str | None) -> str | None:
    """The slot whose build fits a device; None for a device that does not say its platform."""
    if platform is None:
        return None
    on_simulator = platform == "ios" and target is Target.EMULATOR
    return slot(platform, Kind.SIMULATOR if on_simulator else Kind.DEVICE)
