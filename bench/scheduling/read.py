"""Trace files: JSON in, a Trace out, or one error that names the value by its path.

History is taken as it is found, be it 0, NaN or absurdly long: what to make of it is for the estimates to decide, and
a real store has such values too. All other numbers must make sense.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from bench.scheduling.trace import TestKey, Trace, TraceDevice, TraceJob
from qgjob_coordinator.model.enums import Priority, Target

PLATFORMS = ("android", "ios")
LONGEST_SECONDS = 1e9
"""Thirty years; a longer time is a mistake of units."""
_SHOWN_CHARACTERS = 60
_T = TypeVar("_T")


class TraceError(ValueError):
    """A trace cannot be read: `path: what is wrong; what to do`."""


class _Object(dict[str, object]):
    """A JSON object that knows which of its names came twice."""

    def __init__(self, pairs: Sequence[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self.twice: str | None = None
        if len(self) != len(pairs):
            counts = Counter(name for name, _ in pairs)
            self.twice = next(name for name, count in counts.items() if count > 1)


def read_trace(file: Path) -> Trace:
    """Raises TraceError for anything that is not a valid trace, and for a file that cannot be read."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as e:
        raise TraceError(f"{file}: cannot be read ({e.strerror}); give the path of a trace") from e
    except UnicodeDecodeError as e:
        raise TraceError(f"{file}: is not UTF-8 at byte {e.start}; write the trace as UTF-8") from e
    return parse_trace(text)


def parse_trace(text: str) -> Trace:
    """Raises TraceError."""
    try:
        value = json.loads(text, object_pairs_hook=_Object)
    except json.JSONDecodeError as e:
        raise TraceError(f"line {e.lineno}, column {e.colno}: is not JSON ({e.msg}); correct it") from e
    except RecursionError as e:
        raise TraceError("the trace is nested too deeply; see the format in bench/README.md") from e
    except ValueError as e:  # an integer of thousands of digits
        raise TraceError(f"the trace has a number that is too long ({e}); use seconds") from e
    return _trace(_Value("", value))


class _Value:
    """A value and its path, such as `jobs[3].at`."""

    def __init__(self, path: str, value: object) -> None:
        self.path = path
        self.value = value

    def error(self, message: str) -> TraceError:
        return TraceError(f"{self.path or 'trace'}: {message}")

    def wrong(self, problem: str, remedy: str) -> TraceError:
        """An error that shows the value."""
        if isinstance(self.value, dict | list):
            text = "an object" if isinstance(self.value, dict) else "a list"
        else:
            text = ascii(self.value) if isinstance(self.value, str) else json.dumps(self.value)
        if len(text) > _SHOWN_CHARACTERS:
            text = f"{text[:_SHOWN_CHARACTERS]}..."
        return self.error(f"{text} {problem}; {remedy}")

    def fields(self, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, _Value]:
        """The fields of an object; null counts as left out where it may be."""
        if not isinstance(self.value, _Object):
            raise self.wrong("is not an object", f"use one with the fields {', '.join(required)}")
        known = [*required, *optional]
        prefix = f"{self.path}." if self.path else ""
        if self.value.twice is not None:
            raise TraceError(f"{prefix}{_name(self.value.twice)}: is given twice; remove one")
        for name in self.value:
            if name not in known:
                raise TraceError(f"{prefix}{_name(name)}: is not a known field; use {', '.join(known)}")
        for name in required:
            if name not in self.value:
                raise TraceError(f"{prefix}{name}: is missing; add it")
        return {
            name: _Value(f"{prefix}{name}", value)
            for name, value in self.value.items()
            if not (value is None and name in optional)
        }

    def items(self) -> Iterator[_Value]:
        if not isinstance(self.value, list):
            raise self.wrong("is not a list", "use a list")
        for index, value in enumerate(self.value):
            yield _Value(f"{self.path}[{index}]", value)

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.wrong("is not a text", "use a text")
        if not self.value:
            raise self.error("is empty; give it a text")
        return self.value

    def number(self) -> float:
        """Any number, NaN and infinity included."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self.wrong("is not a number", "use seconds, such as 12.5")
        try:
            return float(self.value)
        except OverflowError:
            return math.inf

    def seconds(self) -> float:
        """A time that makes sense."""
        number = self.number()
        if not math.isfinite(number):
            raise self.wrong("is not a finite number", "use seconds, such as 12.5")
        if number < 0:
            raise self.wrong("is negative", "use 0 or more")
        if number > LONGEST_SECONDS:
            raise self.wrong("is too long", f"use seconds, at most {LONGEST_SECONDS:.0f}")
        return number

    def target(self) -> Target:
        return self._one_of({t.value: t for t in Target})

    def priority(self) -> Priority:
        return self._one_of({p.word: p for p in sorted(Priority, reverse=True)})

    def platform(self) -> str:
        return self._one_of({p: p for p in PLATFORMS})

    def _one_of(self, words: dict[str, _T]) -> _T:
        if not isinstance(self.value, str) or self.value not in words:
            raise self.wrong("is unknown", f"use one of {', '.join(words)}")
        return words[self.value]


def _name(name: str) -> str:
    """A field's name as it is shown: quoted when it would be misread."""
    shown = name if name.isidentifier() and name.isascii() else ascii(name)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}..."


def _trace(root: _Value) -> Trace:
    fields = root.fields(("install_seconds", "devices", "jobs"), ("history",))
    install_seconds = fields["install_seconds"].seconds()
    devices = _devices(fields["devices"])
    history = _history(fields["history"]) if "history" in fields else {}
    served = {d.target for d in devices}
    jobs = tuple(_job(item, served) for item in fields["jobs"].items())
    if not jobs:
        raise fields["jobs"].error("is empty; add at least one job")
    return Trace(install_seconds, devices, jobs, history)


def _devices(value: _Value) -> tuple[TraceDevice, ...]:
    devices: dict[str, TraceDevice] = {}
    for item in value.items():
        fields = item.fields(("device_id", "target"), ("platform",))
        device_id = fields["device_id"].text()
        if device_id in devices:
            raise fields["device_id"].wrong("is given twice", "give each device an id of its own")
        platform = fields["platform"].platform() if "platform" in fields else None
        devices[device_id] = TraceDevice(device_id, fields["target"].target(), platform)
    if not devices:
        raise value.error("is empty; add at least one device")
    return tuple(devices.values())


def _history(value: _Value) -> dict[TestKey, tuple[float, ...]]:
    """Entries of the same test are runs of it, one after the other."""
    history: dict[TestKey, tuple[float, ...]] = {}
    for item in value.items():
        fields = item.fields(("org_id", "test_path", "target", "seconds"))
        key = (fields["org_id"].text(), fields["test_path"].text(), fields["target"].target())
        history[key] = (*history.get(key, ()), *map(_past_seconds, fields["seconds"].items()))
    return history


def _past_seconds(value: _Value) -> float:
    number = value.number()
    if number < 0:
        raise value.wrong("is negative", "use 0 or more")
    return number


def _job(item: _Value, served: set[Target]) -> TraceJob:
    fields = item.fields(("at", "org_id", "app_version_id", "target", "priority", "test_path", "seconds"))
    target = fields["target"].target()
    if target not in served:
        raise fields["target"].error(f"no device is of target {target.value}; add one to devices, or leave the job out")
    return TraceJob(
        at=fields["at"].seconds(),
        org_id=fields["org_id"].text(),
        app_version_id=fields["app_version_id"].text(),
        target=target,
        priority=fields["priority"].priority(),
        test_path=fields["test_path"].text(),
        seconds=fields["seconds"].seconds(),
    )


def to_json(trace: Trace) -> dict[str, object]:
    """A trace as its file has it."""
    devices = [{"device_id": d.device_id, "target": d.target.value, "platform": d.platform} for d in trace.devices]
    return {
        "install_seconds": trace.install_seconds,
        "devices": devices,
        "history": [
            {"org_id": org, "test_path": path, "target": target.value, "seconds": list(seconds)}
            for (org, path, target), seconds in trace.history.items()
        ],
        "jobs": [
            {
                "at": j.at,
                "org_id": j.org_id,
                "app_version_id": j.app_version_id,
                "target": j.target.value,
                "priority": j.priority.word,
                "test_path": j.test_path,
                "seconds": j.seconds,
            }
            for j in trace.jobs
        ],
    }
