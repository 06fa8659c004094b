"""The verdict on a device: whether what failed on it is its own fault.

The rule. What counts against a device is what other devices of its target can do:
- an installation of a build that others have installed since it was begun, no fewer than have failed with that build. A
  build that merely lies on devices was there before: it says nothing of whether it can be installed now;
- where others failed with the build, and fewer have installed it since or none: it is the build's fault, or that of
  where it comes from, and counts against nobody;
- where no other fails with it: if others installed it at most an hour before, and else together with such failures of
  another build. What fails everywhere is told by all within a moment: until then a device is not alone with it;
- an attempt that device or provider ended, whose job ran to its end on another device, and a test that passed on
  another device afterwards (`asking.py`). What a build does says nothing of the attempts of one job: it may be the job
  that ends so wherever it is tried. They count for nothing while most of the others have such jobs too: then it is
  something that all depend on.
A failure counts by its kind (`rules.WEIGHT`) and by what later successes have left of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from qgjob_coordinator.policy.health.others import Devices
from qgjob_coordinator.policy.health.record import WINDOW_MS, Build, Kind, Mark, Record
from qgjob_coordinator.policy.health.rules import WEIGHT, enough

SAME_TROUBLE_LEAST = 2
"""Fewer others with jobs that went well elsewhere are no sign of something common."""

TOLD_MS = 2_000
"""So long after a device first failed with a build it is known whether others fail with it at the same time."""


class Fault(Enum):
    """Whose a failure is."""

    DEVICE = "device"
    OPEN = "open"
    """That depends on whether other builds fail there too."""
    OTHER = "other"
    UNTOLD = "untold"
    """Others may fail with the build as well, and it is too early to know."""


def fault_of(mark: Mark, others: Devices, *, told: bool) -> Fault:
    """Whose a failure is, as far as it is known now. `told`: the same failures of others would be known."""
    if mark.kind is not Kind.INSTALL:
        common = others.with_jobs >= SAME_TROUBLE_LEAST and 2 * others.with_jobs > others.count
        return Fault.DEVICE if mark.sure and not common else Fault.OTHER
    since, failing = others.installed_since(mark.build, mark.at), others.failing(mark.build)
    if since and since >= failing:
        return Fault.DEVICE
    if failing:
        return Fault.OTHER
    if not told:
        return Fault.UNTOLD
    return Fault.DEVICE if others.installed_since(mark.build, mark.at - WINDOW_MS) else Fault.OPEN


@dataclass(frozen=True, slots=True)
class Judgement:
    """`against` is what counts against the device, of the marks `counted`; with enough of it, `bad`.

    `builds_at_fault` are those that failed here and elsewhere, and that fewer or no other devices installed since.
    """

    bad: bool
    against: float
    counted: tuple[Mark, ...]
    builds_at_fault: frozenset[Build]


def judge(
    record: Record, others: Devices, now: int, failed_at: Mapping[Build, int] = MappingProxyType({})
) -> Judgement:
    """The verdict on a device at a time (ms), by its record and by what the others do.

    `failed_at`: when its first installation of a build failed, as far as that is known; else it was not long after that
    was begun.
    """
    first = dict(failed_at)
    for m in (m for m in record.marks if m.kind is Kind.INSTALL and m.build not in failed_at):
        first[m.build] = min(m.at, first.get(m.build, m.at))
    own = [m for m in record.marks if m.kind is not Kind.HOST]  # see hosts.py
    faults = [(m, fault_of(m, others, told=now - first.get(m.build, now) >= TOLD_MS)) for m in own]
    installs = [(m, fault) for m, fault in faults if m.kind is Kind.INSTALL]
    open_counts = len({m.build for m, fault in installs if fault in (Fault.DEVICE, Fault.OPEN)}) > 1
    counted = tuple(m for m, f in faults if f is Fault.DEVICE or (f is Fault.OPEN and open_counts))
    against = sum(m.left * WEIGHT[m.kind] for m in counted)
    at_fault = frozenset(m.build for m, fault in installs if fault is Fault.OTHER)
    return Judgement(against >= enough(record), against, counted, at_fault)
