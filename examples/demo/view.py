"""Shows the board while the demo runs: a live view on a terminal, one line an event otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from examples.demo.board import ACTIVE, QUEUED, RETRYING, count_standings
from examples.demo.plan import SUBMISSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from rich.console import Console

    from examples.demo.board import Board
    from qgjob import Device

REFRESHES_PER_SECOND = 8
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
            self._live.update(Group(runs_table(self._board), Text(), devices_table(self._board)))


def runs_table(board: Board) -> Table:
    """One row a run, with how many of its jobs stand where."""
    table = Table(title="runs", title_justify="left", expand=False)
    for heading in ("org", "run", "app version", "target", "priority"):
        table.add_column(heading, no_wrap=True)
    for heading, style in COLUMNS.items():
        table.add_column(heading.replace("_", " "), justify="right", style=style)
    for run in SUBMISSIONS:
        counts = count_standings(board.of(run))
        numbers = [str(counts[heading] or "") for heading in COLUMNS]
        table.add_row(run.org_id, run.run_id, run.app_version_id, run.target, run.priority, *numbers)
    return table


def devices_table(board: Board) -> Table:
    """One row a device: what is installed on it, how often something was, and what it runs."""
    table = Table(title="devices", title_justify="left", expand=False)
    for heading in ("device", "agent", "state", "installed"):
        table.add_column(heading, no_wrap=True)
    table.add_column("installs", justify="right")
    table.add_column("runs", no_wrap=True, min_width=40)
    for cells in _device_rows(board):
        table.add_row(*cells)
    return table


def _device_rows(board: Board) -> Iterator[tuple[str, ...]]:
    for device in board.devices:
        job = board.jobs.get(device.current_job_id or "")
        runs = "" if job is None else job.test_path
        state = str(device.state)
        yield device.device_id, device.agent_id, state, _installed(device), str(device.installs), runs


def _installed(device: Device) -> str:
    return "" if device.app_version_id is None else f"{device.org_id} {device.app_version_id}"
