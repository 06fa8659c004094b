"""Which waiting jobs no device that is known can ever run, since no build of their app version was pushed for it.

A device that is offline, held or in bad health is known too: it comes back. One whose agent may have builds of its own
can run anything. A job that no device would do for even with a build waits for one to come, whatever was pushed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

from qgjob_coordinator.model.builds import slot_words
from qgjob_coordinator.model.enums import ErrorClass, Target
from qgjob_coordinator.model.jobs import Job, JobError, Requirements
from qgjob_coordinator.policy.feasible import meets, missing_slot, same_target
from qgjob_coordinator.policy.snapshot import DeviceView

_ENDINGS = {"android device": "apk", "ios device": "ipa", "ios simulator": "zip"}
"""What a file that is pushed for a slot is called."""

Lacking = frozenset[tuple[str, str]]
"""Devices, each with the slot of the build that it would need."""

NOTHING_LACKS: Lacking = frozenset()
"""Of jobs that some device can run, or that wait for one to come."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class KnownDevices:
    """All devices that the fleet knows, as they are asked of many queues."""

    def __init__(self, devices: Iterable[DeviceView]) -> None:
        known = tuple(devices)
        self._of = {target: same_target(target, known) for target in Target}
        self._by_id = {device.device_id: device for device in known}
        self._short: dict[tuple[Target, frozenset[str]], bool] = {}
        self._found: dict[tuple[Target, Requirements, frozenset[str]], Lacking | None] = {}
        self._all: dict[tuple[Requirements, frozenset[str]], Lacking] = {}

    def lacking(self, target: Target, requirements: Requirements, pushed: frozenset[str]) -> Lacking:
        """What devices lack that could serve such jobs, of an app version with the `pushed` builds, but for that.

        Empty when one of them lacks nothing, or there is none.
        """
        if not self._some_are_short(target, pushed):  # so it is nearly always, and no requirements are looked at
            return NOTHING_LACKS
        return self._lacking(target, requirements, pushed) or NOTHING_LACKS

    def lacking_for(self, job: Job, pushed: frozenset[str]) -> Lacking:
        """The same of a job: of those of its second target too, if it may still go there."""
        first, other = self.lacking(job.target, job.requirements, pushed), second_target(job)
        if not first or other is None:
            return first
        there = self._lacking(other, job.requirements, pushed)
        return NOTHING_LACKS if there is None else first | there

    def all_lacking(self, requirements: Requirements, pushed: frozenset[str]) -> Lacking:
        """The same of the devices of all targets, and also where another one lacks nothing."""
        key = (requirements, pushed)
        if key not in self._all:
            like = (device for device in self._by_id.values() if meets(requirements, device))
            found = ((device.device_id, missing_slot(device, pushed)) for device in like)
            self._all[key] = frozenset((device_id, slot) for device_id, slot in found if slot is not None)
        return self._all[key]

    def _lacking(self, target: Target, requirements: Requirements, pushed: frozenset[str]) -> Lacking | None:
        """As `lacking`; None where one lacks nothing."""
        key = (target, requirements, pushed)
        if key not in self._found:
            self._found[key] = self._look(*key)
        return self._found[key]

    def _some_are_short(self, target: Target, pushed: frozenset[str]) -> bool:
        key = (target, pushed)
        if key not in self._short:
            self._short[key] = any(missing_slot(device, pushed) is not None for device in self._of[target])
        return self._short[key]

    def _look(self, target: Target, requirements: Requirements, pushed: frozenset[str]) -> Lacking | None:
        found = []
        for device in self._asked_for(target, requirements):
            if meets(requirements, device):
                missing = missing_slot(device, pushed)
                if missing is None:
                    return None
                found.append((device.device_id, missing))
        return frozenset(found)

    def _asked_for(self, target: Target, requirements: Requirements) -> Iterable[DeviceView]:
        if requirements.device_id is None:
            return self._of[target]
        pinned = self._by_id.get(requirements.device_id)
        return () if pinned is None or pinned.target is not target else (pinned,)


class Steady(Generic[K, V]):
    """Tells what was found the same at so many looks in a row.

    An agent shows its devices one by one when it comes for the first time: what is so for a moment may be so only until
    the next one is shown.
    """

    def __init__(self, looks: int) -> None:
        self._looks = looks
        self._seen: dict[K, tuple[V, int]] = {}

    @property
    def found(self) -> Iterable[K]:
        """What the last look found."""
        return self._seen.keys()

    def look(self, found: Mapping[K, V]) -> dict[K, V]:
        """Takes what a look found, and forgets all else; what of it was the same for long enough."""
        seen = {}
        for key, what in found.items():
            before, times = self._seen.get(key, (what, 0))
            seen[key] = what, times + 1 if before == what else 1
        self._seen = seen
        return {key: what for key, (what, times) in seen.items() if times >= self._looks}

    def forget(self) -> None:
        """A look failed: what was seen before it proves nothing."""
        self._seen.clear()


def unbuilt(job: Job, lacking: Lacking, pushed: frozenset[str]) -> JobError:
    """The error of a job that ends for what devices lack: which builds there are, which would do, how to push one."""
    slots, other = sorted({slot for _, slot in lacking}), second_target(job)
    targets = job.target.value if other is None else f"{job.target.value} or {other.value}"
    which, it = ("which", "it") if len(slots) == 1 else ("one of which", "one")
    file, *others = (f"FILE.{_ENDINGS[slot]}" for slot in slots)
    return JobError(
        ErrorClass.BUILD,
        f"no build of {job.app_version_id} was pushed for {' or '.join(map(slot_words, slots))}, {which} each device "
        f"of target {targets} that could serve the job needs; there is one for "
        f"{' and '.join(map(slot_words, sorted(pushed)))}: push {it} with "
        f"`qgjob builds push {file} --org-id={job.org_id} --app-version-id={job.app_version_id}`"
        f"{''.join(f', or with {each}' for each in others)}",
    )


def second_target(job: Job) -> Target | None:
    """The target that the job may still go to."""
    second = job.overflow
    return None if second is None or second.moved_at is not None or job.attempts else second.target
