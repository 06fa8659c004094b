"""What the coordinator's policy makes of a scene: its timeline, by the simulator, with the reason of each move."""

from __future__ import annotations

from itertools import groupby, pairwise

from bench.scheduling.engine import Simulation
from bench.scheduling.outcome import GivenBack, Install, Outcome, Run
from qgjob_coordinator.policy.feasible import meets
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.plan import plan
from qgjob_coordinator.policy.planning.switching import OLDER_SECONDS, leaves_for
from qgjob_coordinator.policy.proposals import Assignment, Plan
from qgjob_coordinator.policy.rank import URGENT, older_by, queue_score, urgency
from qgjob_coordinator.policy.snapshot import DeviceView, GroupView, Snapshot
from tests.fundamentals.scheduling.scene import Scene

MOST_NAMES = 8
_SAME = 1e-6
"""Times that differ by less (s) are the same."""
_Row = tuple[float, str, str, str]
"""When (s), the device, what it does, and a note."""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


class _Explained:
    """The plan function, with the reason of each installation, by device in order."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.reasons: dict[str, list[str]] = {}
        self._names = names

    def __call__(self, snapshot: Snapshot) -> Plan:
        made = plan(snapshot)
        devices = {d.device_id: d for d in (*snapshot.devices, *snapshot.busy)}
        groups = {(g.org_id, g.gid): g for g in snapshot.groups}
        serving = {key: [devices[i] for i in sorted(g.serving)] for key, g in groups.items()}
        taken: set[str] = set()
        for a in made.assignments:
            key, device = (a.org_id, a.gid), devices[a.device_id]
            mates = [d for d in serving[key] if d is not device]
            if a.install:
                why = _why_left(snapshot, device, a)
                why = why or self._why_joined(mates, _lacking(groups[key], device, mates, taken))
                self.reasons.setdefault(a.device_id, []).append(why)
            serving[key].append(device)
            taken.update(a.ulids)
        return made

    def _why_joined(self, mates: list[DeviceView], lacking: str | None) -> str:
        if not mates:
            return "nobody serves it"
        joins = f"joins {' '.join(d.device_id for d in mates)}"
        return f"{joins}, unfit for {self._names[int(lacking)]}" if lacking else f"{joins}: there is work enough"


def _lacking(group: GroupView, device: DeviceView, mates: list[DeviceView], taken: set[str]) -> str | None:
    """The first job of a group that the device may run and none of its mates; None: there is none."""
    heads = [
        head
        for queue in group.queues
        if meets(queue.requirements, device) and not any(meets(queue.requirements, mate) for mate in mates)
        for head in queue.heads
        if head.ulid not in taken
    ]
    return min(heads).ulid if heads else None


def _why_left(snapshot: Snapshot, device: DeviceView, a: Assignment) -> str | None:
    """By which rule of `switching` the device leaves a group that has work for it; None: it does not."""
    books = Books(snapshot)
    here, there = books.home(device), books.groups.work(books.groups.by_key[a.org_id, a.gid])
    mine, theirs = books.next_for(here, device) if here else None, books.next_for(there, device)
    if here is None or mine is None or theirs is None or not leaves_for(books, device, here, mine, there, theirs):
        return None
    left = f"leaves {here.group.app_version_id}"
    if urgency(theirs, snapshot.now) >= URGENT > urgency(mine, snapshot.now):
        return f"{left}: what waits here is urgent"
    if older_by(theirs, mine) > OLDER_SECONDS:
        return f"{left}: what waits here is much older"
    return f"{left}: it is {a.org_id}'s turn"


def play(scene: Scene) -> str:
    """The timeline of a scene."""
    explained = _Explained(scene.names)
    order = sorted(range(len(scene.trace.jobs)), key=lambda i: (scene.trace.jobs[i].at, i))
    failed_last = iter([i in scene.failed for i in order])
    outcome = Simulation(
        scene.trace,
        explained,
        limits=scene.limits,
        quota=scene.quota,
        weights=scene.weights,
        score=lambda p, order: queue_score(p, order, failed_last=next(failed_last)),
    ).run()
    rows: list[_Row] = []
    for device in scene.trace.devices:
        rows += _installs(scene, outcome, device.device_id, explained)
        rows += _given_back(scene, outcome, device.device_id)
        rows += _runs(scene, outcome, device.device_id)
    rows.sort()
    width = max(len(does) for *_, does, _ in rows)
    lines = [f"  {_clock(at):>7}  {device}  {does:<{width}}  {note}".rstrip() for at, device, does, note in rows]
    end = max(run.ended for run in outcome.runs.values())
    count = len(outcome.installs)
    lines.append(f"  {_clock(end):>7}  all is done, after {count} installation{'s' if count != 1 else ''}")
    return "\n".join(lines) + "\n"


def _installs(scene: Scene, outcome: Outcome, device_id: str, why: _Explained) -> list[_Row]:
    made: list[Install] = [i for i in outcome.installs if i.device_id == device_id]
    several = len({j.org_id for j in scene.trace.jobs}) > 1
    return [
        (i.began, device_id, f"INSTALLS {i.app_version_id}{' of ' + i.org_id if several else ''}", reason)
        for i, reason in zip(made, why.reasons.get(device_id, []), strict=True)
    ]


def _given_back(scene: Scene, outcome: Outcome, device_id: str) -> list[_Row]:
    """What the device held ahead, with who begins it instead, or what the device begins instead."""
    given_back = [g for g in outcome.given_back if g.device_id == device_id]
    return [
        (g.at, device_id, f"GIVES BACK {_names([scene.names[i] for i in g.jobs])}", _better(scene, outcome, g))
        for g in given_back
    ]


def _better(scene: Scene, outcome: Outcome, given: GivenBack) -> str:
    taker = outcome.runs[given.jobs[0]].device_id
    if taker != given.device_id:
        return f"{taker} has nothing to do"
    begins = min((r.began, i) for i, r in outcome.runs.items() if r.device_id == taker and r.began > given.at)
    return f"{scene.names[begins[1]]} is more urgent"


def _runs(scene: Scene, outcome: Outcome, device_id: str) -> list[_Row]:
    """Jobs one after the other in one row, as long as it installs nothing, has no pause, and gives nothing back."""
    runs: list[tuple[int, Run]] = sorted(
        ((i, r) for i, r in outcome.runs.items() if r.device_id == device_id), key=lambda found: found[1].began
    )
    changes = [g.at for g in outcome.given_back if g.device_id == device_id]

    def follows(a: Run, b: Run) -> bool:
        return b.began <= a.ended + _SAME and not any(a.began < at <= b.began for at in changes)

    starts = [0, *(n for n, (a, b) in enumerate(pairwise(runs), 1) if not follows(a[1], b[1]))]
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
