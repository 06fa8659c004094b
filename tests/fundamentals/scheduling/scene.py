"""Scenes of scheduling as text: who is there and what comes, and what the coordinator's policy makes of it.

A scene's file has a title, a few words on what it shows, and then:

    installation  45 s
    devices       d1 d2
    jobs
      at 0:00  acme  v1  medium  a1-a4  60 s
      at 2:30  acme  v2  high    b1-b2  10 300 s
      at 2:30  acme  v1  medium  c1     60 s  failed last
      at 2:30  acme  v1  medium  h1     3600 s  expected 60 s

    timeline
      ...

Times are minutes:seconds, or hours:minutes:seconds. A line of jobs names its first and last one; they take as long as
it says, each its own time where there are several. What each takes is known from earlier runs, but for those that are
`expected` to take something else. The timeline is made by the simulator.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby, pairwise

from bench.scheduling.engine import Install, Outcome, Run, Simulation
from bench.scheduling.trace import Trace, TraceDevice, TraceJob
from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.plan import plan
from qgjob_coordinator.policy.planning.switching import OLDER_SECONDS, leaves_for
from qgjob_coordinator.policy.proposals import Assignment, Plan
from qgjob_coordinator.policy.rank import URGENT, older_by, queue_score, urgency
from qgjob_coordinator.policy.snapshot import DeviceView, Snapshot

TIMELINE = "timeline\n"
MOST_NAMES = 8
_JOBS = re.compile(
    r"at +(?P<at>[\d:]+)\s+(?P<org>\S+)\s+(?P<version>\S+)\s+(?P<priority>high|medium|low)\s+"
    r"(?P<first>[a-z]+\d+)(-(?P<last>[a-z]+\d+))?\s+(?P<seconds>[\d. ]+?) s(?P<failed>\s+failed last)?"
    r"(\s+expected (?P<expected>[\d.]+) s)?"
)


@dataclass(frozen=True)
class Scene:
    """A trace, with the names of its jobs, and those that failed in their last run."""

    trace: Trace
    names: tuple[str, ...]
    failed: frozenset[int]


def read(text: str) -> Scene:
    """The scene of a file, its timeline left out. Raises ValueError for a line that it does not understand."""
    fields: dict[str, str] = {}
    jobs: list[TraceJob] = []
    names: list[str] = []
    expected: dict[str, float] = {}
    failed: set[int] = set()
    for line in text.partition(TIMELINE)[0].splitlines():
        word, _, rest = line.partition(" ")
        if word in {"installation", "devices"}:
            fields[word] = rest.strip()
        elif line.startswith("  at "):
            found = _JOBS.fullmatch(line.strip())
            if found is None:
                raise ValueError(f"{line!r} tells no jobs; write as `at 0:00  acme  v1  medium  a1-a4  60 s`")
            for name, job in _jobs(found):
                if found["failed"]:
                    failed.add(len(jobs))
                if found["expected"]:
                    expected[name] = float(found["expected"])
                names.append(name)
                jobs.append(job)
    devices = tuple(TraceDevice(name, Target.EMULATOR) for name in fields["devices"].split())
    history = {(j.org_id, j.test_path, j.target): (expected.get(j.test_path, j.seconds),) for j in jobs}
    install = float(fields["installation"].removesuffix(" s"))
    return Scene(Trace(install, devices, tuple(jobs), history), tuple(names), frozenset(failed))


def _jobs(line: re.Match[str]) -> list[tuple[str, TraceJob]]:
    letters = line["first"].rstrip("0123456789")
    first = int(line["first"].removeprefix(letters))
    last = int((line["last"] or line["first"]).removeprefix(letters))
    seconds = [float(s) for s in line["seconds"].split()]
    names = [f"{letters}{n}" for n in range(first, last + 1)]
    if len(seconds) not in {1, len(names)}:
        raise ValueError(f"{line[0]!r} has {len(seconds)} times for {len(names)} jobs; give one, or one for each")
    priority = Priority[line["priority"].upper()]
    return [
        (name, TraceJob(_seconds(line["at"]), line["org"], line["version"], Target.EMULATOR, priority, name, takes))
        for name, takes in zip(names, seconds * (len(names) if len(seconds) == 1 else 1), strict=True)
    ]


def _seconds(clock: str) -> float:
    total = 0
    for part in clock.split(":"):
        total = 60 * total + int(part)
    return float(total)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


class _Explained:
    """The plan function, with the reason of each installation, by device in order."""

    def __init__(self) -> None:
        self.reasons: dict[str, list[str]] = {}

    def __call__(self, snapshot: Snapshot) -> Plan:
        made = plan(snapshot)
        devices = {d.device_id: d for d in snapshot.devices}
        serving = {(g.org_id, g.gid): sorted(g.serving) for g in snapshot.groups}
        for a in made.assignments:
            mates = [i for i in serving[a.org_id, a.gid] if i != a.device_id]
            if a.install:
                why = _why_left(snapshot, devices[a.device_id], a) or _why_joined(mates)
                self.reasons.setdefault(a.device_id, []).append(why)
            serving[a.org_id, a.gid].append(a.device_id)
        return made


def _why_joined(mates: list[str]) -> str:
    return f"joins {' '.join(mates)}: there is work enough" if mates else "nobody serves it"


def _why_left(snapshot: Snapshot, device: DeviceView, a: Assignment) -> str | None:
    """By which rule of `switching` the device leaves a group that has work for it; None: it does not."""
    books = Books(snapshot)
    here, there = books.home(device), books.groups.work(books.groups.by_key[a.org_id, a.gid])
    mine, theirs = books.next_for(here, device) if here else None, books.next_for(there, device)
    if here is None or mine is None or theirs is None or not leaves_for(books, device, here, mine, there, theirs):
        return None
    left = f"leaves {here.group.app_version_id}"
    if older_by(theirs, mine) > OLDER_SECONDS:
        return f"{left}: what waits here is much older"
    if urgency(theirs, snapshot.now) >= URGENT > urgency(mine, snapshot.now):
        return f"{left}: what waits here is urgent"
    return f"{left}: it is {a.org_id}'s turn"


def play(scene: Scene) -> str:
    """The timeline of a scene."""
    explained = _Explained()
    order = sorted(range(len(scene.trace.jobs)), key=lambda i: (scene.trace.jobs[i].at, i))
    failed_last = iter([i in scene.failed for i in order])
    outcome = Simulation(
        scene.trace, explained, score=lambda p, order: queue_score(p, order, failed_last=next(failed_last))
    ).run()
    rows: list[tuple[float, str, str, str]] = []
    for device in scene.trace.devices:
        rows += _installs(scene, outcome, device.device_id, explained)
        rows += _runs(scene, outcome, device.device_id)
    rows.sort()
    width = max(len(does) for *_, does, _ in rows)
    lines = [f"  {_clock(at):>7}  {device}  {does:<{width}}  {note}".rstrip() for at, device, does, note in rows]
    end = max(run.ended for run in outcome.runs.values())
    count = len(outcome.installs)
    lines.append(f"  {_clock(end):>7}  all is done, after {count} installation{'s' if count != 1 else ''}")
    return "\n".join(lines) + "\n"


def _installs(scene: Scene, outcome: Outcome, device_id: str, why: _Explained) -> list[tuple[float, str, str, str]]:
    made: list[Install] = [i for i in outcome.installs if i.device_id == device_id]
    several = len({j.org_id for j in scene.trace.jobs}) > 1
    return [
        (i.began, device_id, f"INSTALLS {i.app_version_id}{' of ' + i.org_id if several else ''}", reason)
        for i, reason in zip(made, why.reasons.get(device_id, []), strict=True)
    ]


def _runs(scene: Scene, outcome: Outcome, device_id: str) -> list[tuple[float, str, str, str]]:
    """Jobs one after the other in one row, as long as no installation and no pause is between them."""
    runs: list[tuple[int, Run]] = sorted(
        ((i, r) for i, r in outcome.runs.items() if r.device_id == device_id), key=lambda found: found[1].began
    )
    starts = [0, *(n for n, (a, b) in enumerate(pairwise(runs), 1) if b[1].began > a[1].ended + 1e-6)]
    rows = []
    for start, end in zip(starts, [*starts[1:], len(runs)], strict=True):
        some = runs[start:end]
        if some:
            names = _names([scene.names[i] for i, _ in some])
            rows.append((some[0][1].began, device_id, f"runs {names}", f"until {_clock(some[-1][1].ended)}"))
    return rows


def _names(names: list[str]) -> str:
    """In order; `a1-a4` for those that follow each other, and their number where they would not fit."""

    def key(numbered: tuple[int, str]) -> tuple[str, int]:
        letters = numbered[1].rstrip("0123456789")
        return letters, int(numbered[1].removeprefix(letters)) - numbered[0]

    parts = [[name for _, name in some] for _, some in groupby(enumerate(names), key)]
    if len(parts) > MOST_NAMES:
        return f"{len(names)} jobs from {names[0]} to {names[-1]}"
    return " ".join(p[0] if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)
