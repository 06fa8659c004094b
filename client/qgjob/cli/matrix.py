"""`--matrix FILE`: sets of requirements, each of which every test is submitted for.

A list under the key `matrix` (or, in JSON, alone). A set is an object of `target`, `platform`, `os_version`,
`device_model`, `device_id` and `labels`, which holds texts by label. Every error names the value's place in the file.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qgjob._enums import Target
from qgjob._errors import InvalidError
from qgjob._models import Requirements
from qgjob.cli.requirements import FIELDS, PROPERTIES, DeviceSet, checked, field_meant, for_all, identity, wrong

KEY = "matrix"
MAX_SETS = 1000
MAX_FILE_BYTES = 1 << 20
KEYS = (*FIELDS, "labels")


@dataclass(frozen=True, slots=True)
class _Twice:
    """Stands where a JSON object gives a key twice, so that the error can say where."""


def read_matrix(file: str) -> tuple[DeviceSet, ...]:
    """The sets of a JSON or TOML file, in its order. Raises InvalidError naming the file and the value's path."""
    with _named(file):
        return _sets(_parse(file))


def merged(
    file: str, sets: Sequence[DeviceSet], shared: Requirements | None, target: str | None
) -> tuple[DeviceSet, ...]:
    """As `for_all`, of the sets of a file. Raises InvalidError naming the file too."""
    with _named(file):
        return for_all(sets, shared, target)


@contextmanager
def _named(file: str) -> Iterator[None]:
    """Errors in here name the file."""
    try:
        yield
    except InvalidError as error:
        raise InvalidError(f"--matrix: {file}: {error.message}", field=error.field or "--matrix") from None


def _parse(file: str) -> Any:
    path = Path(file)
    readers: dict[str, Callable[[str], Any]] = {".json": _json, ".toml": tomllib.loads}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InvalidError("its name ends neither in .json nor in .toml, so its format is not known")
    try:
        with path.open("rb") as source:
            content = source.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidError(f"can't be read: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise InvalidError(f"is larger than {MAX_FILE_BYTES} bytes")
    try:
        return reader(content.decode("utf-8"))
    except RecursionError:
        raise InvalidError("is nested too deeply") from None
    except ValueError as error:  # of JSON, TOML and UTF-8 alike
        raise InvalidError(f"is not valid {path.suffix[1:].upper()}: {error}") from None


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        found[key] = _Twice() if key in found else value
    return found


def _sets(content: Any) -> tuple[DeviceSet, ...]:
    if isinstance(content, dict):
        for name in content:
            if name != KEY:
                raise wrong(name, f"is unknown; the file holds a list of sets under {KEY!r} and nothing else")
        if KEY not in content:
            raise wrong(KEY, "is missing; the file holds a list of sets of requirements under it")
        content = content[KEY]
    if not isinstance(content, list):
        raise wrong(KEY, f"{_shown(content)} is not a list of sets of requirements")
    if not 1 <= len(content) <= MAX_SETS:
        raise wrong(KEY, f"has {len(content)} sets; give 1 to {MAX_SETS}" if content else "is empty; give a set")
    found: dict[tuple[object, ...], DeviceSet] = {}
    for index, value in enumerate(content):
        each = _set(f"{KEY}[{index}]", value)
        twin = found.setdefault(identity(each), each)
        if twin is not each:
            raise wrong(each.path, f"is the same set as {twin.path}; leave one out")
    return tuple(found.values())


def _set(path: str, value: Any) -> DeviceSet:
    if not isinstance(value, dict):
        raise wrong(path, f'{_shown(value)} is not a set of requirements; write {{"platform": "android"}}')
    for name in value:
        if name not in KEYS:
            meant = field_meant(name)
            advice = f"did you mean {meant}?" if meant else f"use {', '.join(KEYS)} (a device label goes under labels)"
            raise wrong(f"{path}.{name}", f"is unknown; {advice}")
    if not value or value == {"labels": {}}:
        raise wrong(path, f"restricts nothing; name at least one of {', '.join(KEYS)}")
    texts = {
        name: checked(name, _text(f"{path}.{name}", value[name]), f"{path}.{name}", f"{path}.{name}")
        for name in (*PROPERTIES, "device_id")
        if name in value
    }
    labels = _labels(f"{path}.labels", value.get("labels", {}))
    target = _target(f"{path}.target", value["target"]) if "target" in value else None
    return DeviceSet(path, Requirements(**texts, labels=labels), target)


def _labels(path: str, value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise wrong(path, f'{_shown(value)} is not an object of labels; write {{"rack": "2"}}')
    found = {}
    for key, each in value.items():
        place = f"{path}.{key}"
        meant = "labels" if key == "labels" else field_meant(key)
        if meant is not None:
            # No device can have such a label, and nobody means one.
            raise wrong(place, f"is no label; write {meant} beside labels")
        found[key] = checked(key, _text(place, each), place, place)
    return found


def _target(path: str, value: Any) -> Target:
    text = _text(path, value)
    if text not in list(Target):
        raise wrong(path, f"{text!r} is unknown; use one of {', '.join(Target)}")
    return Target(text)


def _text(path: str, value: Any) -> str:
    if isinstance(value, _Twice):
        raise wrong(path, "is given twice; leave one out")
    if isinstance(value, str):
        return value
    if value is None:
        raise wrong(path, "null restricts nothing; leave it out")
    advice = f'; write "{_shown(value)}"' if isinstance(value, (int, float)) and not isinstance(value, bool) else ""
    raise wrong(path, f"{_shown(value)} is not a text{advice}")


def _shown(value: Any) -> str:
    """A value as the file has it, cut."""
    if isinstance(value, _Twice):
        return "what is given twice"
    most = 60
    text = json.dumps(value, default=str)
    return text if len(text) <= most else text[: most - 3] + "..."
