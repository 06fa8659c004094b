"""Which job comes first: the order of queues, decided at submission and kept in one number."""

from __future__ import annotations

from qgjob_coordinator.model.enums import Priority
from qgjob_coordinator.policy.snapshot import Head

ORDER_EPOCH_MS = 1_577_836_800_000
"""2020-01-01. Orders are times of submission since then, made distinct in steps of a part of a millisecond; so scores
stay within the 53 bits that a number of the store keeps exactly."""
ORDERS_PER_MS = 1000
_SECOND = 1000 * ORDERS_PER_MS
CLASS_SECONDS = 1200
"""A job of the lowest class is as urgent as a fresh one of the middle class when it has waited so long.

Five minutes flatten the classes, twenty keep them.
"""
URGENT_SECONDS = 8 * 3600
"""A job of another class is as urgent as a fresh one of the highest when it has waited so long, head start included.

What is urgent goes before whole backlogs, which are hours long: so it is a working day, and no longer, so that those
who call everything urgent keep nobody else waiting for ever.
"""
HEAD_STARTS = {Priority.LOW: 0, Priority.MEDIUM: CLASS_SECONDS, Priority.HIGH: URGENT_SECONDS}
"""Seconds that a class is ahead of the lowest."""
AHEAD_OF_CLOCK_SECONDS = 1
"""So far orders may be ahead of the clock: those of many jobs of one moment are made distinct."""
URGENT = 2
"""Urgency of a fresh job of the highest class, and of those that waited until they are as urgent."""
OLDER_SECONDS = 3 * CLASS_SECONDS
"""Jobs that are older by more than this, head starts included, are not kept waiting by rules that save installations,
or by limits that others fill."""
FAILED_FIRST_SECONDS = 600
"""Tests that failed in their last run come before others of their class that are older by up to this."""


def queue_score(priority: Priority, order: int, *, failed_last: bool = False) -> int:
    """The smaller one is served first: the time of submission, less what class and history are worth."""
    head_start = HEAD_STARTS[priority] + (FAILED_FIRST_SECONDS if failed_last else 0)
    return order - head_start * _SECOND


def waited(score: int, now: int) -> float:
    """Seconds that a job of this score has waited, its head start included. `now` is in ms, as everywhere."""
    return ((now - ORDER_EPOCH_MS) * ORDERS_PER_MS - score) / _SECOND


def urgent_for(score: int, now: int) -> float:
    """Seconds that a job of this score has been as urgent as it is now."""
    return waited(score, now) - (0, CLASS_SECONDS, URGENT_SECONDS)[urgency_of(score, now)]


def older_by(head: Head, other: Head) -> float:
    """Seconds by which a job has waited longer than another one, head starts included."""
    return (other.score - head.score) / _SECOND


def urgency(head: Head, now: int) -> int:
    """0 for a fresh job of the lowest class, 1 for one of the middle and for what has waited until it is as urgent,
    `URGENT` for one of the highest likewise. No more: within an urgency orgs have shares, however old their jobs are.
    """
    return urgency_of(head.score, now)


def urgency_of(score: int, now: int) -> int:
    """The same of a score."""
    seconds = waited(score, now) + AHEAD_OF_CLOCK_SECONDS
    return (seconds >= CLASS_SECONDS) + (seconds >= URGENT_SECONDS)
