"""The devices of an explanation in a few words: how many could serve the job, what those do, what the others lack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.policy.feasible import BUILD
from qgjob_coordinator.policy.reasons.considered import Considered, pinned, soonest
from qgjob_coordinator.policy.reasons.words import clock, counted, span

MOST_GROUPS = 4
"""So many groups of refused devices are told apart."""
_MS = 1000


def summary(job: Job, considered: Sequence[Considered], now: int) -> str:
    """`3 of 12 devices could serve it: 2 are busy (one is free in about 1 min), 1 is offline; 9 are not android`.

    `now` in ms. A time by the clock is UTC.
    """
    total = len(considered)
    if not total:
        return "the fleet has no devices; start an agent"
    feasible = [c for c in considered if c.feasible]
    refused = _refused(job, [c for c in considered if not c.feasible])
    if not feasible:
        return f"none of {_devices(total)} could ever serve it: {refused}{_nearest(job, considered)}"
    head = f"{len(feasible)} of {_devices(total)} could serve it: {_serving(feasible, now)}"
    return "; ".join(filter(None, (head, refused, _tried(job, feasible))))


def _tried(job: Job, feasible: Sequence[Considered]) -> str:
    """What failed last, where no device is left on which, or with whose host, nothing has."""
    error = job.attempts[-1].error if job.attempts else None
    if error is None or not all(c.suspected for c in feasible):
        return ""
    return f"an attempt has failed on each of them or with its host, the last one so: {error.message}"


def _serving(feasible: Sequence[Considered], now: int) -> str:
    by_state: dict[str, list[Considered]] = {}
    for c in sorted(feasible, key=lambda c: soonest(c, now)):
        by_state.setdefault(c.state, []).append(c)
    return ", ".join(counted(len(same), state + _until(same, now)) for state, same in by_state.items())


def _until(same: Sequence[Considered], now: int) -> str:
    """When the first of devices in one state comes back."""
    known = [c.free_at for c in same if c.free_at is not None]
    if not known:
        return ""
    first = min(known)
    if same[0].state == "busy":
        when = f"free in about {span((first - now) / _MS)}" if first > now else "free any moment"
        return f" ({when})" if len(same) == 1 else f" (the first is {when})"
    return f" until {clock(first, now)}" if len(same) == 1 else f" (the first until {clock(first, now)})"


def _refused(job: Job, refused: Sequence[Considered]) -> str:
    """The devices by what they lack: those that lack least first, then the largest group."""
    groups = Counter(("target",) if c.unmet[0] == "target" else c.unmet for c in refused)
    ranked = sorted(groups.items(), key=lambda item: (len(item[0]), -item[1], item[0]))
    told = [counted(count, " and ".join(_lack(job, name) for name in unmet)) for unmet, count in ranked[:MOST_GROUPS]]
    rest = sum(count for _, count in ranked[MOST_GROUPS:])
    if rest:
        told.append(f"{rest} more lack other things")
    return ", ".join(told)


def _lack(job: Job, name: str) -> str:
    r = job.requirements
    if name.startswith("labels."):
        key = name.removeprefix("labels.")
        return f"without {key}={dict(r.labels)[key]}"
    return {
        "target": f"not of target {job.target.value}",
        "device_id": f"not {r.device_id}",
        "platform": f"not {r.platform}",
        "os_version": f"not of os_version {r.os_version}",
        "device_model": f"not of model {r.device_model}",
        BUILD: "without a build",
    }[name]


def _nearest(job: Job, refused: Sequence[Considered]) -> str:
    """The device that the job asks for by its id; else the one that lacks least, where not all lack as much.

    Of those that lack as much, one that lacks the build alone: a push is all that it takes, and it is what was meant.
    Then one that is online: that may be given a label and is there.
    """
    asked = pinned(job, refused)
    if asked is not None:
        its = "" if asked.unmet[0] == BUILD else "its "
        return f"; {asked.device_id} is there, but {its}{asked.message}"
    nearest = min(refused, key=_distance)
    others = any(len(c.unmet) != len(nearest.unmet) for c in refused)
    named = f"{nearest.device_id}{' (offline)' if nearest.offline else ''}"
    return f"; nearest is {named}: {nearest.message}" if others or len(refused) == 1 else ""


def _distance(c: Considered) -> tuple[bool, int, bool, bool, str]:
    return "target" in c.unmet, len(c.unmet), c.unmet != (BUILD,), c.offline, c.device_id


def _devices(count: int) -> str:
    return f"{count} device{'' if count == 1 else 's'}"
