"""Which job comes first: the order of queues, decided at submission and kept in one number."""

from __future__ import annotations

from qgjob_coordinator.model.enums import Priority

ORDERS_PER_SECOND = 1_000_000
"""Orders are times of submission, in millionths of a second, made distinct."""
CLASS_SECONDS = 1200
"""A class is worth so much waiting: a job is as urgent as a fresh one of the next class when it has waited so long.

Five minutes flatten the classes, twenty keep them.
"""
FAILED_FIRST_SECONDS = 600
"""Tests that failed in their last run come before others of their class that are older by up to this."""


def queue_score(priority: Priority, order: int, *, failed_last: bool = False) -> int:
    """The smaller one is served first: the time of submission, less what class and history are worth."""
    head_start = CLASS_SECONDS * (priority - Priority.LOW) + (FAILED_FIRST_SECONDS if failed_last else 0)
    return order - head_start * ORDERS_PER_SECOND
