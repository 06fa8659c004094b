"""Tables that fit the terminal: what gives way where there is no room, and the lines that come of it.

An id is never cut and never broken over lines, so that it can be copied. What gives way, in this order: times become
distances from now, columns in which nothing stands go, long texts are cut (or wrapped), columns of lesser worth go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from qgjob.cli.clean import clean
from qgjob.cli.guard import present
from qgjob.cli.moments import dated, distance

_GAP = 1
_LEAST_VALUE_WIDTH = 20
_ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a grid. Widths are in cells of the terminal.

    The columns of the highest `spare` are left out first; those with 0 stay. A column with a `least` width may be made
    as narrow as that: its cells are cut with an ellipsis, at their start when it `keeps_end`, or when it `wraps` go
    over several lines. Of one that is `missed` it is to be said that it is left out.
    """

    header: str
    spare: int = 0
    least: int | None = None
    wraps: bool = False
    keeps_end: bool = False
    missed: bool = False


def arrange(
    columns: Sequence[Column], full: Sequence[int], short: Sequence[int], empty: Sequence[bool], width: int
) -> tuple[dict[int, int], bool]:
    """The width of each column that is shown, by its index, and whether its cells are in their short form.

    `full` and `short` are the widths that the cells of each column need in either form, `empty` says in which nothing
    stands. The widths may be more than there is room for where only columns are left that stay and are never cut.
    """
    shown = list(range(len(columns)))
    if _total(full) <= width:
        return dict(enumerate(full)), False
    if _total(short) <= width:
        return dict(enumerate(short)), True
    shown = [index for index in shown if not (columns[index].spare and empty[index])]
    while True:
        widths = _squeezed(columns, {index: min(short[index], max(width, 1)) for index in shown}, short, width)
        spare = max(columns[index].spare for index in shown)
        if _total(widths.values()) <= width or spare == 0:
            return widths, True
        shown = [index for index in shown if columns[index].spare != spare]


def _total(widths: Iterable[int]) -> int:
    each = list(widths)
    return sum(each) + _GAP * max(len(each) - 1, 0)


def _squeezed(columns: Sequence[Column], widths: dict[int, int], natural: Sequence[int], width: int) -> dict[int, int]:
    """The widest of those that may be cut gives way, until all fit or none may give more."""
    least = {
        index: min(natural[index], max(columns[index].least or natural[index], len(columns[index].header)))
        for index in widths
    }
    widths = {index: max(each, least[index]) for index, each in widths.items()}
    while _total(widths.values()) > width:
        widest = max((index for index in widths if widths[index] > least[index]), key=lambda i: widths[i], default=None)
        if widest is None:
            break
        widths[widest] -= 1
    return widths


# --- what is drawn ----------------------------------------------------------------------------------------------------


class Grid:
    """Rows under headers, drawn as wide as the console. `styles` gives words that say a state their colour."""

    def __init__(
        self,
        columns: Sequence[Column],
        rows: Iterable[Sequence[object]],
        now: datetime | None = None,
        styles: Mapping[str, str] | None = None,
    ) -> None:
        self._columns = columns
        self._rows = list(rows)
        self._now = now or datetime.now(UTC)
        self._styles = styles or {}
        self.missed: list[str] = []
        """Headers of what was left out of the last drawing and says something, where that is to be said."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """A header and at least a line for each row."""
        full = [[cell(value, self._styles) for value in row] for row in self._rows]
        short = [[cell(_shortened(value, self._now), self._styles) for value in row] for row in self._rows]
        empty = [all(row[index] in (None, "") for row in self._rows) for index in range(len(self._columns))]
        widths, is_short = arrange(self._columns, self._needed(full), self._needed(short), empty, options.max_width)
        self.missed = [
            column.header
            for index, column in enumerate(self._columns)
            if column.missed and index not in widths and not empty[index]
        ]
        yield _line([(Text(self._columns[index].header, style="bold"), widths[index]) for index in widths])
        for row in short if is_short else full:
            parts = {index: self._fitted(console, index, row[index], widths[index]) for index in widths}
            for number in range(max(len(lines) for lines in parts.values())):
                yield _line(
                    [(lines[number] if number < len(lines) else Text(), widths[i]) for i, lines in parts.items()]
                )

    def _needed(self, rows: Sequence[Sequence[Text]]) -> list[int]:
        return [
            max([len(column.header), *(row[index].cell_len for row in rows)])
            for index, column in enumerate(self._columns)
        ]

    def _fitted(self, console: Console, index: int, text: Text, width: int) -> list[Text]:
        column = self._columns[index]
        if text.cell_len <= width or column.least is None:
            return [text]
        if column.wraps:
            return list(text.wrap(console, width, overflow="fold"))
        return [Text(cut(text.plain, width, keeps_end=column.keeps_end), style=text.style)]


class Facts:
    """Names and values of one thing: long values are wrapped at words beside their names, single words are whole."""

    def __init__(self, rows: Iterable[tuple[str, object]], styles: Mapping[str, str] | None = None) -> None:
        self._rows = [(name, value) for name, value in rows if value is not None and value not in ("", ())]
        self._styles = styles or {}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """At least a line for each; what is unset is left out."""
        left = max((len(name) for name, _ in self._rows), default=0)
        width = max(options.max_width - left - _GAP, _LEAST_VALUE_WIDTH)
        for name, value in self._rows:
            text = cell(value, self._styles)
            whole = text.cell_len <= width or len(text.plain.split()) == 1
            lines = [text] if whole else list(text.wrap(console, width, overflow="fold"))
            for number, line in enumerate(lines):
                yield _line([(Text("" if number else name, style="bold"), left), (line, 0)])


def cell(value: object, styles: Mapping[str, str]) -> Text:
    """A value as a cell; words that say a state have a colour."""
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, datetime):
        return Text(dated(value))
    text = str(value)
    return Text(clean(text), style=styles.get(text, ""))


def cut(text: str, width: int, *, keeps_end: bool = False) -> str:
    """The text with an ellipsis for what is over `width`, at its end or at its start."""
    if cell_len(text) <= width:
        return text
    kept = 0
    size = cell_len(_ELLIPSIS)
    for char in reversed(text) if keeps_end else text:
        size += cell_len(char)
        if size > width:
            break
        kept += 1
    return _ELLIPSIS + text[len(text) - kept :] if keeps_end else text[:kept].rstrip() + _ELLIPSIS


def _shortened(value: object, now: datetime) -> object:
    return distance(value, now) if isinstance(value, datetime) else value


def _line(parts: Sequence[tuple[Text, int]]) -> Text:
    """One line; the terminal and nobody else breaks it where it is too narrow even for an id."""
    line = Text(no_wrap=True, overflow="ignore")
    for text, width in parts:
        line.append_text(text)
        line.append(" " * (max(width - text.cell_len, 0) + _GAP))
    line.rstrip()
    return shown(line)


def shown(line: Text) -> Text:
    """A whole line of a drawing as the `Guard` lets it through: what is wrapped may begin with anything."""
    said = present().line(line.plain)
    return line if said == line.plain else Text(said, style=line.style, no_wrap=True, overflow="ignore")
