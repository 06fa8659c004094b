"""Drawings as SVG text: the few shapes that the plots need."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path

INK, FAINT, PAPER = "#222222", "#d8d8d8", "#ffffff"
_FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FONT = 'font-family="system-ui, sans-serif" font-size="12"'
_GOLDEN_ANGLE_DEGREES = 137.508
"""Steps of so many degrees keep all hues apart, however many there are."""


def escape(text: str) -> str:
    """For elements and attributes; characters that XML forbids become a question mark."""
    return html.escape(_FORBIDDEN.sub("?", text))


def colour(index: int) -> str:
    """One of a row of colours; neighbours differ well in hue and a little in lightness."""
    hue = (210 + index * _GOLDEN_ANGLE_DEGREES) % 360
    return f"hsl({hue:.0f}, 60%, {(62, 50, 72)[index % 3]}%)"


class Drawing:
    """Shapes are drawn in the order of the calls. All lengths are in px."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" {_FONT}>',
            f"<title>{escape(title)}</title>",
        ]
        self.rect(0, 0, width, height, PAPER)

    def rect(self, x: float, y: float, width: float, height: float, fill: str, tip: str = "") -> None:
        """`tip` shows when the pointer is over it."""
        inner = f"<title>{escape(tip)}</title>" if tip else ""
        self._parts.append(
            f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" fill="{fill}">{inner}</rect>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, stroke: str = FAINT) -> None:
        self._parts.append(f'<line x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}" stroke="{stroke}"/>')

    def path(self, points: Sequence[tuple[float, float]], stroke: str) -> None:
        """A line through points."""
        through = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
        self._parts.append(f'<polyline points="{through}" fill="none" stroke="{stroke}" stroke-width="1.5"/>')

    def circle(self, x: float, y: float, radius: float, fill: str, tip: str = "") -> None:
        inner = f"<title>{escape(tip)}</title>" if tip else ""
        self._parts.append(
            f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{radius:.2f}" fill="{fill}" fill-opacity="0.75" '
            f'stroke="{INK}" stroke-width="0.5">{inner}</circle>'
        )

    def text(self, x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False) -> None:
        """`anchor`: start, middle or end."""
        weight = ' font-weight="bold"' if bold else ""
        self._parts.append(
            f'<text x="{x:.2f}" y="{y:.2f}" fill="{INK}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'
        )

    def write(self, file: Path) -> None:
        """Raises OSError."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join([*self._parts, "</svg>\n"]), encoding="utf-8")
