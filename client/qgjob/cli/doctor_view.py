"""A diagnosis for people: the worst first, and under each finding what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from qgjob._enums import FindingLevel
from qgjob.cli.clean import clean
from qgjob.cli.doctor_findings import Told
from qgjob.cli.tables import shown

_STYLES = {
    FindingLevel.OK: "green",
    FindingLevel.NOTE: "cyan",
    FindingLevel.WARNING: "yellow",
    FindingLevel.PROBLEM: "bold red",
}
_LEAST_WIDTH = 24
_LEVEL_WIDTH = max(len(level) for level in FindingLevel)


class Report:
    """All findings; with `several` coordinators each that is of one of them says of which."""

    def __init__(self, found: Sequence[Told], *, several: bool) -> None:
        self._found = found
        self._several = several

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """A line or some for each finding, then how many there are of each level."""
        check_width = max((len(each.check) for each in self._found), default=0)
        left = _LEVEL_WIDTH + check_width + 2
        width = max(options.max_width - left, _LEAST_WIDTH)
        for each in self._found:
            lines = [(Text(line.rstrip()), "") for line in _wrapped(console, self._words(each), width)]
            if each.advice is not None:
                lines += [(Text(line.rstrip()), "bold") for line in _wrapped(console, f"-> {each.advice}", width)]
            for number, (line, style) in enumerate(lines):
                row = Text(no_wrap=True, overflow="ignore")
                row.append("" if number else each.level.value, style=_STYLES[each.level])
                row.append(" " * (_LEVEL_WIDTH + 1 - row.cell_len))
                row.append(("" if number else each.check).ljust(check_width + 1))
                row.append(line.plain, style=style)
                yield shown(row)
        yield Text(summary(self._found))

    def _words(self, each: Told) -> str:
        about = f"{each.subject}: " if each.subject is not None else ""
        where = f"[{each.coordinator}] " if self._several and each.coordinator is not None else ""
        return clean(f"{where}{about}{each.found}")


def _wrapped(console: Console, text: str, width: int) -> list[str]:
    return [line.plain for line in Text(clean(text)).wrap(console, width, overflow="fold")]


def summary(found: Sequence[Told]) -> str:
    """`1 problem, 2 warnings, 3 notes, 20 checks ok`."""
    counts = Counter(each.level for each in found)
    words = [
        f"{counts[level]} {level.value}" + ("s" if counts[level] > 1 else "")
        for level in (FindingLevel.PROBLEM, FindingLevel.WARNING, FindingLevel.NOTE)
        if counts[level]
    ]
    return ", ".join([*words, f"{counts[FindingLevel.OK]} ok"])
