"""Arithmetic on measured values: percentiles of one run, medians over runs, ratios between figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Union

Figure = Union[float, str, None, "Figures"]
Figures = Mapping[str, Figure]
"""Nested figures: the leaves are numbers, words (a version, a reason), or None where nothing could be measured."""


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed (nearest rank). Needs a value."""
    rank = math.ceil(percent / 100 * len(values))
    return sorted(values)[max(rank, 1) - 1]


def p50_p99(values: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile."""
    return {"p50": percentile(values, 50), "p99": percentile(values, 99)}


def look_up(figures: Figures, path: str) -> Figure:
    """The figure at a dotted path; None when it was not measured."""
    found: Figure = figures
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def number(figures: Figures, path: str) -> float | None:
    """The number at a dotted path; None when it was not measured."""
    found = look_up(figures, path)
    return float(found) if isinstance(found, int | float) else None


def quotient(figures: Figures, above: str, below: str) -> float | None:
    """One figure divided by another; None when one of them was not measured."""
    numerator, denominator = number(figures, above), number(figures, below)
    return numerator / denominator if numerator is not None and denominator else None


def merged(rounds: Sequence[Figures]) -> dict[str, Figure]:
    """One set of figures from several: medians of numbers, the last of words; a round without a figure has no vote."""
    names = dict.fromkeys(name for figures in rounds for name in figures)
    return {name: _merged_figure([f[name] for f in rounds if f.get(name) is not None]) for name in names}


def _merged_figure(values: Sequence[Figure]) -> Figure:
    if not values:
        return None
    maps = [value for value in values if isinstance(value, Mapping)]
    if maps:
        return merged(maps)
    numbers = [value for value in values if isinstance(value, int | float)]
    return statistics.median(numbers) if numbers else values[-1]


def with_ratios(figures: Figures) -> dict[str, Figure]:
    """The figures of one round and what follows from several of them: ratios to BullMQ, and the price of fsync."""
    one, four = ("submit_jobs_500_per_s.one_in_flight", "submit_jobs_500_per_s.four_in_flight")
    kept = quotient(figures, "end_to_end_fsync_always_jobs_per_s", "end_to_end_jobs_per_s")
    derived: dict[str, Figure] = dict(figures)
    derived["end_to_end_fsync_always_loss_percent"] = None if kept is None else 100 * (1 - kept)
    derived["ratios"] = {
        "end_to_end_to_bullmq_live": quotient(figures, "end_to_end_jobs_per_s", "bullmq.live_jobs_per_s"),
        "submit_jobs_to_add_bulk": {
            "one_in_flight": quotient(figures, one, "bullmq.add_bulk_per_s"),
            "four_in_flight": quotient(figures, four, "bullmq.add_bulk_per_s"),
        },
        "client_submit_to_add_200": quotient(figures, "client_submit_200_per_s", "bullmq.add_200_per_s"),
        "submit_to_start_to_floor_p50": quotient(figures, "submit_to_start_ms.p50", "echo_plus_two_redis_hops_ms.p50"),
    }
    return derived
