"""The frontier: installs against makespan against waits, a panel for each workload."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from bench.scheduling.baselines import POLICIES
from bench.scheduling.compare import Row
from bench.scheduling.svg import INK, Drawing, colour
from bench.scheduling.workloads import WORKLOADS

_COLUMNS = 2
_WIDTH, _HEIGHT = 520, 320
_LEFT, _TOP, _RIGHT, _BOTTOM = 62, 50, 24, 46
_HEAD = 62
_LARGEST_RADIUS, _SMALLEST_RADIUS = 16.0, 3.0
_MARGIN = 0.12
_TICKS = 4
_LEGEND_STEP = 130


class _Scale:
    """A logarithmic axis with room at both ends."""

    def __init__(self, values: list[float], begin: float, end: float) -> None:
        low, high = math.log(min(values)), math.log(max(values))
        room = max(_MARGIN * (high - low), math.log(1.01))
        self._low, self._high = low - room, high + room
        self._begin, self._end = begin, end

    def at(self, value: float) -> float:
        share = (math.log(value) - self._low) / (self._high - self._low)
        return self._begin + share * (self._end - self._begin)

    def ticks(self) -> list[float]:
        step = (self._high - self._low) / (_TICKS + 1)
        return [math.exp(self._low + step * (i + 1)) for i in range(_TICKS)]


def write_frontier(file: Path, rows: Mapping[str, Mapping[str, Row]]) -> None:
    """Draws mean figures of policies by workload. Raises OSError."""
    lines = -(-len(rows) // _COLUMNS)
    drawing = Drawing(_WIDTH * _COLUMNS, _HEAD + _HEIGHT * lines, "Installs against makespan against waits")
    drawing.text(16, 24, "Installs against makespan; the larger the circle, the longer the mean wait", bold=True)
    for index, policy in enumerate(POLICIES):
        x = 22 + index * _LEGEND_STEP
        drawing.circle(x, 44, 6, colour(index))
        drawing.text(x + 12, 48, policy)
    for index, (workload, policies) in enumerate(rows.items()):
        x, y = _WIDTH * (index % _COLUMNS), _HEAD + _HEIGHT * (index // _COLUMNS)
        _panel(drawing, x, y, workload, policies)
    drawing.write(file)


def _panel(drawing: Drawing, x: float, y: float, workload: str, policies: Mapping[str, Row]) -> None:
    points = {p: (_figure(r, "installs_to_bound"), _figure(r, "makespan_to_bound")) for p, r in policies.items()}
    right, bottom = x + _WIDTH - _RIGHT, y + _HEIGHT - _BOTTOM
    across = _Scale([1.0, *(p[0] for p in points.values())], x + _LEFT, right)
    up = _Scale([1.0, *(p[1] for p in points.values())], bottom, y + _TOP)
    drawing.text(x + _LEFT, y + 20, workload, bold=True)
    drawing.text(x + _LEFT, y + 36, WORKLOADS[workload].what)
    for tick in across.ticks():
        drawing.line(across.at(tick), y + _TOP, across.at(tick), bottom)
        drawing.text(across.at(tick), bottom + 16, f"{tick:.3g}", anchor="middle")
    for tick in up.ticks():
        drawing.line(x + _LEFT, up.at(tick), right, up.at(tick))
        drawing.text(x + _LEFT - 6, up.at(tick) + 4, f"{tick:.3g}", anchor="end")
    drawing.text(
        (x + _LEFT + right) / 2, bottom + 34, "installs / bound (across), makespan / bound (up)", anchor="middle"
    )
    drawing.path([(across.at(1.0), y + _TOP), (across.at(1.0), bottom)], INK)
    drawing.path([(x + _LEFT, up.at(1.0)), (right, up.at(1.0))], INK)
    longest = max((_figure(r, "mean_wait_seconds") for r in policies.values()), default=0.0) or 1.0
    order = list(POLICIES)
    for policy, (installs, makespan) in points.items():
        wait = _figure(policies[policy], "mean_wait_seconds")
        radius = max(_SMALLEST_RADIUS, _LARGEST_RADIUS * math.sqrt(wait / longest))
        tip = f"{policy}: installs {installs:.2f}, makespan {makespan:.3f}, mean wait {wait:.0f} s"
        drawing.circle(across.at(installs), up.at(makespan), radius, colour(order.index(policy)), tip)


def _figure(row: Row, name: str) -> float:
    value = row[name]
    if value is None:
        raise ValueError(f"{name}: is not known; the frontier needs it of every policy")
    return value
