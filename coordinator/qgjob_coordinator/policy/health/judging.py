"""The verdict on a device: whether what failed on it is its own fault.

The rule. What counts against a device is what other devices of its target can do:
- an installation whose build others have installed without such a failure, no fewer than have had one;
- the same where fewer of them have, or where nobody else has tried, together with such failures of another build: one
  build may be made for some devices only, several that all fail here are not;
- where others failed with the build and none has it, it is the build's fault, and counts against nobody;
- an attempt that device or provider ended, whose job ran to its end on another device, and a test that passed on
  another device afterwards (`asking.py`). What a build does says nothing of the attempts of one job: it may be the job
  that ends so wherever it is tried. They count for nothing while most of the others have such jobs too: then it is
  something that all depend on.
A failure counts by its kind (`rules.WEIGHT`) and by what later successes have left of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from qgjob_coordinator.policy.health.record import Build, Kind, Mark, Record
from qgjob_coordinator.policy.health.rules import WEIGHT, enough

SAME_TROUBLE_LEAST = 2
"""Fewer others with jobs that went well elsewhere are no sign of something common."""


@dataclass(frozen=True, slots=True)
class Devices:
    """What devices of a target do: how many serve a build, how many failed with it, how many there are.

    `with_jobs` counts those with a job that failed there and went well elsewhere.
    """

    serves: Mapping[Build, int] = field(default_factory=dict)
    fails: Mapping[Build, int] = field(default_factory=dict)
    count: int = 0
    with_jobs: int = 0

    def instead(self, before: Devices, after: Devices, record: Record) -> Devices:
        """With some of them as they are `after` instead of `before`, of those builds that matter to the record."""
        failed = _failed_with(record)
        serves = {b: self.serves.get(b, 0) - before.serves.get(b, 0) + after.serves.get(b, 0) for b in failed}
        fails = {b: self.fails.get(b, 0) - before.fails.get(b, 0) + after.fails.get(b, 0) for b in failed}
        count = self.count - before.count + after.count
        return Devices(serves, fails, count, self.with_jobs - before.with_jobs + after.with_jobs)

    def without(self, record: Record, installed: Build | None) -> Devices:
        """The others, of those builds that matter to the one that is left out."""
        failed = _failed_with(record)
        serves = {b: self.serves.get(b, 0) - (b == installed and b not in failed) for b in failed}
        fails = {b: self.fails.get(b, 0) - 1 for b in failed}
        return Devices(serves, fails, self.count - 1, self.with_jobs - _has_jobs(record))


def together(devices: Iterable[tuple[Record, Build | None]]) -> Devices:
    """Devices of one target: their records, and what is installed on them."""
    serves: Counter[Build] = Counter()
    fails: Counter[Build] = Counter()
    count = with_jobs = 0
    for record, installed in devices:
        count += 1
        failed = _failed_with(record) if record.marks else frozenset()
        fails.update(failed)
        if installed is not None and installed not in failed:
            serves[installed] += 1
        with_jobs += _has_jobs(record)
    return Devices(serves, fails, count, with_jobs)


def _failed_with(record: Record) -> frozenset[Build]:
    return frozenset(m.build for m in record.marks if m.kind is Kind.INSTALL)


def _has_jobs(record: Record) -> bool:
    return any(m.kind is not Kind.INSTALL and m.sure for m in record.marks)


class Fault(Enum):
    """Whose a failure is."""

    DEVICE = "device"
    OPEN = "open"
    """That depends on whether other builds fail there too."""
    OTHER = "other"


def fault_of(mark: Mark, others: Devices) -> Fault:
    """Whose a failure is, as far as it is known now."""
    if mark.kind is not Kind.INSTALL:
        common = others.with_jobs >= SAME_TROUBLE_LEAST and 2 * others.with_jobs > others.count
        return Fault.DEVICE if mark.sure and not common else Fault.OTHER
    serves, fails = others.serves.get(mark.build, 0), others.fails.get(mark.build, 0)
    if serves and serves >= fails:
        return Fault.DEVICE
    return Fault.OTHER if fails and not serves else Fault.OPEN


@dataclass(frozen=True, slots=True)
class Judgement:
    """`against` is what counts against the device, of the marks `counted`; with enough of it, `bad`.

    `builds_at_fault` are those that failed here and elsewhere, and that no other device has.
    """

    bad: bool
    against: float
    counted: tuple[Mark, ...]
    builds_at_fault: frozenset[Build]


def judge(record: Record, others: Devices) -> Judgement:
    """The verdict on a device by its record and by what the others do."""
    faults = [(mark, fault_of(mark, others)) for mark in record.marks]
    installs = [(m, fault) for m, fault in faults if m.kind is Kind.INSTALL]
    open_counts = len({m.build for m, fault in installs if fault is not Fault.OTHER}) > 1
    counted = tuple(m for m, f in faults if f is Fault.DEVICE or (f is Fault.OPEN and open_counts))
    against = sum(m.left * WEIGHT[m.kind] for m in counted)
    at_fault = frozenset(m.build for m, fault in installs if fault is Fault.OTHER)
    return Judgement(against >= enough(record), against, counted, at_fault)
