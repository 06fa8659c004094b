"""Devices over time: what each ran, and where it installed."""

from __future__ import annotations

from pathlib import Path

from bench.scheduling.bounds import GroupId, group_of
from bench.scheduling.outcome import Install, Outcome, Run
from bench.scheduling.svg import FAINT, INK, Drawing, colour
from bench.scheduling.trace import Trace

_PLOT_WIDTH = 1200
_ROW, _BAR = 22, 16
_LEFT, _TOP, _RIGHT = 170, 60, 30
_LEGEND_COLUMNS, _LEGEND_ROW = 4, 18
_LEGEND_GROUPS = 40
_TEXT_CHARACTERS = 22
_GAP = 0.4
_TICKS = 10
_MINUTE = 60.0
_STEP_MINUTES = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 1440)


class _Chart:
    """One outcome being drawn."""

    def __init__(self, trace: Trace, outcome: Outcome, title: str) -> None:
        self._trace, self._outcome = trace, outcome
        self._rows = {d.device_id: i for i, d in enumerate(sorted(trace.devices, key=lambda d: d.device_id))}
        self._targets = {d.device_id: d.target for d in trace.devices}
        self._end = max((r.ended for r in outcome.runs.values()), default=0.0) or 1.0
        first = sorted(range(len(trace.jobs)), key=lambda i: (trace.jobs[i].at, i))
        self._groups: dict[GroupId, int] = {}
        for index in first:
            self._groups.setdefault(group_of(trace.jobs[index]), len(self._groups))
        self._bottom = _TOP + _ROW * len(self._rows)
        shown = min(len(self._groups), _LEGEND_GROUPS) + 2
        height = self._bottom + 50 + _LEGEND_ROW * (-(-shown // _LEGEND_COLUMNS))
        self.drawing = Drawing(_LEFT + _PLOT_WIDTH + _RIGHT, height, title)
        self.drawing.text(_LEFT, 24, title, bold=True)

    def draw(self) -> None:
        self._axes()
        for index, run in self._outcome.runs.items():
            job = self._trace.jobs[index]
            group = group_of(job)
            what = f"job {index} {job.test_path}\n{_label(group)}, {job.priority.word}"
            self._bar(run.device_id, run.began, run.ended, colour(self._groups[group]), f"{what}\n{_span(run)}")
        for install in self._outcome.installs:
            self._install(install)
        self._legend()

    def _x(self, seconds: float) -> float:
        return _LEFT + _PLOT_WIDTH * seconds / self._end

    def _bar(self, device_id: str, began: float, ended: float, fill: str, tip: str) -> None:
        y = _TOP + _ROW * self._rows[device_id] + (_ROW - _BAR) / 2
        width = max(_GAP, self._x(ended) - self._x(began) - _GAP)
        self.drawing.rect(self._x(began), y, width, _BAR, fill, tip)

    def _install(self, install: Install) -> None:
        """A dark bar with a foot in the colour of what is installed."""
        group = (install.org_id, install.app_version_id, self._targets[install.device_id])
        tip = f"install {_label(group)}\n{_span(install)}"
        self._bar(install.device_id, install.began, install.ended, INK, tip)
        y = _TOP + _ROW * self._rows[install.device_id] + (_ROW + _BAR) / 2
        width = max(_GAP, self._x(install.ended) - self._x(install.began))
        self.drawing.rect(self._x(install.began), y - 4, width, 4, colour(self._groups[group]), tip)

    def _axes(self) -> None:
        minutes = self._end / _MINUTE
        step = next((s for s in _STEP_MINUTES if minutes / s <= _TICKS), minutes / _TICKS)
        tick = 0.0
        while tick <= minutes:
            x = self._x(tick * _MINUTE)
            self.drawing.line(x, _TOP - 4, x, self._bottom)
            self.drawing.text(x, _TOP - 8, f"{tick:g} min", anchor="middle")
            tick += step
        for device_id, row in self._rows.items():
            y = _TOP + _ROW * row
            self.drawing.text(_LEFT - 8, y + _ROW - 7, _short(device_id), anchor="end")
            self.drawing.line(_LEFT, y + _ROW, _LEFT + _PLOT_WIDTH, y + _ROW, FAINT)

    def _legend(self) -> None:
        entries = [(_label(group), colour(i)) for group, i in self._groups.items()]
        hidden = len(entries) - _LEGEND_GROUPS
        entries = [("installation", INK), *entries[:_LEGEND_GROUPS]]
        if hidden > 0:
            entries.append((f"and {hidden} more groups", FAINT))
        for index, (text, fill) in enumerate(entries):
            x = _LEFT + (index % _LEGEND_COLUMNS) * _PLOT_WIDTH / _LEGEND_COLUMNS
            y = self._bottom + 24 + _LEGEND_ROW * (index // _LEGEND_COLUMNS)
            self.drawing.rect(x, y, 12, 12, fill)
            self.drawing.text(x + 18, y + 10, text)


def _short(text: str) -> str:
    return text if len(text) <= _TEXT_CHARACTERS else f"{text[: _TEXT_CHARACTERS - 1]}…"


def _label(group: GroupId) -> str:
    org_id, version, target = group
    return f"{_short(org_id)} {_short(version)} ({target.value})"


def _span(what: Run | Install) -> str:
    return f"{what.began:.1f} s to {what.ended:.1f} s ({what.ended - what.began:.1f} s)"


def write_gantt(file: Path, trace: Trace, outcome: Outcome, title: str) -> None:
    """Draws an outcome into an SVG file. Raises OSError."""
    chart = _Chart(trace, outcome, title)
    chart.draw()
    chart.drawing.write(file)
