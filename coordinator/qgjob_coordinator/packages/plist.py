"""What an Info.plist says, as XML or in its binary form."""

from __future__ import annotations

import plistlib
from typing import Any
from xml.parsers.expat import ExpatError

from qgjob_coordinator.model.builds import Kind
from qgjob_coordinator.packages.errors import PackageError

_KINDS = {"iphoneos": Kind.DEVICE, "iphonesimulator": Kind.SIMULATOR}


def read(data: bytes) -> dict[str, Any]:
    """The dictionary. Raises PackageError."""
    try:
        found = plistlib.loads(data)
    # What the library lets through of what can be wrong with a file, besides what it means to raise (ValueError).
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        OverflowError,
        RecursionError,
        ExpatError,
    ) as e:
        raise PackageError(f"has an Info.plist that can't be read ({type(e).__name__})") from None
    if not isinstance(found, dict):
        raise PackageError("has an Info.plist that is no dictionary")
    return found


def kind(info: dict[str, Any]) -> Kind | None:
    """Whether the app was built for devices or for the simulator; None where it does not say. Raises PackageError."""
    platforms = info.get("CFBundleSupportedPlatforms")
    named = info.get("DTPlatformName") or (platforms[0] if isinstance(platforms, list) and platforms else None)
    if named is None:
        return None
    found = _KINDS.get(named.lower()) if isinstance(named, str) else None
    if found is None:
        raise PackageError(f"is built for the platform {ascii(named)[:80]}, and not for iPhoneOS or iPhoneSimulator")
    return found


def text(info: dict[str, Any], key: str) -> str:
    """A text or a number of the dictionary; empty where there is none."""
    value = info.get(key)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
