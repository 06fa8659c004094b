"""Reads what Android says of itself: properties, battery, storage and packages; and adb of a connection. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qgjob_agent.devices.packages import PackageSays

_PROPERTY = re.compile(r"^\[([^\]]+)\]: \[(.*?)\]$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"^-?\d+$")
_PACKAGE = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+")


@dataclass(frozen=True, slots=True)
class Battery:
    """Of a device; `percent` is None where it has none. `overheated` as Android judges it."""

    percent: int | None
    powered: bool
    overheated: bool = False


def is_package_name(text: str) -> bool:
    """Whether a text is the name of a package: such a one may stand in a command."""
    return _PACKAGE.fullmatch(text) is not None


def unconnected_why(text: str) -> str | None:
    """What the adb server says when it is to connect to a device on the network: why it did not; None where it did."""
    return None if text.startswith(("connected to ", "already connected to ")) else text.strip()


def parse_properties(text: str) -> dict[str, str]:
    """What `getprop` prints; a value may have several lines."""
    return {name: value for name, value in _PROPERTY.findall(text.replace("\r\n", "\n")) if value}


def parse_battery(text: str) -> Battery:
    """What `dumpsys battery` prints."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.strip().partition(":")
        if colon and name not in values:
            values[name.lower()] = value.strip().lower()
    powered = any(value == "true" for name, value in values.items() if name.endswith("powered"))
    level, scale = values.get("level", ""), values.get("scale", "100")
    if values.get("present") == "false" or not _NUMBER.match(level) or not _NUMBER.match(scale) or int(scale) <= 0:
        return Battery(None, powered)
    percent = max(0, min(100, round(100 * int(level) / int(scale))))
    return Battery(percent, powered, overheated=values.get("health") == "3")


def parse_free_bytes(text: str) -> int | None:
    """What `df -k /data` prints, or the `df` of an older Android, which writes 12.3G; None where it says nothing."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        return None
    head, row = [word.lower() for word in lines[0]], lines[-1]
    name = next((each for each in ("available", "avail", "free") if each in head), None)
    if name is None:
        return None
    # A name of a device that is too long stands on a line of its own, so the columns are counted from the right.
    from_right = len(head) - head.index(name) - (1 if head[-2:] == ["mounted", "on"] else 0)
    if len(row) < from_right:
        return None
    return _bytes_of(row[-from_right])


def _bytes_of(word: str) -> int | None:
    units = {"K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
    unit = units.get(word[-1:].upper())
    number = word if unit is None else word[:-1]
    if not re.fullmatch(r"\d+(\.\d+)?", number):
        return None
    return int(float(number) * (unit or 1024))


def parse_package(text: str, package: str) -> PackageSays | None:
    """What `dumpsys package P` says of the package P for the first user; None where it is not installed."""
    start = text.find(f"Package [{package}] (")
    if start < 0:
        return None
    end = text.find("\n  Package [", start)
    block = text[start : end if end > 0 else None]
    if re.search(r"^\s*User 0:.*\binstalled=false\b", block, re.MULTILINE):
        return None  # kept data of what was taken off

    def value(name: str) -> str:
        found = re.search(rf"^\s*{name}=(.*?)\s*$", block, re.MULTILINE)
        return "" if found is None else found[1]

    code = value("versionCode").partition(" ")[0]
    return PackageSays(code, value("lastUpdateTime"), value("codePath")) if code else None
