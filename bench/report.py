"""The table on the screen and the file beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.figures import Figure, Figures, number
from bench.targets import TARGETS

_HEADINGS = ("figure", "value", "lowest", "highest", "target")
_WHOLE_FROM = 100
_VERDICTS = {True: "ok", False: "MISSED", None: ""}


def leaves(figures: Figures, prefix: str = "") -> Iterator[tuple[str, Figure]]:
    """(dotted path, value) of all figures, in their order."""
    for name, value in figures.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from leaves(value, f"{path}.")
        else:
            yield path, value


def table(figures: Figures, rounds: Sequence[Figures]) -> str:
    """All figures with their spread over the rounds, and whether they reach what they are to reach."""
    rows = [_HEADINGS]
    for path, value in leaves(figures):
        spread = [n for n in (number(one, path) for one in rounds) if n is not None]
        lowest, highest = (_text(min(spread)), _text(max(spread))) if len(rounds) > 1 and spread else ("", "")
        rows.append((path, _text(value), lowest, highest, _targets(path, figures)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    first, *numbers, last = zip(row, widths, strict=True)
    middle = "  ".join(text.rjust(width) for text, width in numbers)
    return f"{first[0].ljust(first[1])}  {middle}  {last[0]}".rstrip()


def _targets(path: str, figures: Figures) -> str:
    return ", ".join(f"{t} {_VERDICTS[t.met(figures)]}".rstrip() for t in TARGETS if t.path == path)


def _text(value: Figure) -> str:
    if value is None:
        return "-"
    if isinstance(value, int | float):
        return f"{value:,.0f}" if abs(value) >= _WHOLE_FROM else f"{value:.2f}"
    return str(value)


def write(path: Path, document: Figures) -> None:
    """Writes the figures as JSON, numbers in full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n")
