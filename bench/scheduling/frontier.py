"""The frontier: installs against makespan against waits, a panel for each workload.

Both axes are logarithmic: installs in multiples of the bound, and what the makespan has above its bound, in percent.
The coordinator's policy with other fan-outs is a line of small points: what more or fewer devices for a group trade.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from bench.scheduling.baselines import FAN_OUT_MARK, POLICIES, QGJOB, policy
from bench.scheduling.compare import Row
from bench.scheduling.goals import goals
from bench.scheduling.svg import INK, Drawing, colour
from bench.scheduling.workloads import WORKLOADS

_COLUMNS = 2
_WIDTH, _HEIGHT = 540, 330
_LEFT, _TOP, _RIGHT, _BOTTOM = 62, 50, 24, 46
_HEAD = 62
_LARGEST_RADIUS, _SMALLEST_RADIUS = 14.0, 3.0
_ROOM = 0.08
_LEAST_PERCENT = 0.1
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_LEGEND_STEP = 130
_GOAL = "#009e3d"


class _Scale:
    """A logarithmic axis over some values, with room at both ends."""

    def __init__(self, values: list[float], begin: float, end: float) -> None:
        low, high = math.log(min(values)), math.log(max(values))
        room = _ROOM * max(high - low, math.log(2))
        self._low, self._high = low - room, high + room
        self._begin, self._end = begin, end

    def at(self, value: float) -> float:
        share = (math.log(value) - self._low) / (self._high - self._low)
        return self._begin + share * (self._end - self._begin)

    def ticks(self) -> list[float]:
        return [t for t in _TICKS if self._low <= math.log(t) <= self._high]


def write_frontier(file: Path, rows: Mapping[str, Mapping[str, Row]]) -> None:
    """Draws mean figures of policies by workload. Raises OSError."""
    lines = -(-len(rows) // _COLUMNS)
    drawing = Drawing(_WIDTH * _COLUMNS, _HEAD + _HEIGHT * lines, "Installs against makespan against waits")
    heading = "Installs against makespan; the larger the circle, the longer the mean wait; left and low is better"
    drawing.text(16, 24, heading, bold=True)
    for index, name in enumerate(POLICIES):
        x = 22 + index * _LEGEND_STEP
        drawing.circle(x, 44, 6, colour(index))
        drawing.text(x + 12, 48, name)
    drawing.line(22 + len(POLICIES) * _LEGEND_STEP, 44, 52 + len(POLICIES) * _LEGEND_STEP, 44, _GOAL)
    drawing.text(58 + len(POLICIES) * _LEGEND_STEP, 48, "goal")
    for index, (workload, policies) in enumerate(rows.items()):
        panel = _Panel(drawing, _WIDTH * (index % _COLUMNS), _HEAD + _HEIGHT * (index // _COLUMNS), workload, policies)
        panel.draw()
    drawing.write(file)


class _Panel:
    """One workload being drawn."""

    def __init__(self, drawing: Drawing, x: float, y: float, workload: str, policies: Mapping[str, Row]) -> None:
        self._drawing, self._workload, self._policies = drawing, workload, policies
        self._left, self._right = x + _LEFT, x + _WIDTH - _RIGHT
        self._top, self._bottom = y + _TOP, y + _HEIGHT - _BOTTOM
        self._points = {p: (_figure(r, "installs_to_bound"), _excess_percent(r)) for p, r in policies.items()}
        self._across = _Scale([1.0, *(p[0] for p in self._points.values())], self._left, self._right)
        self._up = _Scale([1.0, *(p[1] for p in self._points.values())], self._bottom, self._top)
        self._longest = max((_figure(r, "mean_wait_seconds") for r in policies.values()), default=0.0) or 1.0

    def draw(self) -> None:
        self._drawing.text(self._left, self._top - 30, self._workload, bold=True)
        self._drawing.text(self._left, self._top - 14, WORKLOADS[self._workload].what)
        self._axes()
        self._goals()
        swept = [name for name in self._points if FAN_OUT_MARK in name]
        mine = colour(list(POLICIES).index(QGJOB))
        if swept:
            line = sorted({QGJOB, *swept} & set(self._points), key=lambda name: policy(name).limits.fan_out)
            self._drawing.path([self._at(name) for name in line], mine)
        for name in swept:
            self._drawing.circle(*self._at(name), _SMALLEST_RADIUS, mine, self._tip(name))
        for index, name in enumerate(POLICIES):
            if name in self._points:
                self._drawing.circle(*self._at(name), self._radius(name), colour(index), self._tip(name))

    def _axes(self) -> None:
        draw = self._drawing
        for tick in self._across.ticks():
            x = self._across.at(tick)
            draw.line(x, self._top, x, self._bottom)
            draw.text(x, self._bottom + 16, f"{tick:g}", anchor="middle")
        for tick in self._up.ticks():
            y = self._up.at(tick)
            draw.line(self._left, y, self._right, y)
            draw.text(self._left - 6, y + 4, f"{tick:g}%", anchor="end")
        middle = (self._left + self._right) / 2
        draw.text(middle, self._bottom + 34, "installs / bound; makespan above bound (up)", anchor="middle")
        draw.path([(self._left, self._top), (self._left, self._bottom), (self._right, self._bottom)], INK)

    def _goals(self) -> None:
        """Lines where the goals are, as far as the axes reach."""
        goal = goals(self._workload)
        if "installs_to_bound" in goal:
            x = self._across.at(goal["installs_to_bound"])
            if self._left <= x <= self._right:
                self._drawing.line(x, self._top, x, self._bottom, _GOAL)
        if "makespan_to_bound" in goal:
            y = self._up.at(100 * (goal["makespan_to_bound"] - 1))
            if self._top <= y <= self._bottom:
                self._drawing.line(self._left, y, self._right, y, _GOAL)

    def _at(self, name: str) -> tuple[float, float]:
        installs, percent = self._points[name]
        return self._across.at(installs), self._up.at(percent)

    def _radius(self, name: str) -> float:
        wait = _figure(self._policies[name], "mean_wait_seconds")
        return max(_SMALLEST_RADIUS, _LARGEST_RADIUS * math.sqrt(wait / self._longest))

    def _tip(self, name: str) -> str:
        row = self._policies[name]
        installs, makespan = _figure(row, "installs_to_bound"), _figure(row, "makespan_to_bound")
        wait = _figure(row, "mean_wait_seconds")
        return f"{name}: installs {installs:.2f}, makespan {makespan:.3f}, mean wait {wait:.0f} s"


def _excess_percent(row: Row) -> float:
    return max(_LEAST_PERCENT, 100 * (_figure(row, "makespan_to_bound") - 1))


def _figure(row: Row, name: str) -> float:
    value = row[name]
    if value is None:
        raise ValueError(f"{name}: is not known; the frontier needs it of every policy")
    return value
