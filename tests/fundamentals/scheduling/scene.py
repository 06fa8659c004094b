"""Scenes of scheduling as text: who is there and what comes.

A scene's file has a title, a few words on what it shows, and then:

    installation         45 s
    GROUP_MAX_DEVICES    2
    MAX_RUNNING_PER_ORG  4
    ORG_WEIGHTS          acme=2
    devices              d1 d2
      d1  os_version=14 device_model=Pixel-8 sim=esim
      d2  os_version=15  worn 40 installations 12 hours
    jobs
      at 0:00  acme  v1  medium  a1-a4  60 s
      at 2:30  acme  v2  high    b1-b2  10 300 s
      at 2:30  acme  v1  medium  c1     60 s  failed last
      at 2:30  acme  v1  medium  h1     3600 s  expected 60 s
      at 2:30  acme  v1  medium  e1     60 s  requires os_version=15

    timeline
      ...

Times are minutes:seconds, or hours:minutes:seconds. The settings are those of the coordinator, and may be left out, as
may what is said of a device. Facts of devices and requirements are called as in `--require`: `platform`, `os_version`,
`device_model`, and labels; `device_id` requires one device. What a device is `worn` by was before the scene.

A line of jobs names its first and last one; they take as long as it says, each its own time where there are several.
What each takes is known from earlier runs, but for those that are `expected` to take something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from bench.scheduling.trace import Trace, TraceDevice, TraceJob
from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.model.jobs import ANY_DEVICE, Requirements
from qgjob_coordinator.org_weights import parse as parse_weights
from qgjob_coordinator.policy.feasible import meets
from qgjob_coordinator.policy.snapshot import DeviceView, Limits

TIMELINE = "timeline\n"
_BEGIN = re.compile(r"installation\s+\S+(\s+s)?\s*")
_INSTALLATION = re.compile(r"(\d+(?:\.\d+)?) s")
_JOBS = re.compile(
    r"at +(?P<at>\d+(:\d\d){1,2})\s+(?P<org>\S+)\s+(?P<version>\S+)\s+(?P<priority>high|medium|low)\s+"
    r"(?P<letters>[a-z]+)(?P<first>\d+)(-(?P=letters)(?P<last>\d+))?\s+(?P<seconds>\d[\d.]*( +\d[\d.]*)*) s"
    r"(?P<failed>\s+failed last)?(\s+expected (?P<expected>\d[\d.]*) s)?(\s+requires (?P<requires>\S.*))?"
)
_WORN = re.compile(r"(?P<installs>\d+) installations?( (?P<hours>\d+(\.\d+)?) hours?)?")
_PROPERTIES = ("platform", "os_version", "device_model")


class SceneError(ValueError):
    """A scene cannot be read: `line N: what is wrong; what to do`."""


@dataclass(frozen=True)
class Scene:
    """A trace, with the names of its jobs, those that failed in their last run, and the coordinator's settings."""

    trace: Trace
    names: tuple[str, ...]
    failed: frozenset[int]
    limits: Limits
    quota: int | None
    weights: Mapping[str, float]


def read(text: str) -> Scene:
    """The scene of a file, its timeline left out. Raises SceneError for what it does not understand."""
    reader = _Reader()
    for number, line in _facts(text):
        try:
            reader.take(line)
        except ValueError as e:
            raise SceneError(f"line {number}: {e}") from e
    return reader.scene()


def _facts(text: str) -> Iterator[tuple[int, str]]:
    """The lines after the words at the top, with their numbers."""
    lines = list(enumerate(text.partition(TIMELINE)[0].splitlines(), 1))
    begin = next((n for n, line in lines if _BEGIN.fullmatch(line)), None)
    if begin is None:
        raise SceneError(f"line {len(lines)}: there was no installation; write as `installation  45 s`")
    return ((n, line) for n, line in lines if n >= begin and line.strip())


class _Reader:
    """The facts of a scene, line by line. Errors are ValueErrors that tell no line."""

    def __init__(self) -> None:
        self._given: dict[str, str] = {}
        self._section = ""
        self._devices: dict[str, TraceDevice] = {}
        self._jobs: dict[str, TraceJob] = {}
        self._expected: dict[str, float] = {}
        self._failed: set[int] = set()
        self._install_seconds = 0.0
        self._limits = Limits()
        self._quota: int | None = None
        self._weights: Mapping[str, float] = {}

    def scene(self) -> Scene:
        """What was read."""
        jobs = tuple(self._jobs.values())
        history = {(j.org_id, j.test_path, j.target): (self._expected.get(j.test_path, j.seconds),) for j in jobs}
        trace = Trace(self._install_seconds, tuple(self._devices.values()), jobs, history)
        return Scene(trace, tuple(self._jobs), frozenset(self._failed), self._limits, self._quota, self._weights)

    def take(self, line: str) -> None:
        """Raises ValueError for a line that tells nothing."""
        if line.startswith(" ") and self._section in {"devices", "jobs"}:
            self._tell(line.strip())
            return
        word, _, rest = line.partition(" ")
        if word in self._given:
            raise ValueError(f"{line!r} is the second line of {word}; keep one")
        self._given[word] = self._section = word
        self._set(word, rest.strip(), line)

    def _set(self, word: str, value: str, line: str) -> None:
        match word:
            case "installation":
                self._install_seconds = _install_seconds(value)
            case "GROUP_MAX_DEVICES":
                self._limits = replace(self._limits, group_max_devices=_count(word, value))
            case "MAX_RUNNING_PER_ORG":
                self._quota = _count(word, value)
            case "ORG_WEIGHTS":
                self._weights = parse_weights(value)
            case "devices":
                self._devices = {name: TraceDevice(name, Target.EMULATOR) for name in value.split()}
            case "jobs":
                pass
            case _:
                raise ValueError(
                    f"{line!r} is not understood; write installation, GROUP_MAX_DEVICES, MAX_RUNNING_PER_ORG, "
                    "ORG_WEIGHTS, devices or jobs"
                )

    def _tell(self, line: str) -> None:
        """More of a device, or of what comes."""
        if self._section == "devices":
            device = _device(line, self._devices)
            self._devices[device.device_id] = device
            return
        found = _JOBS.fullmatch(line)
        if found is None:
            raise ValueError(f"{line!r} tells no jobs; write as `at 0:00  acme  v1  medium  a1-a4  60 s`")
        for name, job in _jobs(found, self._devices.values()):
            if name in self._jobs:
                raise ValueError(f"{name!r} was there before; give each job a name of its own")
            if found["failed"]:
                self._failed.add(len(self._jobs))
            if found["expected"]:
                self._expected[name] = _number(found["expected"])
            self._jobs[name] = job


def _install_seconds(value: str) -> float:
    found = _INSTALLATION.fullmatch(value)
    if found is None:
        raise ValueError(f"{value!r} is no time of an installation; write as `installation  45 s`")
    return float(found[1])


def _count(word: str, value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise ValueError(f"{word} is {value!r}; use a whole number from 1 on, or leave the line out")
    return int(value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as e:
        raise ValueError(f"{text!r} is no time; use seconds, such as 12.5") from e


def _pairs(words: Iterable[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if not key or not value:
            raise ValueError(f"{word!r} is not key=value; write as os_version=14, or LABEL=VALUE")
        if key in pairs:
            raise ValueError(f"{key} is given twice, as {pairs[key]!r} and as {value!r}; a device has one")
        pairs[key] = value
    return pairs


def _device(line: str, known: Mapping[str, TraceDevice]) -> TraceDevice:
    """What a line tells of a device: its facts, and what it is worn by."""
    told, worn, wear = line.partition(" worn ")
    name, *words = told.split()
    if name not in known:
        raise ValueError(f"{name!r} is no device; name one of {' '.join(known) or 'those that you list in devices'}")
    facts = _pairs(words)
    if "device_id" in facts:
        raise ValueError(f"device_id is {facts['device_id']!r}, but the id of a device is its name; leave it out")
    platform, os_version, model = [facts.pop(key, None) for key in _PROPERTIES]
    found = _WORN.fullmatch(wear)
    if worn and found is None:
        raise ValueError(f"{wear!r} is no wear; write as `worn 40 installations 12 hours`")
    installs, hours = (int(found["installs"]), float(found["hours"] or 0)) if found else (0, 0.0)
    return TraceDevice(name, known[name].target, platform, os_version, model, facts, installs, hours)


def _requirements(text: str | None, devices: Iterable[TraceDevice]) -> Requirements:
    if text is None:
        return ANY_DEVICE
    labels = _pairs(text.split())
    fields = {key: labels.pop(key) for key in (*_PROPERTIES, "device_id") if key in labels}
    requirements = Requirements(**fields, labels=tuple(sorted(labels.items())))
    if not any(meets(requirements, _view(device)) for device in devices):
        raise ValueError(f"no device is what {text!r} requires; change it, or tell more of a device above")
    return requirements


def _view(d: TraceDevice) -> DeviceView:
    return DeviceView(d.device_id, "", d.target, d.platform, d.os_version, d.model, d.labels)


def _jobs(line: re.Match[str], devices: Iterable[TraceDevice]) -> list[tuple[str, TraceJob]]:
    first, last = int(line["first"]), int(line["last"] or line["first"])
    letters, seconds = line["letters"], [_number(s) for s in line["seconds"].split()]
    if last < first:
        raise ValueError(f"{line[0]!r} names {letters}{last} after {letters}{first}; write the first one first")
    names = [f"{letters}{n}" for n in range(first, last + 1)]
    if len(seconds) not in {1, len(names)}:
        raise ValueError(f"{line[0]!r} has {len(seconds)} times for {len(names)} jobs; give one, or one for each")
    priority = Priority[line["priority"].upper()]
    requires = _requirements(line["requires"], devices)
    at, org, version = _seconds(line["at"]), line["org"], line["version"]
    return [
        (name, TraceJob(at, org, version, Target.EMULATOR, priority, name, takes, requires))
        for name, takes in zip(names, seconds * (len(names) if len(seconds) == 1 else 1), strict=True)
    ]


def _seconds(clock: str) -> float:
    total = 0
    for part in clock.split(":"):
        total = 60 * total + int(part)
    return float(total)
