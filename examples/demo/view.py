"""Shows the board while the demo runs: a live view on a terminal, one line an event otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from examples.demo.board import ACTIVE, QUEUED, RETRYING, count_standings, short_path
from examples.demo.plan import SUBMISSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from rich.console import Console

    from examples.demo.board import Board
    from qgjob import Device

REFRESHES_PER_SECOND = 8
GAP = 2  # between columns
COLUMNS = {
    QUEUED: "dim",
    ACTIVE: "cyan",
    RETRYING: "yellow",
    "passed": "green",
    "flaky": "yellow",
    "test_failed": "red",
}


class View:
    """Use it as a context manager; `tell` gets what happened, `refresh` shows how things stand."""

    def __init__(self, console: Console, board: Board) -> None:
        self._console = console
        self._board = board
        self._live = Live(console=console, refresh_per_second=REFRESHES_PER_SECOND) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self.refresh()
            self._live.stop()

    def tell(self, line: str) -> None:
        """Something happened to a job. The live view shows it in its numbers."""
        if self._live is None:
            self._console.print(line, highlight=False, soft_wrap=True)

    def refresh(self) -> None:
        """Draws the live view anew."""
        if self._live is not None:
            width = self._console.width
            self._live.update(Group(runs_table(self._board, width), Text(), devices_table(self._board, width)))


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a table here. Widths are in cells of the terminal.

    Where there is no room for all, those of the highest `spare` are left out first, those with 0 never. The cells of
    one with a `least` width are cut down to that before; a figure is never cut.
    """

    heading: str
    spare: int = 0
    least: int | None = None
    style: str = ""
    is_figure: bool = False


def runs_table(board: Board, width: int) -> Table:
    """One row a run, with how many of its jobs stand where; no wider than `width`, if only the figures have room."""
    columns = [
        _Column("org", spare=1),
        _Column("run"),
        _Column("app version", spare=2),
        _Column("target", spare=3),
        _Column("priority", spare=4),
        *(_Column(standing.removeprefix("test_"), style=style, is_figure=True) for standing, style in COLUMNS.items()),
    ]
    rows = []
    for run in SUBMISSIONS:
        counts = count_standings(board.of(run))
        figures = [str(counts[standing] or "") for standing in COLUMNS]
        rows.append((run.org_id, run.run_id, run.app_version_id, run.target, run.priority, *figures))
    return _fitted("runs", columns, rows, width)


def devices_table(board: Board, width: int) -> Table:
    """One row a device: what is installed on it, how often something was, and what it runs."""
    columns = [
        _Column("device"),
        _Column("agent", spare=2),
        _Column("state"),
        _Column("installed", spare=1),
        _Column("installs", is_figure=True),
        _Column("runs", least=16),
    ]
    return _fitted("devices", columns, list(_device_rows(board)), width)


def _fitted(title: str, columns: Sequence[_Column], rows: Sequence[Sequence[str]], width: int) -> Table:
    natural = [
        max(map(cell_len, [column.heading, *(row[index] for row in rows)])) for index, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    while sum(columns[i].least or natural[i] for i in shown) + GAP * (len(shown) - 1) > width:
        sparest = max(shown, key=lambda i: columns[i].spare)
        if not columns[sparest].spare:
            break
        shown.remove(sparest)
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True
    )
    for i in shown:
        column = columns[i]
        table.add_column(
            column.heading,
            justify="right" if column.is_figure else "left",
            style=column.style,
            no_wrap=column.least is None,
            overflow="ellipsis",
            min_width=natural[i] if column.least is None else column.least,
        )
    for row in rows:
        table.add_row(*(row[i] for i in shown))
    return table


def _device_rows(board: Board) -> Iterator[tuple[str, ...]]:
    for device in board.devices:
        job = board.jobs.get(device.current_job_id or "")
        runs = "" if job is None else short_path(job)
        state = str(device.state)
        yield device.device_id, device.agent_id, state, _installed(device), str(device.installs), runs


def _installed(device: Device) -> str:
    return "" if device.app_version_id is None else f"{device.org_id} {device.app_version_id}"
