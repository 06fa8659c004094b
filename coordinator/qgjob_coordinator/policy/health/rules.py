"""The numbers by which devices are trusted or not, and the length of a quarantine."""

from __future__ import annotations

from dataclasses import dataclass

from qgjob_coordinator.policy.health.record import Kind, Record

WEIGHT = {Kind.INSTALL: 1.0, Kind.DEVICE: 1.0, Kind.TEST: 0.6, Kind.HOST: 0.0}
"""What a failure counts: that of a device says more of it than that of a test, and that of its host nothing."""

ENOUGH = 3.0
"""So much against a device is a quarantine: three installations, or five tests."""

ENOUGH_ON_PROBATION = 1.0
"""The same of a device that came back from one and has not proven itself: one installation, or two tests."""

SUSPECT_FROM = 0.5
"""From this share of what is enough, tests that fail on the device are tried again on another one."""

LONGEST_INSTALL_MS = 600_000
"""An installation that failed is taken to have been begun so long before, at most."""

BASE_MS = 10_000
CAP_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long the first quarantine is, and the longest."""

    base_ms: int = BASE_MS
    cap_ms: int = CAP_MS

    def ms(self, in_a_row: int) -> int:
        """The length of the `in_a_row`-th quarantine, from 1: the base, doubled each time, and at most the cap."""
        steps = min(in_a_row - 1, 64)
        return min(self.cap_ms, self.base_ms << steps)

    def next_in_a_row(self, in_a_row: int) -> int:
        """The number of the quarantine after that one. It stays where nothing would be longer."""
        return in_a_row if in_a_row and self.ms(in_a_row) == self.cap_ms else in_a_row + 1


def enough(record: Record) -> float:
    """What is to count against the device for a quarantine."""
    return ENOUGH_ON_PROBATION if record.in_a_row else ENOUGH


def at_most(record: Record) -> float:
    """What can count against the device, whatever its failures turn out to be."""
    return sum(mark.left * WEIGHT[mark.kind] for mark in record.marks)


def is_suspect(record: Record) -> bool:
    """Whether so much failed that another device should try what fails next."""
    return at_most(record) >= SUSPECT_FROM * enough(record)
