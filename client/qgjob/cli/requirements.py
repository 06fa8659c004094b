"""What a device must be, as `--require`, `--device-id` and `--matrix` say it.

The coordinator has the last word on all of it. It is checked here too, so that one wrong set of a matrix is found
before anything is submitted, and the error names the place where it was written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from qgjob._enums import Target
from qgjob._errors import InvalidError
from qgjob._models import Requirements

PROPERTIES = ("platform", "os_version", "device_model")
FIELDS = ("target", *PROPERTIES, "device_id")
"""What is no device label."""
PLATFORMS = ("android", "ios")
MAX_PROPERTY_LENGTH = 128
MAX_LABEL_LENGTH = 1024

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ID_RULE = "use 1 to 128 letters, digits, '.', '_' or '-', beginning with a letter or digit"
_VERSION = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
ASKED_WITH = {"target": "--target", "device_id": "--device-id"}
"""How the fields are asked for that `--require` does not take."""
# Control characters, lone halves of surrogate pairs, ends of lines and paragraphs.
_UNFIT = frozenset({"Cc", "Cs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class DeviceSet:
    """One set of requirements of a matrix; `path` is where it was written, `target` None the coordinator's default."""

    path: str
    requirements: Requirements
    target: Target | None = None


def from_flags(values: Iterable[str], device_id: str | None) -> Requirements | None:
    """`--require` and `--device-id`; None when neither restricts. A key that is no property is a device label.

    Raises InvalidError naming the option.
    """
    wanted: dict[str, str] = {}
    for each in values:
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise wrong("--require", f"{each!r} is not key=value; write platform=android, or LABEL=VALUE")
        if key == "device_id":
            raise wrong("--require", "device_id is asked for with --device-id")
        meant = field_meant(key)
        if meant is not None and key not in PROPERTIES:
            raise wrong("--require", f"{key!r} is no device label; did you mean {ASKED_WITH.get(meant, meant)}?")
        if wanted.get(key, value) != value:
            raise wrong("--require", f"{key} is given twice, as {wanted[key]!r} and as {value!r}; a device has one")
        wanted[key] = checked(key, value, f"--require: {key}", "--require")
    if device_id is not None:
        checked("device_id", device_id, "--device-id", "--device-id")
    if not wanted and device_id is None:
        return None
    properties = {name: wanted.pop(name) for name in PROPERTIES if name in wanted}
    return Requirements(**properties, device_id=device_id, labels=wanted)


def field_meant(key: str) -> str | None:
    """The field of a device that somebody means who writes `key`: `Platform` and `os-version` mean fields too."""
    folded = key.lower().replace("-", "_").replace(".", "_")
    return folded if folded in FIELDS else None


def checked(name: str, value: str, path: str, field: str) -> str:
    """The value of a property, of `device_id` or of a label, fit for a coordinator. Raises InvalidError at `path`."""
    if not value:
        raise wrong(path, "is empty; name a value, or leave it out", field)
    if name == "device_id":
        if not _ID.fullmatch(value):
            raise wrong(path, f"{value!r} is not an id; {_ID_RULE}", field)
        return value
    is_label = name not in PROPERTIES
    if is_label and not _ID.fullmatch(name):
        raise wrong(path, f"{name!r} is not a label's key; {_ID_RULE}", field)
    most = MAX_LABEL_LENGTH if is_label else MAX_PROPERTY_LENGTH
    if len(value) > most:
        raise wrong(path, f"is {len(value)} characters long; at most {most} are allowed", field)
    if any(unicodedata.category(char) in _UNFIT for char in value):
        raise wrong(path, f"{value!r} contains a control character", field)
    if name == "platform" and value not in PLATFORMS:
        raise wrong(path, f"{value!r} is unknown; use {' or '.join(PLATFORMS)}", field)
    if name == "os_version" and not _VERSION.fullmatch(value):
        advice = "write its parts with dots between them: 14 stands for 14.1 too"
        raise wrong(path, f"{value!r} is not a version; {advice}", field)
    return value


def for_all(sets: Iterable[DeviceSet], shared: Requirements | None, target: str | None) -> tuple[DeviceSet, ...]:
    """Each set together with what `--require`, `--device-id` and `--target` ask of all.

    Raises InvalidError for a set that contradicts them, or that has become the same as another one.
    """
    found: dict[tuple[object, ...], DeviceSet] = {}
    for each in sets:
        merged = DeviceSet(each.path, _merged(each, shared or Requirements()), _merged_target(each, target))
        twin = found.setdefault(identity(merged), merged)
        if twin is not merged:
            raise wrong(each.path, f"is the same as {twin.path}, with what the options ask of all")
    return tuple(found.values())


def identity(each: DeviceSet) -> tuple[object, ...]:
    """Equal for sets that ask for the same."""
    needs = each.requirements
    properties = (needs.platform, needs.os_version, needs.device_model, needs.device_id)
    return (each.target, *properties, *sorted(needs.labels.items()))


def wrong(path: str, message: str, field: str | None = None) -> InvalidError:
    """The error of a value that stands at `path`."""
    return InvalidError(f"{path}: {message}", field=field or path)


def _merged(each: DeviceSet, shared: Requirements) -> Requirements:
    own = each.requirements
    both = {
        name: _one(each.path, name, getattr(own, name), getattr(shared, name)) for name in (*PROPERTIES, "device_id")
    }
    labels: dict[str, str] = {}
    for key, value in [*shared.labels.items(), *own.labels.items()]:
        labels[key] = _one(each.path, f"labels.{key}", value, labels.get(key)) or value
    return Requirements(**both, labels=labels)


def _one(path: str, name: str, own: str | None, shared: str | None) -> str | None:
    """The value that meets both. Raises InvalidError where none does."""
    if own is None or shared is None or own == shared:
        return own if shared is None else shared
    if name == "os_version":
        # A version stands for all that begin with it, so the longer one meets both.
        short, long = sorted((own, shared), key=len)
        if long.startswith(short + "."):
            return long
    flag = "--device-id" if name == "device_id" else f"--require {name.removeprefix('labels.')}="
    separator = " " if name == "device_id" else ""
    raise wrong(f"{path}.{name}", f"{own!r} contradicts {flag}{separator}{shared}, which is asked of all")


def _merged_target(each: DeviceSet, shared: str | None) -> Target | None:
    if shared is None:
        return each.target
    if each.target is not None and each.target != shared:
        raise wrong(f"{each.path}.target", f"'{each.target}' contradicts --target {shared}, which is asked of all")
    return Target(shared)
